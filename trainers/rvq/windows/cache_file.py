"""Windows kept in a file: one .npz of flat arrays, and what they were cut from (numpy, no torch).

Members: `window_cache.json`; `lengths` (S,) frames of each clip; `sample`, `start`, `length`,
`padded` (W,) of each window. All int32 and uncompressed, so that opening maps them.
Shapes: S clips, W windows.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import FailFast, PlainValidator, Strict, TypeAdapter, ValidationError

from trainers.engine.arrays import npz
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.errors import TrainerError
from trainers.engine.files import whole_file
from trainers.engine.samples import VALIDATION_SPLITS
from trainers.rvq.clips.listing import Listing
from trainers.rvq.config import MOST_RATIO, Frames
from trainers.rvq.windows.windows import COLUMNS, Windows, cut_windows, window_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

VERSION = 1
ABOUT = "window_cache"
MOST_ABOUT = 1 << 28  # bytes of names and parameters
NAMED = 3
PART = 1 << 16  # windows looked at together, so that they stay in the processor's cache


def _name(value: Any) -> str:
    """A text such as a folder's name can be, which need not be UTF-8."""
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - pydantic takes no other for an answer
    os.fsencode(value)
    return value


Name = Annotated[str, PlainValidator(_name)]
Size = Annotated[Frames, Strict()]
Ratio = Annotated[float, Strict(), Gt(0), Le(MOST_RATIO)]
Rate = Annotated[float, Strict(), Gt(0), Lt(1 << 31)]
Count = Annotated[int, Strict(), Ge(1), Lt(1 << 31)]


