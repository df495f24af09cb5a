"""Import pages with boxes from COCO JSON, as of PubLayNet or DocLayNet.

`python -m trainers.layout.importers.coco SRC --out OUT` runs it alone.

SRC is a folder with JSON files of COCO (in it or in its annotations/) and the images of the pages
anywhere below, or such a JSON file beside them. The image of an element is cut from its page. A
JSON file named for a split, as in val.json or instances_val2017.json, is that split. The largest
element lies at the back.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from itertools import takewhile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated

from pydantic import BaseModel, FailFast, FiniteFloat, ValidationError

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, format_invalid, run_main
from trainers.engine.files import open_regular, reason
from trainers.layout.importers.writing import (
    ALL,
    Found,
    Outcome,
    add_flags,
    describe,
    first,
    table,
    to_layout,
    write,
)
from trainers.layout.layouts.posters import read_image
from trainers.layout.layouts.reading import SPLITS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from trainers.layout.layouts.corpus import Image
    from trainers.layout.layouts.layout import Layout

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
HINT = "SRC is a folder with COCO JSON and the images of the pages, or the JSON file beside them"


class _Page(BaseModel):
    id: int | str
    file_name: str  # perhaps with folders, of Windows too
    width: int
    height: int


class _Category(BaseModel):
    id: int
    name: str


class _Annotation(BaseModel):
    image_id: int | str
    category_id: int
    bbox: tuple[FiniteFloat, FiniteFloat, FiniteFloat, FiniteFloat]


class _Document(BaseModel):
    images: Annotated[list[_Page], FailFast()]
    categories: Annotated[list[_Category], FailFast()]
    annotations: Annotated[list[_Annotation], FailFast()]


def import_coco(
    source: Path,
    out: Path,
    *,
    max_samples: int | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> Outcome:
    """Import pages into a new folder ``out``, all or nothing.

    Raises:
        TrainerError: nothing to import, pages that cannot be used (unless ``skip_bad``), or an
            ``out`` that holds something.
    """
    documents = _find_documents(source)
    images = _find_images(source if source.is_dir() else source.parent)
    pages: dict[tuple[str, Path], Found] = {}
    items: dict[str, list[Path]] = defaultdict(list)
    for path in documents:
        split = split_of(path)
        document = _read_document(path)
        for page, found in zip(document.images, _elements(document), strict=True):
            place = _image_of(page, split, images, source)
            if (split, place) in pages:
                raise TrainerError(
                    f"{path} lists {page.file_name}, and {place} is the image of a page already",
                    "list each page once; if several JSON files list the same, give one as SRC",
                )
            pages[split, place] = found
            items[split].append(place)
    if len(items) > 1 and ALL in items:
        names = ", ".join(path.name for path in documents)
        raise TrainerError(f"some of {names} are of a split, and some are not", HINT)
    outcome = Outcome(out=str(out))

    def add(folder: Path, split: str, path: Path) -> None:
        layout = to_layout(outcome, path.stem, pages[split, path])
        write(outcome, folder, split, layout, cut_out(path, layout))

    return importing.run_import(
        source,
        outcome,
        {split: first(paths, max_samples) for split, paths in items.items()},
        add,
        lambda _folder: outcome.check(),
        skip_bad=skip_bad,
        force=force,
    )


def split_of(path: Path) -> str:
    """Return the split that a JSON file is named for."""
    words = re.findall("[a-z]+", path.stem.lower())
    return next((name for name in SPLITS if name in words), ALL)


def cut_out(path: Path, layout: Layout) -> list[Image]:
    """Return the images of a page's elements.

    Raises:
        UnusableError: there is no image of the page, or it is not as large as the JSON says.
    """
    page = read_image(path)
    if page.shape[1::-1] != layout.canvas:  # or as a viewer shows it
        page = read_image(path, upright=True)
    if page.shape[1::-1] != layout.canvas:
        width, height = layout.canvas
        raise UnusableError(
            f"it has {page.shape[1]} x {page.shape[0]} pixels, the JSON says {width} x {height}"
        )
    images = []
    for left, top, width, height in layout.boxes:
        x, y = min(int(left), page.shape[1] - 1), min(int(top), page.shape[0] - 1)
        right, bottom = max(x + 1, round(left + width)), max(y + 1, round(top + height))
        images.append(page[y:bottom, x:right])
    return images


def _find_documents(source: Path) -> list[Path]:
    if not source.is_dir():
        return [source]
    found = sorted([*source.glob("[!.]*.json"), *source.glob("annotations/[!.]*.json")])
    if not found:
        raise TrainerError(f"{source} holds no *.json", HINT)
    return found


def _find_images(folder: Path) -> Mapping[str, list[Path]]:
    """Return all images below a folder, by name."""
    found: dict[str, list[Path]] = defaultdict(list)
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() in SUFFIXES:
            found[path.name].append(path)
    return found


def _image_of(page: _Page, split: str, images: Mapping[str, list[Path]], source: Path) -> Path:
    """Return the image of a page; of several of its name, that in its folders or of its split."""
    named = PurePosixPath(page.file_name.replace("\\", "/"))

    def fits(path: Path) -> tuple[int, bool]:
        folders = zip(reversed(path.parts), reversed(named.parts), strict=False)
        return len(list(takewhile(lambda pair: pair[0] == pair[1], folders))), (
            path.parent.name.startswith(split)
        )

    return max(images.get(named.name, []), key=fits, default=source / named)


def _read_document(path: Path) -> _Document:
    """Read a JSON file, which may have gigabytes."""
    try:
        with open_regular(path) as file:
            return _Document.model_validate(json.load(file))
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}", HINT) from None
    except ValidationError as error:
        raise TrainerError(f"{path} is not COCO JSON: {format_invalid(error)}", HINT) from None
    except (ValueError, RecursionError):
        raise TrainerError(f"{path} is damaged: it is not JSON", HINT) from None


def _elements(document: _Document) -> list[Found]:
    """Return the elements of each page, the largest first."""
    names = {category.id: category.name for category in document.categories}
    by_page: dict[int | str, list[_Annotation]] = defaultdict(list)
    for one in document.annotations:
        by_page[one.image_id].append(one)
    found = []
    for page in document.images:
        elements = sorted(by_page[page.id], key=lambda one: -one.bbox[2] * one.bbox[3])
        found.append(
            Found(
                canvas=(page.width, page.height),
                boxes=[one.bbox for one in elements],
                categories=[names.get(one.category_id, str(one.category_id)) for one in elements],
            )
        )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.layout.importers.coco",
        "Import pages with boxes from COCO JSON, as of PubLayNet, as posters.",
    )
    add_flags(parser)
    return importing.run_importer(parser, argv, import_coco, table, describe)


if __name__ == "__main__":
    run_main(main)
