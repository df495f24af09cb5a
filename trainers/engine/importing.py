"""What all imports share: the run over the files, the command line, how the outcome is shown."""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from rich.console import Console

from trainers.engine.bars import tracked
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_folder
from trainers.engine.tables import quiet_table

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from rich.table import Table

MARKER = "import.json"
SHOWN = 10  # reasons in the message; --skip-bad shows them all


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What an import did."""

    out: str
    skipped: dict[str, str] = field(default_factory=dict)
    """Why, by the path of each file that cannot be used."""
    took_s: float = 0.0


@dataclass(slots=True, kw_only=True)
class Summary(Outcome):
    """What an import of recordings did; clips and frames are counted by split."""

    clips: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)


AnOutcome = TypeVar("AnOutcome", bound=Outcome)
S = TypeVar("S", bound=Summary)


def write_clip(summary: Summary, clip: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Write a new folder ``.../SPLIT/CLIP`` with these arrays of as many frames, and count it.

    Raises:
        UnusableError: if there is such a clip.
    """
    split = clip.parent.name
    if clip.exists():
        raise UnusableError(f"another clip of {split} is {clip.name} already: rename one")
    clip.mkdir(parents=True)
    for name, array in arrays.items():
        buffer = io.BytesIO()  # unlike a file, it lets the write name a full disk
        np.save(buffer, array)
        (clip / f"{name}.npy").write_bytes(buffer.getbuffer())
    summary.clips[split] = summary.clips.get(split, 0) + 1
    summary.frames[split] = summary.frames.get(split, 0) + len(next(iter(arrays.values())))


def run_import(
    source: Path,
    summary: AnOutcome,
    splits: Mapping[str, Sequence[Path]],
    add: Callable[[Path, str, Path], None],
    finish: Callable[[Path], None],
    *,
    skip_bad: bool,
    force: bool,
) -> AnOutcome:
    """Import files one by one into the summary's folder, which appears whole or not at all.

    ``add(folder, split, path)`` writes the samples of a file, or raises UnusableError;
    ``finish(folder)`` writes what belongs to the whole data set. ``force`` replaces an earlier
    import.

    Raises:
        TrainerError: if files cannot be used (unless ``skip_bad``), or the folder holds something
            else; and what ``finish`` raises.
    """
    begun = time.perf_counter()
    files = [(split, path) for split, paths in splits.items() for path in paths]
    hint = "give another --out; --force replaces an earlier import"
    replaces = MARKER if force else None
    with whole_folder(Path(summary.out), replaces=replaces, hint=hint) as building:
        for split, path in tracked(files, "importing", quiet=2):
            try:
                add(building, split, path)
            except UnusableError as error:
                summary.skipped[str(path)] = str(error)
        if summary.skipped and not skip_bad:
            raise _refusal(summary.skipped)
        finish(building)
        summary.took_s = round(time.perf_counter() - begun, 2)
        # Importers may serve several trainers; gpuops says for which one it was asked.
        trainer = os.environ.get("GPUOPS_TRAINER")
        about = {"source": str(source), "trainer": trainer, **asdict(summary)}
        (building / MARKER).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return summary


def split_by_name(items: Sequence[Path], val_share: float) -> dict[str, list[Path]]:
    """Share out items among train and val, both sorted by path.

    Those whose names' digests are lowest are validation, so that adding an item moves no other.

    Raises:
        TrainerError: the share leaves a split empty.
    """
    if len(items) < 2 or not 0 < val_share < 1:
        raise TrainerError(f"--val-share {val_share} of {len(items)} clips leaves a split empty")
    by_digest = sorted(items, key=lambda item: hashlib.sha256(item.stem.encode()).digest())
    count = min(max(1, round(val_share * len(items))), len(items) - 1)
    return {"train": sorted(by_digest[count:]), "val": sorted(by_digest[:count])}


def _refusal(skipped: Mapping[str, str]) -> TrainerError:
    shown = [f"{path}: {why}" for path, why in list(skipped.items())[:SHOWN]]
    more = [f"and {len(skipped) - SHOWN} more"] if len(skipped) > SHOWN else []
    count = f"{len(skipped)} file{'s' * (len(skipped) > 1)} cannot be used, nothing was written:"
    return TrainerError("\n  ".join([count, *shown, *more]), hint="--skip-bad imports the others")


def command_line(name: str, description: str) -> argparse.ArgumentParser:
    """Return the parser of an import, with the flags that every import has."""
    parser = argparse.ArgumentParser(prog=f"python -m {name}", description=description)
    parser.add_argument("source", type=Path, metavar="SRC")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--skip-bad", action="store_true", help="leave out what cannot be used")
    parser.add_argument("--force", action="store_true", help="replace an earlier import")
    parser.add_argument("--json", action="store_true", help="print the summary as JSON")
    return parser


def run(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    importer: Callable[..., S],
    fps: Callable[[S], float],
    describe: Callable[[S], str],
) -> int:
    """Import recordings, with ``fps`` frames a second: see `run_importer`."""

    def clips(summary: S) -> Table:
        table = quiet_table("split", "clips", "frames", "minutes")
        for split, count in summary.clips.items():
            frames = summary.frames[split]
            minutes = frames / fps(summary) / 60
            table.add_row(split, f"{count:,}", f"{frames:,}", f"{minutes:,.1f}")
        return table

    return run_importer(parser, argv, importer, clips, describe)


def run_importer(
    parser: argparse.ArgumentParser,
    argv: Sequence[str] | None,
    importer: Callable[..., AnOutcome],
    table: Callable[[AnOutcome], Table],
    describe: Callable[[AnOutcome], str],
) -> int:
    """Import what the command line says, and print the outcome.

    ``table`` shows what was imported; ``describe`` gives the sentence below it.
    """
    given = vars(parser.parse_args(argv))
    as_json = given.pop("json")
    found = importer(given.pop("source"), given.pop("out"), **given)
    if as_json:
        sys.stdout.write(json.dumps(asdict(found)) + "\n")
        return 0
    console = Console(soft_wrap=True, markup=False)
    console.print(f"imported into {found.out}", style="bold cyan")
    console.print(table(found))
    console.print(f"{describe(found)}; took {found.took_s:.1f} s")
    for path, why in found.skipped.items():
        console.print(f"skipped {path}: {why}")
    return 0
