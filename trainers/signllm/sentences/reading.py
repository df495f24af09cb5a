"""The one way to the sentences of a split: built-in, parallel text files or folders (no torch)."""

from __future__ import annotations

import logging
import math
from collections import Counter
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import MALFORMED, ConfigError, TrainerError
from trainers.engine.files import load_json
from trainers.engine.samples import VALIDATION_SPLITS, format_few
from trainers.signllm.sentences import folders, parallel_files, synthetic
from trainers.signllm.sentences.corpus import Corpus
from trainers.signllm.sentences.part import Part, Place

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from trainers.signllm.config import DatasetConfig

log = logging.getLogger("trainers")

SYNTHETIC = "synthetic"
LAYOUT = (
    "a data set holds SPLIT.text, SPLIT.skels and perhaps SPLIT.gloss and SPLIT.files, or such "
    "files in a folder for each language, or LANGUAGE/SPLIT/NAME/text.txt with pose.npy or "
    "pose.json"
)
NAMES_ALL = "`gpuops data check` names all that is wrong"


def open_corpus(config: DatasetConfig, split: Literal["train", "val"]) -> Corpus:
    """Open the sentences that the settings name as training or validation data.

    Raises:
        TrainerError: there is no such data, or a sentence of it cannot be used.
    """
    parts = open_parts(config, split)
    wrong = {place: why for part in parts for place, why in part.unusable.items()}
    if wrong:
        place, why = next(iter(wrong.items()))
        more = f" (and {len(wrong) - 1:,} more cannot be used)" if len(wrong) > 1 else ""
        raise TrainerError(f"{place}: {why}{more}", NAMES_ALL)
    _tell(parts, config)
    chosen = _first(parts, config.max_samples)
    if not chosen:
        raise TrainerError(f"{config.data}, split {split}, holds no sentence", LAYOUT)

    def read_file(row: int) -> NDArray[np.floating[Any]]:
        part, number = chosen[row]
        try:
            return part.read(number)[: config.max_frames]
        except UnusableError as error:
            raise TrainerError(f"{part.places[number]}: {error}", NAMES_ALL) from None

    sentences = [part.sentences[number] for part, number in chosen]
    return Corpus(
        config.data,
        "+".join(sorted({part.split for part in parts})),
        [one.cut(config.max_frames) for one in sentences],
        read_file,
        fps=frame_rate(config),
    )


def frame_rate(config: DatasetConfig) -> float:
    """Return frames a second: as the import of the data set says, else as the settings do.

    Raises:
        ConfigError: the settings say something else.
    """
    marker = Path(config.data) / folders.IMPORT
    if config.data == SYNTHETIC or not marker.is_file():
        return config.pose_fps
    try:
        fps = float(load_json(marker).get("fps", config.pose_fps))
    except MALFORMED:
        return config.pose_fps
    if not 0 < fps < math.inf:
        raise TrainerError(f"{marker} says {fps:g} frames a second", "import the data set again")
    if config.pose_fps not in (fps, synthetic.FPS):
        raise ConfigError(
            f"dataset.pose_fps is {config.pose_fps:g}, but {marker} says {fps:g}",
            "leave --pose-fps out",
        )
    return fps


def open_parts(config: DatasetConfig, split: Literal["train", "val"]) -> list[Part]:
    """Open training or validation data language by language, whatever is wrong with sentences.

    Raises:
        TrainerError: there is no such split or language, or files are not what they must be.
    """
    wanted = config.train_split if split == "train" else config.val_split
    places = find_places(config)
    found = {place.language: split_of(place, wanted) for place in places}
    if not any(found.values()):
        named = " or ".join(VALIDATION_SPLITS) if wanted == "auto" else wanted
        setting = "--train-split" if split == "train" else "--val-split"
        raise TrainerError(
            f"{config.data} has no split {named}; it has: {describe_splits(places)}",
            f"training takes another one by {setting} NAME, other commands by --split NAME",
        )
    lacking = [language for language, there in found.items() if there is None]
    if lacking:
        log.warning("%s has no split %s in: %s", config.data, split, format_few(lacking))
    return [place.open_part(there) for place in places if (there := found[place.language])]


