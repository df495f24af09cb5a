"""Whether training uses the windows of a cache: decided here, for training and for its check."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING

from trainers.engine import cache
from trainers.engine.cache import CacheError
from trainers.rvq.windows import cache_file
from trainers.rvq.windows.cache_file import Recipe, WindowCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainers.rvq.clips.listing import Listing
    from trainers.rvq.config import DatasetConfig
    from trainers.rvq.windows.windows import Windows


def cache_path(config: DatasetConfig, split: str) -> Path | None:
    """The cache that is given for "train" or "val", if it is to be used."""
    given = {"train": config.cache_train, "val": config.cache_val}
    return given.get(split) if config.use_cache else None


def recipe(config: DatasetConfig) -> Recipe:
    """How a config wants its clips cut."""
    return Recipe(
        window_size=config.window_size,
        window_stride=config.window_stride,
        multi_length_training=config.multi_length_training,
    )


def windows_of(config: DatasetConfig, split: str, listing: Listing) -> Windows:
    """The windows to train on, from the cache if one is given.

    Raises:
        CacheError: if it was made of something else, and may not be rebuilt or accepted.
    """
    path = cache_path(config, split)
    if path is None:
        return recipe(config).cut(listing.lengths)
    built = partial(cache_file.build, listing, recipe(config), max_samples=config.max_samples)
    cached = cache.use_or_build(
        path,
        use=lambda: usable(path, config, listing),
        build=built,
        write=lambda found: cache_file.write(found, path),
        rebuild=config.rebuild_cache,
    )
    return cached.windows


def usable(
    path: Path, config: DatasetConfig, listing: Listing
) -> tuple[WindowCache, Sequence[str]]:
    """A cache that training may use, and the differences that are accepted.

    Raises:
        CacheError: with every difference, and what can be done.
    """
    try:
        found = cache_file.read_sound(path)
    except CacheError as error:
        raise CacheError(error.message, build_hint(path, config, listing)) from None
    accepted = cache.check_fits(
        path,
        found.differences(recipe(config), listing),
        accept=config.accept_cache,
        acceptable=lambda: found.lies_within(listing.lengths),
    )
    return found, accepted


def build_hint(path: Path, config: DatasetConfig, listing: Listing) -> str:
    """Say which command builds what cannot be used."""
    if cache_file.is_pickle(path) or path.suffix == ".pkl":
        path = path.with_suffix(".npz")
    return f"`{build_command(path, config, listing.split)}` builds it."


def build_command(path: Path, config: DatasetConfig, split: str) -> str:
    """How a cache is built by hand."""
    words = ["gpuops", "cache", "build", "--data", config.data, "--split", split]
    words += ["--window-size", str(config.window_size)]
    words += ["--window-stride", str(config.window_stride), "--multi-length"]
    words += map(cache.exact, config.multi_length_training)
    words += ["--pose-fps", cache.exact(config.pose_fps)] if config.pose_fps else []
    words += ["--max-samples", str(config.max_samples)] if config.max_samples else []
    return shlex.join([*words, "--save-path", str(path)])
