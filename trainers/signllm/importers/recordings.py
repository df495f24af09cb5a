"""Recordings and their texts -> sentences: what the imports of keypoints share (no torch)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.signllm.importers.tables import find_texts, text_beside
from trainers.signllm.importers.writing import (
    FASTEST,
    FPS,
    SLOWEST,
    SPLITS,
    Summary,
    Words,
    add_flags,
    first,
    normalise,
    write_sentence,
)

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray


def import_recordings(
    source: Path,
    out: Path,
    recordings: Sequence[Path],
    read: Callable[[Path], NDArray[np.floating[Any]]],
    *,
    text: Path | None = None,
    language: str = "unknown",
    split: str = "",
    val_share: float | None = None,
    splits: Sequence[str] = (),
    max_samples: int | None = None,
    pixels: bool = False,
    fps: float = FPS,
    skip_bad: bool = False,
    force: bool = False,
) -> Summary:
    """Import recordings into a new folder ``out``, all or nothing.

    ``read(recording)`` gives poses (T, 150), NaN where a joint was not seen, or raises
    UnusableError. ``text`` is a table of texts, or the folder of text files; ``split`` is that of
    recordings for which neither a table nor a folder names one; with ``val_share`` these are split
    by name, and so many are validation.

    Raises:
        TrainerError: nothing to import, recordings that cannot be used (unless ``skip_bad``), or an
            ``out`` that holds something.
    """
    if not SLOWEST <= fps <= FASTEST:
        raise TrainerError(f"--fps {fps:g} must be from {SLOWEST:g} to {FASTEST:g}")
    texts = find_texts(source, text)
    items: dict[str, list[Path]] = {}
    for path in recordings:
        known = texts.get(_name(path))
        items.setdefault(_split(path, source, known, split), []).append(path)
    if val_share is not None:
        if split or not items.get(""):
            raise TrainerError(f"{source} is split already", "leave --val-share out")
        for name, paths in importing.split_by_name(items.pop(""), val_share).items():
            items.setdefault(name, []).extend(paths)
    absent = [name for name in splits if name not in items]
    if absent:
        there = ", ".join(sorted(name for name in items if name)) or "none"
        raise TrainerError(f"{source} has no split {', '.join(absent)}; it has: {there}")
    summary = Summary(out=str(out), fps=fps)

    def add(folder: Path, split: str, path: Path) -> None:
        if not split:
            raise UnusableError(
                f"it belongs to no split: no folder above it is {', '.join(SPLITS)}, and no table "
                "names one; --split NAME takes such recordings, --val-share 0.2 splits them"
            )
        known = texts.get(_name(path)) or text_beside(path)
        if known is None:
            raise UnusableError("there is no text for it; --text FILE names a table of texts")
        words = Words(
            text=known.text, gloss=known.gloss, language=known.language or language, split=split
        )
        poses = read(path)
        write_sentence(summary, folder, _name(path), words, poses if pixels else normalise(poses))

    return importing.run_import(
        source,
        summary,
        {
            name: first(paths, max_samples)
            for name, paths in items.items()
            if not splits or name in splits
        },
        add,
        lambda _folder: summary.check(),
        skip_bad=skip_bad,
        force=force,
    )


def add_recording_flags(parser: argparse.ArgumentParser) -> None:
    """Add the flags that imports of recordings have."""
    add_flags(parser)
    parser.add_argument(
        "--text",
        type=Path,
        help="a table of names and texts, or the folder of SPLIT.files and SPLIT.text",
    )
    parser.add_argument("--split", default="", help="of recordings for which nothing else says it")
    parser.add_argument(
        "--val-share", type=float, help="split such recordings: this share is for validation"
    )
    parser.add_argument(
        "--pixels",
        action="store_true",
        help="keep the units of the files, instead of shoulders of width 1",
    )


def _name(path: Path) -> str:
    """The name by which a text is found: a folder's as it is, a file's without its ending."""
    return path.stem if path.suffix == ".pose" else path.name


def _split(path: Path, source: Path, known: Words | None, otherwise: str) -> str:
    """Return the split of a recording: by its table, else by a folder above it; "" for none."""
    if known is not None and known.split in SPLITS:
        return known.split
    folders = [source.resolve().name, *path.relative_to(source).parts[:-1]]
    return next((name for name in reversed(folders) if name in SPLITS), otherwise)
