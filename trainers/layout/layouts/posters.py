"""The folder of a poster: `json/*_parse_data.json` and the images in `parse/` (no torch).

`trajectories.pkl` beside them is never opened: a pickle can run code.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import numpy as np
from PIL import Image as Pillow
from PIL import ImageOps, UnidentifiedImageError
from pydantic import (
    AliasChoices,
    BaseModel,
    BeforeValidator,
    FailFast,
    Field,
    FiniteFloat,
    ValidationError,
)

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, format_invalid
from trainers.engine.files import dump_json, load_json, open_regular, reason
from trainers.layout.layouts.layout import Layout

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainers.layout.layouts.corpus import Image

JSON, IMAGES, ENDING = "json", "parse", "_parse_data.json"
FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PIXELS = 64 << 20  # of an image; the guide's canvas has 9 million
LONGEST_SIDE = 100_000  # of a canvas, in pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Poster:
    """One poster that can be used: its layout, what was changed in it, and its images."""

    layout: Layout
    place: str
    pictured: tuple[bool, ...]  # whether each of the N elements has an image
    read: Callable[[int], Image]  # an element's; it raises UnusableError
    surplus: int = 0  # elements that are left out because there are too many
    hidden: int = 0  # that are left out because no pixel of them lies on the canvas
    trimmed: int = 0  # that are cut at the edge of the canvas


class _Files(BaseModel):
    layer: str | None = None


class _Layer(BaseModel):
    x: FiniteFloat
    y: FiniteFloat
    w: Annotated[FiniteFloat, Field(ge=0)]
    h: Annotated[FiniteFloat, Field(ge=0)]
    order: FiniteFloat | None = None
    category: str | None = None
    src: str | None = None
    files: _Files | None = None
    name: Annotated[str | int | None, Field(validation_alias=AliasChoices("id", "name"))] = None

    @property
    def image(self) -> str:
        """The name of its image, "" if it has none."""
        path = (self.files.layer if self.files else None) or self.src or ""
        return path.replace("\\", "/").rpartition("/")[2]


def _pair(value: Any) -> Any:
    return [value.get("width"), value.get("height")] if isinstance(value, dict) else value


Side = Annotated[FiniteFloat, Field(ge=1, le=LONGEST_SIDE)]


class _Document(BaseModel):
    canvas_size: Annotated[tuple[Side, Side], BeforeValidator(_pair)] = (2480.0, 3508.0)
    layers: Annotated[list[_Layer], FailFast()]  # a hostile list may have millions of errors


def read_poster(folder: Path, most: int) -> Poster:
    """Read a poster of up to ``most`` elements from its folder; images are read later.

    Elements are sorted by layer. If there are too many, those at the back are kept.

    Raises:
        UnusableError: it cannot be used.
    """
    document = _read_document(_find_json(folder))
    canvas = round(document.canvas_size[0]), round(document.canvas_size[1])
    layers = document.layers
    order = [float(n) if one.order is None else one.order for n, one in enumerate(layers)]
    rows = np.argsort(order, kind="stable").tolist()
    given = np.array([[one.x, one.y, one.w, one.h] for one in layers]).reshape(-1, 4)[rows]
    boxes, outside = trim(given, canvas)
    seen = visible(boxes)
    if not seen:
        raise UnusableError("it has no element" + " on the canvas" * bool(layers))
    kept = seen[:most]
    elements = [layers[rows[row]] for row in kept]
    images = [folder / IMAGES / one.image if one.image else None for one in elements]
    there = _names(folder / IMAGES)
    missing = [path.name for path in images if path is not None and path.name not in there]
    if missing:
        raise UnusableError(f"it has no {IMAGES}/{missing[0]}, the image of an element")
    return Poster(
        layout=Layout(
            name=folder.name,
            canvas=canvas,
            boxes=boxes[kept],
            order=np.arange(len(kept)),
            ids=tuple(
                f"element_{n}" if one.name is None else str(one.name)
                for n, one in enumerate(elements)
            ),
            categories=tuple(one.category or "" for one in elements),
        ),
        place=str(folder),
        pictured=tuple(path is not None for path in images),
        read=partial(_read_one, images),
        surplus=len(seen) - len(kept),
        hidden=len(rows) - len(seen),
        trimmed=int(outside[kept].sum()),
    )


def trim(
    boxes: NDArray[np.float64], canvas: tuple[int, int]
) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    """Cut boxes (N, 4) at the edges of a canvas; return them, and which (N,) lay outside."""
    with np.errstate(over="ignore"):  # what lies at infinity is cut like the rest
        corners = boxes[:, :2], boxes[:, :2] + boxes[:, 2:]
    low, high = (np.clip(corner, 0, canvas) for corner in corners)
    outside = np.maximum(low - corners[0], corners[1] - high).max(axis=1) > 1  # not by rounding
    return np.concatenate([low, high - low], axis=1), outside


def visible(boxes: NDArray[np.float64]) -> list[int]:
    """Return which of these boxes (N, 4) have an area."""
    rows: list[int] = np.flatnonzero(boxes[:, 2:].min(axis=1) > 0).tolist()
    return rows


def is_poster(folder: Path) -> bool:
    """Whether a folder is one of a poster, however broken."""
    return (folder / JSON).is_dir()


def write_poster(folder: Path, layout: Layout, images: Sequence[Image | None]) -> None:
    """Write a poster as its folder, which must not be there. Raises OSError."""
    (folder / JSON).mkdir(parents=True)
    if any(one is not None for one in images):
        (folder / IMAGES).mkdir()
    layers = []
    for row, (box, image) in enumerate(zip(layout.boxes.tolist(), images, strict=True)):
        layer = dict(zip("xywh", box, strict=True)) | {"order": int(layout.order[row])}
        layer |= {"category": layout.categories[row]} if layout.categories[row] else {}
        layer["id"] = layout.ids[row]
        if image is not None:
            name = f"{row:02d}.png"
            Pillow.fromarray(image).save(folder / IMAGES / name)
            layer["files"] = {"layer": f"{IMAGES}/{name}"}
        layers.append(layer)
    document = {"canvas_size": list(layout.canvas), "layers": layers}
    path = folder / JSON / f"{folder.name}{ENDING}"
    path.write_text(dump_json(document, indent=1), encoding="utf-8")


def read_image(path: Path, *, upright: bool = False) -> Image:
    """Read an image as (height, width, 4): red, green, blue, opacity.

    ``upright`` turns it as its EXIF data says.

    Raises:
        UnusableError: it cannot be used.
    """
    try:
        with open_regular(path) as file, _opened(file) as image:
            width, height = image.size
            if width * height > MOST_PIXELS:
                raise UnusableError(
                    f"{path.name} has {width} x {height} pixels, which is too much: "
                    f"{MOST_PIXELS:,} at most"
                )
            found = ImageOps.exif_transpose(image) if upright else image
            if found.mode.startswith("I"):  # 16 bits of grey, which Pillow would cut at 255
                found = Pillow.fromarray((np.asarray(found) >> 8).astype(np.uint8))
            return np.asarray(found.convert("RGBA"))
    except UnidentifiedImageError:
        raise UnusableError(f"{path.name} is not an image ({', '.join(FORMATS)})") from None
    except Pillow.DecompressionBombError:
        raise UnusableError(f"{path.name} has far too many pixels") from None
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises if a file is broken
        raise UnusableError(f"{path.name} cannot be read: {reason(error)}") from None


def _opened(file: BinaryIO) -> Pillow.Image:
    """Open an image without Pillow's warning of many pixels: the caller has a bound of its own."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Pillow.DecompressionBombWarning)
        return Pillow.open(file, formats=FORMATS)


def _read_one(images: Sequence[Path | None], element: int) -> Image:
    path = images[element]
    assert path is not None, "it has no image"  # noqa: S101 - a caller's bug
    return read_image(path)


def _names(folder: Path) -> set[str]:
    try:
        return {path.name for path in folder.iterdir()}
    except OSError:
        return set()


def _find_json(folder: Path) -> Path:
    try:
        found = sorted(
            path
            for path in (folder / JSON).iterdir()
            if path.name.endswith(ENDING) and path.name[0] != "."
        )
    except OSError as error:
        raise UnusableError(f"its {JSON}/ cannot be read: {reason(error)}") from None
    if len(found) != 1:
        count = f"{len(found)} files" if found else "no file"
        raise UnusableError(f"its {JSON}/ holds {count} *{ENDING}, and must hold one")
    return found[0]


def _read_document(path: Path) -> _Document:
    try:
        return _Document.model_validate(load_json(path))
    except TrainerError as error:
        raise UnusableError(error.message.replace(str(path), path.name)) from None
    except ValidationError as error:
        raise UnusableError(f"{path.name}: {format_invalid(error)}") from None
