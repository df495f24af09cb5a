"""The samples of a data set: counted as the files lie, or by the trainer's own module."""

from __future__ import annotations

import heapq
import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from gpuops.core.launch.manifest import DataLayout, Manifest, flag
from gpuops.core.launch.validation import describe_first
from gpuops.core.machine.snapshot import DataCount
from gpuops.errors import GpuopsError, UsageError
from gpuops.system.trainers import npy_files, settings
from gpuops.text import printable

COUNT_TIMEOUT_S = 180.0
MOST_SPLITS = 100
MOST_NAMES = 100_000
LONGEST_NAME = 300
PROGRESS_EVERY = 1000
MOST_OPENED = 256
MISSING = "is missing"
_READABLE_BY_ALL = stat.S_IRUSR | stat.S_IRGRP | stat.S_IROTH


Number = Annotated[int, Field(ge=0)]
Name = Annotated[str, AfterValidator(lambda text: printable(text, LONGEST_NAME))]
Names = Annotated[list[Name], Field(max_length=MOST_NAMES)]


class Answer(BaseModel):
    """What a trainer's ``count`` prints; docs/trainers.md describes it."""

    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    samples: Annotated[dict[Name, Number], Field(min_length=1, max_length=MOST_SPLITS)]
    folders: Names = []
    incomplete: Names = []
    unreadable: Names = []
    places: Annotated[dict[Name, Name], Field(max_length=MOST_SPLITS)] = {}
    opened: Number = 0


def count_data(
    manifest: Manifest,
    root: Path,
    *,
    python: str,
    flags: Sequence[str] = (),
    cwd: str = ".",
    progress: Callable[[int], None] | None = None,
) -> DataCount:
    """Count the samples of a trainer's data set, in every split that it needs.

    If the manifest declares the layout, gpuops counts by itself. If not, ``python`` runs the
    trainer's ``count`` in ``cwd``, with the ``flags`` of a training and the root at their end.

    Raises:
        UsageError: the trainer has no data set.
        GpuopsError: the data set cannot be read, or the trainer's module fails.
    """
    data, module = manifest.data, manifest.answers.count
    if data is None:
        raise UsageError(f"trainer {manifest.name} has no data set to count.")
    if data.layout is not None:
        return count(root, data.layout, progress=progress)
    words = [*flags, flag(data.setting), str(root)]
    answer = settings.ask(
        python, module or "", words, cwd, what="its samples", timeout_s=COUNT_TIMEOUT_S
    )
    if answer is None:
        raise GpuopsError(f"{python} cannot be run.", "Give another --python.")
    try:
        found = Answer.model_validate(answer)
    except ValidationError as problem:
        raise GpuopsError(
            printable(f"{module} did not print a count: {describe_first(problem)}.", 1000),
            "docs/trainers.md describes what it must print.",
        ) from None
    lists = {name: tuple(value) for name, value in found if isinstance(value, list)}
    return DataCount(
        root=str(root), samples=found.samples, places=found.places, opened=found.opened, **lists
    )


def count(
    root: Path, layout: DataLayout, *, progress: Callable[[int], None] | None = None
) -> DataCount:
    """Count the samples of every split of a layout; ``progress`` gets their number now and then.

    A sample is judged by ``stat`` of its files; no list is kept. Only the NumPy files that were
    written last are opened, for their length: these are the ones that an aborted copy cuts off.

    Raises:
        GpuopsError: the root is missing, not a folder, or empty.
    """
    folders = sorted(entry.name for entry in _entries(root) if _is_folder(entry))
    if not folders:
        raise GpuopsError(f"{root} is not a data set: it holds no folders.", "Check the path.")
    found = {
        split: next((name for name in names if name in folders), None)
        for split, names in layout.splits.items()
    }
    places = {split: there for split, there in found.items() if there is not None}
    samples = dict.fromkeys(places, 0)
    incomplete: list[str] = []
    unreadable: list[str] = []
    newest = _Newest(root, layout)
    for seen, (split, name, fault, changed_ns) in enumerate(_samples(root, places, layout), 1):
        sample = f"{places[split]}/{name}"
        if fault is None:
            samples[split] += 1
            newest.offer(changed_ns, split, sample)
        elif fault.endswith(MISSING):
            incomplete.append(_decoded(sample))
        else:
            unreadable.append(_decoded(f"{sample}: {fault}"))
        if progress is not None and seen % PROGRESS_EVERY == 0:
            progress(seen)
    for split, sample, fault in newest.cut_off():
        samples[split] -= 1
        unreadable.append(_decoded(f"{sample}: {fault}"))
    return DataCount(
        root=str(root),
        samples=samples,
        folders=tuple(_decoded(name) for name in folders),
        incomplete=tuple(sorted(incomplete)),
        unreadable=tuple(sorted(unreadable)),
        places={split: _decoded(place) for split, place in places.items()},
        opened=newest.files,
    )


