"""A window cache described: as a mapping, and as lines of text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine.bars import bars

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

    from trainers.rvq.windows.cache_file import Recipe, WindowCache
    from trainers.rvq.windows.old_cache import OldCache


def describe_cache(cache: WindowCache, path: Path) -> dict[str, Any]:
    """Describe a cache."""
    windows, listing = cache.windows, cache.listing
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
        **_cut(cache.recipe, _by_length(windows.padded)),
    }
    usable = found["different"] == found["windows"] and not found["unexpected"]
    return {**found, "usable": usable}


def describe_old(cache: OldCache, path: Path) -> dict[str, Any]:
    """Describe a pickled one, which cannot be used."""
    return {
        "cache": str(path),
        "data": cache.data,
        "split": cache.split,
        "clips": cache.clips,
        "pose_fps": cache.fps,
        **_cut(cache.recipe, cache.by_length),
        "usable": False,
    }


def _by_length(frames: NDArray[np.integer[Any]]) -> dict[int, int]:
    sizes, counts = np.unique(frames, return_counts=True)
    return dict(zip(sizes.tolist(), counts.tolist(), strict=True))


def _cut(recipe: Recipe, by_length: dict[int, int]) -> dict[str, Any]:
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
    most = f" (max_samples {found['max_samples']:,})" if found.get("max_samples") else ""
    rates = {"poses": found["pose_fps"], "audio samples": found.get("audio_fps")}
    known = ", ".join(f"{rate:g} {of}" for of, rate in rates.items() if rate)
    yield str(found["cache"])
    yield f"  data      {found['data'] or '—'}, split {found['split'] or '—'}"
    yield f"  clips     {found['clips']:,}{most}{_clips(found)}"
    yield f"  rates     {known} a second"
    yield f"  cut       {found['window_size']} frames every {found['window_stride']}, at x {ratios}"
    yield f"  windows   {found['windows']:,}{_windows(found)}"
    yield "\nframes of a window"
    for bar in bars({str(size): count for size, count in found["by_length"].items()}):
        yield f"  {bar}"
    if found["missing"]:
        yield f"  no window has {_and(found['missing'])} frames"
    if found["unexpected"]:
        yield f"  these ratios do not give {_and(found['unexpected'])} frames"
    if not (found["missing"] or found["unexpected"]):
        yield "  every length that is expected, and no other"


def _clips(found: dict[str, Any]) -> str:
    return f", {found['frames']:,} frames, digest {found['digest']}" if "frames" in found else ""


def _windows(found: dict[str, Any]) -> str:
    if "different" not in found:
        return ""
    alike = found["different"] == found["windows"]
    count = ", all different" if alike else f", only {found['different']:,} different"
    return count + (f", {found['padded']:,} longer than their clip" if found["padded"] else "")


def _and(sizes: list[int]) -> str:
    return ", ".join(map(str, sizes))