class CacheError(TrainerError):
    """A cache that cannot be used for what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How clips are cut."""

    window_size: Size
    window_stride: Size
    multi_length_training: Annotated[tuple[Ratio, ...], MinLen(1), FailFast()]

    @property
    def sizes(self) -> dict[int, int]:
        """Frames of the windows at each ratio, and between the starts of two."""
        return window_sizes(self.window_size, self.window_stride, self.multi_length_training)

    def cut(self, lengths: NDArray[np.integer[Any]]) -> Windows:
        """Cut clips of these lengths (S,)."""
        return cut_windows(
            lengths,
            size=self.window_size,
            stride=self.window_stride,
            ratios=self.multi_length_training,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class WindowCache:
    """The windows of a split, and what they follow from."""

    listing: Listing
    recipe: Recipe
    windows: Windows
    max_samples: int | None = None
    audio_fps: int | None = None
    """As it was given; motion has no use for it."""

    def differences(self, recipe: Recipe, listing: Listing) -> list[str]:
        """Say what of a recipe and a list of clips is not as it is here, with both values."""
        ours = _parameters(self.recipe, self.listing)
        theirs = _parameters(recipe, listing)
        said = [
            f"{name} is {_shown(value)} in the cache and {_shown(theirs[name])} here"
            for name, value in ours.items()
            if value != theirs[name]
        ]
        return said + _clip_differences(self.listing, listing)

    def lies_within(self, lengths: NDArray[np.integer[Any]]) -> bool:
        """Whether every window lies within its clip, for clips of these lengths (S,)."""
        return _within(self.windows, lengths)

    def has_its_sizes(self) -> bool:
        """Whether every window is as long as the recipe has it, or as its clip if that is less."""
        frames, sizes = np.asarray(self.listing.lengths), list(self.recipe.sizes)
        return all(
            np.isin(part.padded, sizes).all()
            and (part.length == np.minimum(part.padded, frames[part.sample])).all()
            for part in _parts(self.windows)
        )


def build(listing: Listing, recipe: Recipe, **given: int | None) -> WindowCache:
    """Cut the windows of a list of clips."""
    return WindowCache(listing=listing, recipe=recipe, windows=recipe.cut(listing.lengths), **given)


def check_writable(path: Path) -> None:
    """Refuse a path that no cache is written to.

    Raises:
        TrainerError: it would be no .npz, or replace another file.
    """
    if path.suffix.lower() in (".pkl", ".pickle"):
        raise TrainerError(
            f"{path} would be no pickle: window caches are .npz",
            f"give {path.with_suffix('.npz')} as the path, here and in training",
        )
    if path.exists() and not is_ours(path):
        raise TrainerError(f"{path} is no window cache, so it is not replaced", "give another path")


def write(cache: WindowCache, path: Path) -> None:
    """Write a cache, whole or not at all; an older one is replaced, another file is not.

    Raises:
        TrainerError: where it cannot be written.
    """
    check_writable(path)
    about = {
        "version": VERSION,
        **asdict(cache.recipe),
        "split": cache.listing.split,
        "pose_fps": cache.listing.fps,
        "audio_fps": cache.audio_fps,
        "max_samples": cache.max_samples,
        "data": cache.listing.data,
        "digest": cache.listing.digest,
        "names": cache.listing.names,
    }
    arrays = {"lengths": cache.listing.lengths}
    arrays |= {name: getattr(cache.windows, name) for name in COLUMNS}
    with whole_file(path) as unfinished, unfinished.open("wb") as file:
        flat = {name: np.ascontiguousarray(array, "<i4") for name, array in arrays.items()}
        npz.write(file, flat, **{ABOUT: json.dumps(about)})


def read(path: Path) -> WindowCache:
    """Open a cache: sizes and ranges are checked, the windows are mapped.

    Raises:
        CacheError: where it is missing, damaged or no cache.
    """
    if not path.exists():
        raise CacheError(f"there is no window cache {path}")
    try:
        with npz.opened(path) as archive:
            recipe, said = _about(archive.data(f"{ABOUT}.json", MOST_ABOUT))
            arrays = {name: archive.mapped(name, "<i4") for name in ("lengths", *COLUMNS)}
    except (ArrayError, OSError, _DamagedError) as error:
        if is_pickle(path):
            raise CacheError(
                f"{path} is a pickled cache of an older guide: it does not say where windows begin"
            ) from None
        raise CacheError(f"{path} cannot be used as a window cache: {error}") from None
    lengths, *columns = arrays.values()
    windows = Windows(**dict(zip(COLUMNS, columns, strict=True)))
    if len(said.names) != len(lengths) or len({len(column) for column in columns}) != 1:
        raise CacheError(f"{path} is damaged: its arrays differ in length")
    if not _within(windows, lengths):
        raise CacheError(f"{path} is damaged: it has windows that lie outside of their clips")
    listing = Listing(
        data=said.data, split=said.split, names=said.names, lengths=lengths, fps=said.pose_fps
    )
    if listing.digest != said.digest:
        raise CacheError(f"{path} is damaged: its list of clips has another digest than it says")
    return WindowCache(
        listing=listing,
        recipe=recipe,
        windows=windows,
        max_samples=said.max_samples,
        audio_fps=said.audio_fps,
    )


def read_sound(path: Path) -> WindowCache:
    """Open a cache to train on: also all of its bytes are checked, and how long its windows are.

    Raises:
        CacheError: where it is missing, damaged or no cache.
    """
    cache = read(path)
    if not is_whole(path):
        raise CacheError(f"{path} is damaged: its bytes are not those that were written")
    if not cache.has_its_sizes():
        raise CacheError(f"{path} is damaged: it has windows of other lengths than its ratios give")
    return cache


def is_whole(path: Path) -> bool:
    """Whether its bytes are those that were written; reads all of them."""
    try:
        with npz.opened(path) as archive:
            return archive.is_whole()
    except ArrayError:
        return False


def is_ours(path: Path) -> bool:
    """Whether a file was begun as a window cache, whole or not; an empty one may become one."""
    begin = _begin(path)
    return begin is not None and (not begin or f"{ABOUT}.json".encode() in begin)


def is_pickle(path: Path) -> bool:
    """Whether a file begins as pickles do that NumPy or Python 3 wrote."""
    return (_begin(path) or b"").startswith(b"\x80")


def _begin(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(64)
    except OSError:
        return None


class _DamagedError(Exception):
    pass


@dataclass(frozen=True, slots=True, kw_only=True)
class _Said:
    """What a cache says of the clips that it was cut from."""

    split: Name
    pose_fps: Rate
    audio_fps: Count | None
    max_samples: Count | None
    data: Name
    digest: Name
    names: Annotated[tuple[Name, ...], MinLen(1), FailFast()]


_RECIPE, _SAID = TypeAdapter(Recipe), TypeAdapter(_Said)


def _about(text: bytes) -> tuple[Recipe, _Said]:
    """What a cache says of itself, every value of the type that it must have."""
    try:
        about = json.loads(text)
    except (ValueError, RecursionError):
        raise _DamagedError("what it says of itself is no JSON") from None
    if not isinstance(about, dict) or about.get("version") != VERSION:
        version = about.get("version") if isinstance(about, dict) else None
        raise _DamagedError(f"it has version {version!r} of the format, {VERSION} is read here")
    try:
        return _RECIPE.validate_python(about), _SAID.validate_python(about)
    except ValidationError as error:
        name = error.errors(include_url=False)[0]["loc"][0]
        raise _DamagedError(f"its {name} cannot be {str(about.get(name))[:80]}") from None


def _within(windows: Windows, lengths: NDArray[np.integer[Any]]) -> bool:
    frames = np.asarray(lengths, dtype=np.int32)
    return all(_part_within(part, frames) for part in _parts(windows))


def _parts(windows: Windows) -> Iterator[Windows]:
    for at in range(0, len(windows), PART):
        yield Windows(**{name: getattr(windows, name)[at : at + PART] for name in COLUMNS})


def _part_within(part: Windows, frames: NDArray[np.int32]) -> bool:
    sample, start, length = part.sample, part.start, part.length
    if sample.min() < 0 or sample.max() >= len(frames) or start.min() < 0 or length.min() < 1:
        return False
    return bool((length <= part.padded).all() and (start <= frames[sample] - length).all())


def _parameters(recipe: Recipe, listing: Listing) -> dict[str, Any]:
    """What is compared: val and dev are one split, ratios have no order."""
    return {
        "split": "val or dev" if listing.split in VALIDATION_SPLITS else listing.split,
        "window_size": recipe.window_size,
        "window_stride": recipe.window_stride,
        "multi_length_training": sorted(set(recipe.multi_length_training)),
        "pose_fps": listing.fps,
    }


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    return value if isinstance(value, str) else exact(value)


def exact(number: float) -> str:
    """As short as it can be and still be this very number."""
    return repr(number).removesuffix(".0")


def _clip_differences(ours: Listing, theirs: Listing) -> list[str]:
    there = f"{theirs.data}/{theirs.split}"
    if ours.names != theirs.names:
        gone = sorted(set(ours.names) - set(theirs.names))
        new = sorted(set(theirs.names) - set(ours.names))
        said = f"it has {len(ours.names):,} clips, {there} has {len(theirs.names):,}"
        said += f"; only in the cache: {_few(gone)}" if gone else ""
        said += f"; only there: {_few(new)}" if new else ""
        return [said]
    differ = np.flatnonzero(np.asarray(ours.lengths) != theirs.lengths)
    if not len(differ):
        return []
    first = int(differ[0])
    more = f", and {len(differ) - 1:,} more differ" if len(differ) > 1 else ""
    frames = f"{ours.lengths[first]:,} frames in the cache and {theirs.lengths[first]:,} in {there}"
    return [f"{ours.names[first]} has {frames}{more}"]


def _few(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED:,} more" if len(names) > NAMED else ""
    return f"{', '.join(names[:NAMED])}{more}"
