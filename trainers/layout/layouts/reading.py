"""The one way to the posters of a split: built-in, or folders (no torch)."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.files import reason
from trainers.engine.samples import VALIDATION_SPLITS, format_few
from trainers.layout.layouts import synthetic
from trainers.layout.layouts.corpus import Corpus
from trainers.layout.layouts.posters import is_poster, read_poster
from trainers.layout.layouts.split import is_validation

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.config import DatasetConfig
    from trainers.layout.layouts.corpus import Image
    from trainers.layout.layouts.posters import Poster

log = logging.getLogger("trainers")

SYNTHETIC = "synthetic"
SPLITS = ("train", *VALIDATION_SPLITS, "test")
FILES = "a poster is NAME/json/*_parse_data.json, with its images in NAME/parse/"
SHOWN = 5
NAMES_ALL = "`gpuops data check` names all that is wrong"


@dataclass(slots=True, kw_only=True)
class Part:
    """The posters of a split, whatever is wrong with them."""

    split: str  # as it is called on disk
    posters: list[Poster] = field(default_factory=list)
    unusable: dict[str, str] = field(default_factory=dict)  # why, by place
    incomplete: list[str] = field(default_factory=list)  # folders that are no poster's


def open_corpus(config: DatasetConfig, split: str) -> Corpus:
    """Open the posters that the settings name as training or validation data.

    ``split`` is train or val; dev, and test if there is such a folder.

    Raises:
        TrainerError: there is no such data, or a poster of it cannot be used.
    """
    part = open_part(config, split)
    corpus = corpus_of(part, config)
    for message in describe_changes(part, config):
        log.warning("%s", message)
    return corpus


def corpus_of(part: Part, config: DatasetConfig) -> Corpus:
    """Return the posters of a split that was opened.

    Raises:
        TrainerError: one cannot be used, or there are none.
    """
    if part.unusable:
        place, why = next(iter(part.unusable.items()))
        more = f" (and {len(part.unusable) - 1:,} more cannot be used)"
        raise TrainerError(f"{place}: {why}{more * (len(part.unusable) > 1)}", NAMES_ALL)
    if not part.posters:
        raise _no_poster(config, part)
    posters = part.posters

    def read(row: int, element: int) -> Image:
        poster = posters[row]
        if not poster.pictured[element]:
            return BLANK
        try:
            return poster.read(element)
        except UnusableError as error:
            raise TrainerError(f"{poster.place}: {error}", NAMES_ALL) from None

    pictured = any(any(poster.pictured) for poster in posters)
    layouts = [poster.layout for poster in posters]
    return Corpus(config.data, part.split, layouts, read if pictured else None)


BLANK: Image = np.full((16, 16, 4), (128, 128, 128, 255), dtype=np.uint8)


def open_part(config: DatasetConfig, split: str) -> Part:
    """Open a split, whatever is wrong with its posters; their images are not read.

    Raises:
        TrainerError: there is no such data set, or no such split.
    """
    if config.data == SYNTHETIC:
        part = Part(split=split)
        found = _chosen(synthetic.names(), split, config, SYNTHETIC)[: config.max_samples]
        part.posters = [synthetic.open_poster(name) for name in found]
        return part
    root = Path(config.data)
    if not root.is_dir():
        raise TrainerError(
            f"there is no data set at {root}", f"give --data a folder, or {SYNTHETIC}"
        )
    there = split_folders(root)
    if not there:
        part, folder, names = Part(split=split), root, subfolders(root)
        if is_poster(root):  # the folder of one poster
            folder, names = root.absolute().parent, [root.absolute().name]
        found = _chosen(names, split, config, str(root))
    else:
        part = Part(split=_folder_of(split, there, root))
        folder = root / part.split
        found = subfolders(folder)
    for name in found:
        if len(part.posters) == config.max_samples:
            break
        place = folder / name
        if not is_poster(place):
            part.incomplete.append(str(place))
            continue
        try:
            part.posters.append(read_poster(place, config.max_elements))
        except UnusableError as error:
            part.unusable[str(place)] = str(error)
    return part


def split_folders(root: Path) -> list[str]:
    """Return the splits that have a folder of their own; none if posters lie in the root."""
    return [name for name in SPLITS if (root / name).is_dir() and not is_poster(root / name)]


def subfolders(root: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, but for hidden ones.

    Raises:
        TrainerError: it cannot be read.
    """
    try:
        return sorted(path.name for path in root.iterdir() if path.name[0] != "." and path.is_dir())
    except OSError as error:
        raise TrainerError(f"{root} cannot be read: {reason(error)}") from None


def describe_changes(part: Part, config: DatasetConfig) -> list[str]:
    """Say what is left out, cut, or seen in another way than might be expected."""
    posters, most = part.posters, config.max_elements
    bare = sum(poster.pictured.count(False) for poster in posters)
    elements = sum(len(poster.layout) for poster in posters)
    grey = [one for one in posters if 0 < bare < elements and not all(one.pictured)]
    found = {
        f"posters of more than {most} elements (max_elements) keep the {most} at the back": [
            one for one in posters if one.surplus
        ],
        "posters with elements of no area or outside the canvas, which are left out": [
            one for one in posters if one.hidden
        ],
        "posters with boxes that are cut at the edge of the canvas": [
            one for one in posters if one.trimmed
        ],
        f"{bare:,} of {elements:,} elements have no image and are seen as grey, in posters": grey,
    }
    names = {what: [one.layout.name for one in which] for what, which in found.items()}
    names["folders that are left out, for they have no json"] = [
        Path(place).name for place in part.incomplete
    ]
    return [f"{what}: {format_few(which, SHOWN)}" for what, which in names.items() if which]


def _chosen(names: Sequence[str], split: str, config: DatasetConfig, data: str) -> list[str]:
    """Return the posters of a split where none has a folder: a hash of the name decides."""
    if split not in ("train", *VALIDATION_SPLITS):
        raise TrainerError(
            f"{data} has no split {split}; it has: train, val", "posters are split by their names"
        )
    return [name for name in names if is_validation(name, config.val_share) == (split != "train")]


def _folder_of(split: str, there: Sequence[str], root: Path) -> str:
    """Return the folder that is meant: val and dev are two names of one split."""
    meant = VALIDATION_SPLITS if split in VALIDATION_SPLITS else (split,)
    for name in sorted(meant, key=lambda name: name != split):
        if name in there:
            return name
    raise TrainerError(
        f"{root} has no split {' or '.join(meant)}; it has: {', '.join(there)}",
        "without such folders, posters are split by their names (--val-share)",
    )


def _no_poster(config: DatasetConfig, part: Part) -> TrainerError:
    root = Path(config.data)
    if config.data != SYNTHETIC and not split_folders(root):
        count = sum(is_poster(root / name) for name in subfolders(root))
        if count:
            return TrainerError(
                f"{root} has no poster of split {part.split}: a hash of their names decides, and "
                f"there are {count:,} posters",
                "bring more, or give another --val-share",
            )
    return TrainerError(f"{config.data}, split {part.split}, holds no poster", FILES)
