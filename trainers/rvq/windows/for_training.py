"""Whether training uses the windows of a cache: decided here, for training and for its check."""

from __future__ import annotations

import logging
import os
import shlex
from typing import TYPE_CHECKING

from trainers.engine import cache
from trainers.engine.cache import CacheError
from trainers.rvq.windows import cache_file
from trainers.rvq.windows.cache_file import Recipe, WindowCache

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainers.motion.clips.listing import Listing
    from trainers.rvq.config import DatasetConfig
    from trainers.rvq.windows.windows import Windows


log = logging.getLogger("trainers")


def cache_path(config: DatasetConfig, split: str) -> Path | None:
    """The cache that is given for "train" or "val", if caches are used."""
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
    try:
        found, accepted = usable(path, config, listing)
    except CacheError as error:
        if not config.rebuild_cache:
            raise
        log.info("%s; it is built again", error.message)
    else:
        if accepted:
            log.warning("%s is used as it is: %s", path, "; ".join(accepted))
        return found.windows
    found = cache_file.build(listing, recipe(config), max_samples=config.max_samples)
    if os.environ.get("RANK", "0") == "0":  # every rank builds for itself: it takes seconds
        cache_file.write(found, path)
    return found.windows


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
    differences = found.differences(recipe(config), listing)
    every = "; ".join(differences)
    if differences and not config.accept_cache:
        raise CacheError(
            f"{path} was built for something else: {every}",
            "--rebuild-cache builds it again, --accept-cache trains on it as it is",
        )
    if differences and not found.lies_within(listing.lengths):
        raise CacheError(
            f"{path} cannot be accepted, parts of it lie outside of these samples: {every}",
            "--rebuild-cache builds it again",
        )
    return found, differences


def build_hint(path: Path, config: DatasetConfig, listing: Listing) -> str:
    """Say which command builds what cannot be used."""
    if cache_file.is_pickle(path) or path.suffix == ".pkl":
        path = path.with_suffix(".npz")
    rate, most = config.pose_fps, config.max_samples
    command = build_command(path, config.data, listing.split, recipe(config), rate, most)
    return f"`{command}` builds it."


def build_command(
    path: Path,
    data: str,
    split: str,
    recipe: Recipe,
    pose_fps: float | None,
    max_samples: int | None = None,
) -> str:
    """How a cache is built by hand."""
    words = ["gpuops", "cache", "build", "--data", data, "--split", split]
    words += ["--window-size", str(recipe.window_size)]
    words += ["--window-stride", str(recipe.window_stride), "--multi-length"]
    words += map(cache.exact, recipe.multi_length_training)
    words += ["--pose-fps", cache.exact(pose_fps)] if pose_fps else []
    words += ["--max-samples", str(max_samples)] if max_samples else []
    return shlex.join([*words, "--save-path", str(path)])
