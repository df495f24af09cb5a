"""Windows kept in a file: one .npz of flat arrays, and what they were cut from (numpy, no torch).

Members: `window_cache.json`; `lengths` (S,) frames of each clip; `sample`, `start`, `length`,
`padded` (W,) of each window. All int32 and uncompressed, so that opening maps them.
Shapes: S clips, W windows.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic import FailFast, Strict, TypeAdapter

from trainers.engine import cache
from trainers.engine.cache import CacheError, Name
from trainers.engine.samples import VALIDATION_SPLITS
from trainers.motion.clips.listing import Listing
from trainers.rvq.config import MOST_RATIO, Frames
from trainers.rvq.windows.windows import COLUMNS, Windows, cut_windows, window_sizes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

KIND = cache.CacheKind(name="window cache", version=1)
PART = 1 << 16  # windows checked together, so that they stay in the processor's cache

Size = Annotated[Frames, Strict()]
Ratio = Annotated[float, Strict(), Gt(0), Le(MOST_RATIO)]
Rate = Annotated[float, Strict(), Gt(0), Lt(1 << 31)]
Count = Annotated[int, Strict(), Ge(1), Lt(1 << 31)]


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
    audio_fps: int | None = None  # as it was given; motion has no use for it

    def differences(self, recipe: Recipe, listing: Listing) -> list[str]:
        """Say what of a recipe and a list of clips is not as it is here, with both values."""
        ours = _parameters(self.recipe, self.listing)
        found = cache.differences(ours, _parameters(recipe, listing))
        return found + cache.sample_differences(self.listing, listing)

    def lies_within(self, lengths: NDArray[np.integer[Any]]) -> bool:
        """Whether every window lies within its clip, for clips of these lengths (S,)."""
        frames = np.asarray(lengths, dtype=np.int32)
        return all(
            part.sample.min() >= 0
            and part.sample.max() < len(frames)
            and part.start.min() >= 0
            and part.length.min() >= 1
            and (part.length <= part.padded).all()
            and (part.start <= frames[part.sample] - part.length).all()
            for part in _parts(self.windows)
        )

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


def write(windows: WindowCache, path: Path) -> None:
    """Write a cache, whole or not at all; an older one is replaced, another file is not.

    Raises:
        TrainerError: if it cannot be written.
    """
    about = {
        **asdict(windows.recipe),
        "split": windows.listing.split,
        "pose_fps": windows.listing.fps,
        "audio_fps": windows.audio_fps,
        "max_samples": windows.max_samples,
        "data": windows.listing.data,
        "digest": windows.listing.digest,
        "names": windows.listing.names,
    }
    arrays = {"lengths": windows.listing.lengths}
    arrays |= {name: getattr(windows.windows, name) for name in COLUMNS}
    with KIND.writing(path, about) as archive:
        for name, array in arrays.items():
            archive.array(name, np.ascontiguousarray(array, "<i4"))


def read(path: Path) -> WindowCache:
    """Open a cache: sizes and ranges are checked, the windows are mapped.

    Raises:
        CacheError: if it is missing, damaged or not a cache.
    """
    if is_pickle(path):
        raise CacheError(
            f"{path} is a pickled cache of an older guide: it does not say where windows begin"
        )
    with KIND.opened(path) as (about, archive):
        recipe, made_of = cache.validated(_RECIPE, about), cache.validated(_MADE_OF, about)
        arrays = {name: archive.mapped(name, "<i4") for name in ("lengths", *COLUMNS)}
    lengths, *columns = arrays.values()
    windows = Windows(**dict(zip(COLUMNS, columns, strict=True)))
    if len(made_of.names) != len(lengths) or len({len(column) for column in columns}) != 1:
        raise CacheError(f"{path} is damaged: its arrays differ in length")
    listing = Listing(
        data=made_of.data,
        split=made_of.split,
        names=made_of.names,
        lengths=lengths,
        fps=made_of.pose_fps,
    )
    found = WindowCache(
        listing=listing,
        recipe=recipe,
        windows=windows,
        max_samples=made_of.max_samples,
        audio_fps=made_of.audio_fps,
    )
    if not found.lies_within(lengths):
        raise CacheError(f"{path} is damaged: it has windows that lie outside of their clips")
    if listing.digest != made_of.digest:
        raise CacheError(f"{path} is damaged: its list of clips has another digest than it says")
    return found


def read_sound(path: Path) -> WindowCache:
    """Open a cache to train on: also all of its bytes are checked, and how long its windows are.

    Raises:
        CacheError: if it is missing, damaged or not a cache.
    """
    windows = read(path)
    if not cache.is_whole(path):
        raise CacheError(f"{path} is damaged: its bytes are not those that were written")
    if not windows.has_its_sizes():
        raise CacheError(f"{path} is damaged: it has windows of other lengths than its ratios give")
    return windows


def is_pickle(path: Path) -> bool:
    """Whether a file begins as pickles do that NumPy or Python 3 wrote."""
    return (cache.first_bytes(path) or b"").startswith(b"\x80")


@dataclass(frozen=True, slots=True, kw_only=True)
class _MadeOf:
    """What a cache says of the clips that its windows were cut from."""

    split: Name
    pose_fps: Rate
    audio_fps: Count | None
    max_samples: Count | None
    data: Name
    digest: Name
    names: Annotated[tuple[Name, ...], MinLen(1), FailFast()]


_RECIPE, _MADE_OF = TypeAdapter(Recipe), TypeAdapter(_MadeOf)


def _parts(windows: Windows) -> Iterator[Windows]:
    for at in range(0, len(windows), PART):
        yield Windows(**{name: getattr(windows, name)[at : at + PART] for name in COLUMNS})


def _parameters(recipe: Recipe, listing: Listing) -> dict[str, Any]:
    """What is compared: val and dev are one split, ratios have no order."""
    return {
        "split": "val or dev" if listing.split in VALIDATION_SPLITS else listing.split,
        "window_size": recipe.window_size,
        "window_stride": recipe.window_stride,
        "multi_length_training": sorted(set(recipe.multi_length_training)),
        "pose_fps": listing.fps,
    }
