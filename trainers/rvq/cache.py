"""Build, inspect or verify a window cache; `gpuops cache ...` does the same (numpy, no torch).

    python -m trainers.rvq.cache build --data ROOT --split train --save-path F.npz [FLAGS]
    python -m trainers.rvq.cache inspect F [--json]
    python -m trainers.rvq.cache verify F [--data ROOT] [--json]

FLAGS are those of training: --window-size, --window-stride, --multi-length(-training) RATIOS,
--max-samples, --pose-fps, --preset, --config. Underscores may stand for dashes.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from annotated_types import Ge

from trainers.engine.bars import bars, tracked
from trainers.engine.cache import is_whole
from trainers.engine.config.config import resolve, setting
from trainers.engine.errors import ConfigError, run_main
from trainers.engine.samples import VALIDATION_SPLITS, validation_split
from trainers.engine.tables import format_bytes
from trainers.motion.clips.listing import SKELETON, Listing, list_clips
from trainers.motion.clips.synthetic import synthetic_clips
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.windows import cache_file, old_cache
from trainers.rvq.windows.for_training import build_command, recipe

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from trainers.rvq.windows.cache_file import Recipe, WindowCache
    from trainers.rvq.windows.old_cache import OldCache

QUIET_CLIPS = 2000  # that many are listed in a moment


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildConfig:
    """What a cache is built from, beside the settings of training."""

    split: str = setting("train", "split to cut: train, val or dev")
    save_path: Path | None = setting(None, "file to write; none: the training's cache of the split")
    audio_fps: Annotated[int, Ge(1)] | None = setting(None, "recorded, motion has no use for it")


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig(Config):
    """All settings that building a cache takes: those of a training, and its own."""

    cache: BuildConfig = BuildConfig()


def build(argv: Sequence[str]) -> int:
    """Cut the windows of a split, and write them."""
    begun = time.perf_counter()
    flags = [word for word in argv if word != "--json"]
    config = resolve(CacheConfig, flags, name="rvq", presets=PRESETS)
    dataset = config.dataset
    usual = dataset.cache_train if config.cache.split == "train" else dataset.cache_val
    path = config.cache.save_path or usual
    if path is None:
        raise ConfigError("where should the cache be written?", "give --save-path FILE.npz")
    cache_file.KIND.check_writable(path)
    cache = cache_file.build(
        _listing(dataset.data, config.cache.split, dataset.max_samples, dataset.pose_fps),
        recipe(dataset),
        max_samples=dataset.max_samples,
        audio_fps=config.cache.audio_fps,
    )
    cache_file.write(cache, path)
    found = describe_cache(cache, path)
    text = (
        f"{path}: {found['windows']:,} windows of {found['clips']:,} clips "
        f"({found['frames']:,} frames), {format_bytes(path.stat().st_size)}, "
        f"{time.perf_counter() - begun:.2f} s"
    )
    print(json.dumps(found, indent=2) if "--json" in argv else text)
    return 0


def inspect(argv: Sequence[str]) -> int:
    """Show what a cache holds; 1 if training cannot use it, or should not."""
    given = _parser("inspect").parse_args(argv)
    if cache_file.is_pickle(given.cache):
        old = old_cache.read(given.cache)
        found, advice = describe_old(old, given.cache), [_advice(old, given.cache)]
    else:
        found, advice = describe_cache(cache_file.read(given.cache), given.cache), []
    lines = [*format_report(found), *advice]
    print(json.dumps(found, indent=2) if given.json else "\n".join(lines))
    return int(not found["usable"])


def verify(argv: Sequence[str]) -> int:
    """Compare a cache with its data set; 1 if they differ, or it is damaged."""
    parser = _parser("verify")
    parser.add_argument(
        "--data", "--data-path", "--data_path", help="the data set; left out: where it was built"
    )
    given = parser.parse_args(argv)
    cache = cache_file.read(given.cache)
    ours = cache.listing
    root = Path(given.data or ours.data)
    # A rate that skeleton.json does not give is the one that the cache was built with.
    pose_fps = None if (root / SKELETON).is_file() else ours.fps
    theirs = _listing(str(root), ours.split, cache.max_samples, pose_fps)
    differences = cache.differences(cache.recipe, theirs)
    if not is_whole(given.cache):
        differences.append("its bytes are not those that were written")
    if not differences and not cache.windows.equals(cache.recipe.cut(theirs.lengths)):
        differences.append("its windows are not those that its parameters give")
    where = f"{theirs.data}/{theirs.split}"
    if given.json:
        found = {"cache": str(given.cache), "data": where, "differences": differences}
        print(json.dumps(found, indent=2))
    elif differences:
        print(f"{given.cache} does not fit {where}:", *differences, sep="\n  ")
        print("`gpuops cache build` builds it again; training refuses it as it is.")
    else:
        print(
            f"{given.cache} fits {where}: {len(theirs.names):,} clips, "
            f"{len(cache.windows):,} windows, digest {theirs.digest}"
        )
    return int(bool(differences))


def _listing(data: str, split: str, max_samples: int | None, pose_fps: float | None) -> Listing:
    """The clips of a split; a name of the validation split stands for the one that is there."""
    root = Path(data)
    if data == "synthetic":
        return synthetic_clips(split, max_samples=max_samples, pose_fps=pose_fps)
    if split in VALIDATION_SPLITS and not (root / split).is_dir():
        split = validation_split(root)
    watch = partial(tracked, doing="listing", quiet=QUIET_CLIPS)
    return list_clips(root, split, max_samples, pose_fps=pose_fps, watch=watch)


def _advice(old: OldCache, path: Path) -> str:
    data, split = old.data_path or "ROOT", old.split or "train"
    command = build_command(path.with_suffix(".npz"), data, split, old, old.pose_fps)
    return (
        "\nA pickled cache of an older guide: it does not say where windows begin, so it cannot be "
        f"trained on.\nThis builds one that can:\n  {command}"
    )


def describe_cache(cache: WindowCache, path: Path) -> dict[str, Any]:
    """Describe a cache."""
    windows, listing = cache.windows, cache.listing
    sizes, counts = np.unique(windows.padded, return_counts=True)
    found = {
        "cache": str(path),
        "data": listing.data,
        "split": listing.split,
        "clips": len(listing.names),
        "frames": int(listing.lengths.sum(dtype=np.int64)),
        "digest": listing.digest,
        "max_samples": cache.max_samples,
        "pose_fps": listing.fps,
        "audio_fps": cache.audio_fps,
        "different": windows.different(),
        "padded": int((windows.length < windows.padded).sum()),
        **_cut(cache.recipe, dict(zip(sizes.tolist(), counts.tolist(), strict=True))),
    }
    usable = found["different"] == found["windows"] and not found["unexpected"]
    return {**found, "usable": usable}


def describe_old(cache: OldCache, path: Path) -> dict[str, Any]:
    """Describe a pickled one, which cannot be used."""
    return {
        "cache": str(path),
        "data": cache.data_path,
        "split": cache.split,
        "clips": len(cache.window_counts),
        "pose_fps": cache.pose_fps,
        **_cut(cache, cache.by_length),
        "usable": False,
    }


def _cut(recipe: Recipe, by_length: Mapping[int, int]) -> dict[str, Any]:
    return {
        "window_size": recipe.window_size,
        "window_stride": recipe.window_stride,
        "multi_length_training": list(recipe.multi_length_training),
        "windows": sum(by_length.values()),
        "by_length": dict(sorted(by_length.items())),
        "missing": [size for size in recipe.sizes if size not in by_length],
        "unexpected": [size for size in by_length if size not in recipe.sizes],
    }


def format_report(found: dict[str, Any]) -> Iterator[str]:
    """Format a description, in lines of text."""
    ratios = " ".join(f"{ratio:g}" for ratio in found["multi_length_training"])
    clips, windows = f"{found['clips']:,}", f"{found['windows']:,}"
    if "frames" in found:  # a pickled one does not say more
        clips += f" (max_samples {found['max_samples']:,})" if found["max_samples"] else ""
        clips += f", {found['frames']:,} frames, digest {found['digest']}"
        alike = found["different"] == found["windows"]
        windows += ", all different" if alike else f", only {found['different']:,} different"
        windows += f", {found['padded']:,} longer than their clip" if found["padded"] else ""
    rates = {"poses": found["pose_fps"], "audio samples": found.get("audio_fps")}
    known = ", ".join(f"{rate:g} {of}" for of, rate in rates.items() if rate)
    yield str(found["cache"])
    yield f"  data      {found['data'] or '—'}, split {found['split'] or '—'}"
    yield f"  clips     {clips}"
    yield f"  rates     {known} a second"
    yield f"  cut       {found['window_size']} frames every {found['window_stride']}, at x {ratios}"
    yield f"  windows   {windows}"
    yield "\nframes of a window"
    for bar in bars({str(size): count for size, count in found["by_length"].items()}):
        yield f"  {bar}"
    if found["missing"]:
        yield f"  no window has {', '.join(map(str, found['missing']))} frames"
    if found["unexpected"]:
        yield f"  these ratios do not give {', '.join(map(str, found['unexpected']))} frames"
    if not (found["missing"] or found["unexpected"]):
        yield "  every length that is expected, and no other"


def _parser(verb: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m trainers.rvq.cache {verb}")
    parser.add_argument("cache", type=Path, metavar="FILE")
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser


VERBS = {"build": build, "inspect": inspect, "verify": verify}


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    verb, *rest = argv or ["--help"]
    if verb in ("-h", "--help"):
        print(__doc__)
        return 0
    if verb not in VERBS:
        raise ConfigError(f"{verb} is not a command of caches; there are: {', '.join(VERBS)}")
    return VERBS[verb](rest)


if __name__ == "__main__":
    run_main(main)
