"""rvq's own check: `python -m trainers.rvq.check FLAGS` tells what its settings mean on disk."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainers.engine.cache import CacheError
from trainers.engine.check import Finding, checkpoint, main, refused
from trainers.engine.errors import TrainerError
from trainers.engine.samples import validation_split
from trainers.engine.statistics import read_statistics
from trainers.motion.clips.listing import POSE, SKELETON, list_clips, read_pose_head
from trainers.motion.skeleton import load_skeleton
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.windows.cache_file import KIND
from trainers.rvq.windows.for_training import cache_path, usable

if TYPE_CHECKING:
    from collections.abc import Iterator

    from trainers.rvq.config import DatasetConfig


def check(config: Config) -> list[Finding]:
    """Look at the checkpoint to go on from, and at the data set: skeleton, caches, statistics."""
    findings = [*checkpoint(config.run), *_skeleton(Path(config.dataset.data))]
    if config.dataset.data != "synthetic":
        findings += [*_caches(config.dataset), *_statistics(config.dataset)]
    return findings


def _skeleton(root: Path) -> list[Finding]:
    try:
        skeleton = load_skeleton(root)
    except TrainerError as error:
        return [refused("skeleton", error)]
    if skeleton is None:
        return []
    joints = f"{root / SKELETON} has {len(skeleton)} joints"
    return [Finding(check="skeleton", severity="ok", summary=joints)]


def _caches(config: DatasetConfig) -> Iterator[Finding]:
    root = Path(config.data)
    for split, folder in (("train", "train"), ("val", validation_split(root, config.val_split))):
        path = cache_path(config, split)
        if path is None:
            continue
        try:
            listing = list_clips(root, folder, config.max_samples, pose_fps=config.pose_fps)
            cache, accepted = usable(path, config, listing)
        except CacheError as error:
            yield _to_be_built(path, error) if config.rebuild_cache else refused("cache", error)
        except TrainerError as error:
            yield refused("cache", error)
        else:
            about = f"{path}: {len(cache.windows):,} windows of {len(listing.names):,} clips"
            yield Finding(
                check="cache",
                severity="warning" if accepted else "ok",
                summary="; ".join([about, *accepted]),
            )


def _to_be_built(path: Path, why: CacheError) -> Finding:
    try:
        KIND.check_writable(path)
    except TrainerError as error:
        return refused("cache", error)
    summary = f"{why.message}; it will be built again"
    return Finding(check="cache", severity="ok", summary=summary)


def _statistics(config: DatasetConfig) -> Iterator[Finding]:
    if config.statistics is None:
        return
    root = Path(config.data)
    first = next(iter(sorted((root / "train").glob(f"*/{POSE}"))), None)
    if first is None:
        return
    has_skeleton = (root / SKELETON).is_file()
    sixd = config.rotation == "6d" or (config.rotation == "auto" and has_skeleton)
    try:
        width = read_pose_head(str(first)).shape[1] * (2 if sixd else 1)
        read_statistics(config.statistics, width, config.std_floor)
    except TrainerError as error:
        yield refused("statistics", error)
    else:
        yield Finding(
            check="statistics",
            severity="ok",
            summary=f"{config.statistics} has statistics of {width} features",
        )


if __name__ == "__main__":
    main(Config, check, name="rvq", presets=PRESETS)