class _Newest:
    """The samples whose files were written last: as many as have ``MOST_OPENED`` NumPy files."""

    def __init__(self, root: Path, layout: DataLayout) -> None:
        self._root = root
        self._names = [name for name in layout.sample_files if name.endswith(".npy")]
        self._most = MOST_OPENED // len(self._names) if self._names else 0
        self._heap: list[tuple[int, str, str]] = []

    @property
    def files(self) -> int:
        """How many files that is."""
        return len(self._heap) * len(self._names)

    def offer(self, changed_ns: int, split: str, sample: str) -> None:
        """Keep a sample if it is newer than the oldest one kept, or there is room."""
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, (changed_ns, split, sample))
        elif self._most and changed_ns > self._heap[0][0]:
            heapq.heapreplace(self._heap, (changed_ns, split, sample))

    def cut_off(self) -> Iterator[tuple[str, str, str]]:
        """Split, sample and fault of those with a file that ends too early."""
        for _, split, sample in self._heap:
            for name in self._names:
                short = npy_files.cut_off(f"{self._root}/{sample}/{name}")
                if short is not None:
                    yield split, sample, f"{name} is cut off ({short})"
                    break


def _samples(
    root: Path, places: Mapping[str, str], layout: DataLayout
) -> Iterator[tuple[str, str, str | None, int]]:
    """Split, name and fault of each sample, and when its files were changed (ns)."""
    for split, there in places.items():
        for entry in _entries(root / there):
            if _is_folder(entry):
                yield split, entry.name, *_check_files(entry.path, layout.sample_files)
            elif entry.is_symlink() and not os.path.exists(entry.path):  # noqa: PTH110 - many
                yield split, entry.name, "it is a link that leads nowhere", 0


def _entries(root: Path) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(root) as entries:
            yield from entries
    except FileNotFoundError as error:
        raise GpuopsError(f"there is no data set at {root}.", "Check the path.") from error
    except NotADirectoryError as error:
        raise GpuopsError(
            f"{root} cannot be read: it is not a folder.", "Give the folder that holds the splits."
        ) from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or "it is not a valid path"
        raise GpuopsError(f"{root} cannot be read: {reason}.", "Check the path.") from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.name[0] != "." and entry.is_dir()
    except OSError:  # a link that leads to itself
        return False


def _check_files(folder: str, names: list[str]) -> tuple[str | None, int]:
    """What is wrong with the first of a sample's files that cannot be used; else their age."""
    changed_ns = 0
    for name in names:
        path = f"{folder}/{name}"
        try:
            found = os.stat(path)  # noqa: PTH116 - as often as there are samples
        except FileNotFoundError:
            nowhere = os.path.islink(path)  # noqa: PTH114
            return f"{name} {'is a link that leads nowhere' if nowhere else MISSING}", 0
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}", 0
        if not stat.S_ISREG(found.st_mode):
            return f"{name} is {'a folder' if stat.S_ISDIR(found.st_mode) else 'no file'}", 0
        if not found.st_size:
            return f"{name} is empty", 0
        # The kernel is asked only if the mode leaves it open.
        if found.st_mode & _READABLE_BY_ALL != _READABLE_BY_ALL and not _may_read(path):
            return f"{name} cannot be read: permission denied", 0
        changed_ns = max(changed_ns, found.st_ctime_ns)
    return None, changed_ns


def _may_read(path: str) -> bool:
    return os.access(path, os.R_OK, effective_ids=os.access in os.supports_effective_ids)


def _decoded(name: str) -> str:
    """A name that can be printed, even if it is not UTF-8."""
    return os.fsencode(name).decode(errors="backslashreplace")