def find_places(config: DatasetConfig) -> list[Place]:
    """Return the languages that the settings want, with the splits of each, sorted.

    Raises:
        TrainerError: there is no data set, or it lacks a language.
    """
    places = _built_in(config) if config.data == SYNTHETIC else _in_folder(config)
    known = [place.language for place in places]
    absent = [language for language in config.languages if language not in known]
    if absent:
        raise TrainerError(
            f"{config.data} has no language {', '.join(absent)}; it has: {format_few(known)}",
            "languages are named by folders; files that lie in none are of --language NAME",
        )
    return [place for place in places if not config.languages or place.language in config.languages]


def split_of(place: Place, wanted: str) -> str | None:
    """Return the split that is meant: val and dev are two names of one."""
    names = [wanted]
    if wanted in ("auto", *VALIDATION_SPLITS):
        names += VALIDATION_SPLITS
    return next((name for name in names if name in place.splits), None)


def describe_splits(places: Sequence[Place]) -> str:
    """Name all splits, with the languages that have them if not all do."""
    names = sorted({split for place in places for split in place.splits})
    found = []
    for name in names:
        having = [place.language for place in places if name in place.splits]
        found.append(name if len(having) == len(places) else f"{name} ({format_few(having)})")
    return ", ".join(found) or "none"


def _built_in(config: DatasetConfig) -> list[Place]:
    return [
        Place(
            language=language,
            splits=synthetic.SPLITS,
            open_part=partial(synthetic.open_part, language=language, fps=config.pose_fps),
        )
        for language in synthetic.LANGUAGES
    ]


def _in_folder(config: DatasetConfig) -> list[Place]:
    root = Path(config.data)
    if not root.is_dir():
        raise TrainerError(
            f"there is no data set at {root}", f"give --data a folder, or {SYNTHETIC}"
        )
    found = [_place(root, config.language)]
    if not found[0]:
        found = [_place(path, path.name) for path in sorted(folders.subfolders(root))]
    places = [place for place in found if place]
    if not places:
        raise TrainerError(f"{root} holds no sentences", LAYOUT)
    return places


def _place(folder: Path, language: str) -> Place | None:
    """Return the language whose splits lie in the folder, if any do."""
    for files in (parallel_files, folders):
        splits = files.split_names(folder)
        if splits:
            open_part = partial(files.open_part, folder, language=language)
            return Place(language=language, splits=splits, open_part=open_part)
    return None


def _tell(parts: Sequence[Part], config: DatasetConfig) -> None:
    """Log what is left out, cut, or read in another way than might be expected."""
    for part in parts:
        for note in part.notes:
            log.info("%s", note)
        if part.incomplete:
            first, why = next(iter(part.incomplete.items()))
            log.warning(
                "folders left out of %s/%s: %d; the first is %s: %s",
                *(part.language, part.split, len(part.incomplete), first, why),
            )
        cut = sum(one.frames > config.max_frames for one in part.sentences)
        if cut:
            log.warning(
                "%d of %d sentences of %s/%s are longer than %d frames (max_frames) and are cut",
                *(cut, len(part.sentences), part.language, part.split, config.max_frames),
            )


def _first(parts: Sequence[Part], most: int | None) -> list[tuple[Part, int]]:
    """Return the first sentences, as many of each language as there are."""
    rows = [(part, number) for part in parts for number in range(len(part.sentences))]
    if most is None or most >= len(rows):
        return rows
    kept = Counter(part.language for part, _ in sorted(rows, key=lambda row: row[1])[:most])
    return [(part, number) for part, number in rows if number < kept[part.language]]
