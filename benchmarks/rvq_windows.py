"""Window caches: built from heads against reading every clip, opened, and windows fetched.

    python benchmarks/rvq_windows.py [--samples 9009] [--frames 950] [--folder DIR]
                                     [--whole] [--cold] [--rounds 3] [--json]

A data set of `--samples` clips of about `--frames` frames and 156 values is made in a temporary
folder (5.3 GB at the usual size; --folder chooses the disk). Then, in this process:

- a cache is built (5 ratios, from the files' heads, written) and every pose is read; in turn,
  medians of `--rounds`. Warm: the files lie in the page cache, where they fit. With --cold, their
  pages are dropped before each measurement (posix_fadvise), so that the disk is read. With
  --whole, samples have keypoints and translation as well (3.6 x the bytes), which are read too;
- the cache is opened: members mapped, every window checked to lie within its clip;
- random windows are fetched, as training does it (a slice of a mapped pose), and the way a loader
  does that reads the .npz of the Seamless Interaction release (`np.load`, one member of it);
  both from the page cache. The .npz holds what the release's do: keypoints, face, body; compressed.
  How long it would take to read as many of those whole is worked out from one of them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from trainers.motion.clips.clips import open_clips
from trainers.motion.clips.listing import list_clips
from trainers.rvq.windows import cache_file
from trainers.rvq.windows.cache_file import Recipe

RECIPE = Recipe(window_size=64, window_stride=20, multi_length_training=(0.5, 0.75, 1.0, 1.25, 1.5))
VALUES = 156
GOALS = {"build / read": 1 / 50, "open_ms": 50, "npz / window": 20}
# What a file of the release holds beside the body: names, values of a frame.
BESIDE = {
    "smplh:translation": 3,
    "boxes_and_keypoints:host": 4,
    "boxes_and_keypoints:keypoints": 399,
    "movement:expression": 128,
    "movement:frame_latent": 64,
    "movement:emotion_scores": 8,
}


def make(root: Path, samples: int, frames: int, arrays: dict[str, int]) -> None:
    """Write the clips: arrays by name, with values of a frame."""
    rng = np.random.default_rng(0)
    noise = rng.normal(size=(frames * 5 // 4, max(arrays.values()))).astype(np.float32)
    for number, length in enumerate(rng.integers(frames * 3 // 4, frames * 5 // 4, samples)):
        folder = root / "train" / f"V00_S0809_I{number:08d}_P0947"
        folder.mkdir(parents=True)
        for name, width in arrays.items():
            np.save(folder / f"{name}.npy", noise[:length, :width])
    os.sync()


def write_npz(path: Path, frames: int) -> None:
    """A file as the release has them."""
    rng = np.random.default_rng(1)
    body = {"global_orient": (3,), "body_pose": (21, 3)}
    body |= {"left_hand_pose": (15, 3), "right_hand_pose": (15, 3)}
    arrays = {f"smplh:{name}": rng.normal(size=(frames, *shape)) for name, shape in body.items()}
    arrays |= {name: rng.normal(size=(frames, width)) for name, width in BESIDE.items()}
    np.savez_compressed(path, **{name: array.astype(np.float32) for name, array in arrays.items()})


def build(root: Path, path: Path) -> None:
    """A cache, from heads to file."""
    cache_file.write(cache_file.build(list_clips(root, "train"), RECIPE), path)


def read_all(root: Path) -> int:
    """Every byte of every array."""
    return sum(np.load(path).nbytes for path in files(root))


def files(root: Path) -> list[Path]:
    return sorted((root / "train").glob("*/*.npy"))


def fetch_npz(path: Path, start: int, length: int) -> np.ndarray:
    """A window out of a file of the release."""
    with np.load(path) as archive:
        names = ("global_orient", "body_pose", "left_hand_pose", "right_hand_pose")
        parts = [archive[f"smplh:{name}"] for name in names]
        whole = np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1)
    return whole[start : start + length]


def read_npz(path: Path) -> int:
    """All of a file of the release."""
    with np.load(path) as archive:
        return sum(archive[name].nbytes for name in archive.files)


def drop(root: Path) -> None:
    """Take the clips' pages out of memory."""
    for path in files(root):
        handle = os.open(path, os.O_RDONLY)
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(handle)


def timed(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def measure(options: argparse.Namespace, folder: Path) -> dict[str, float]:
    root, path = folder / "data", folder / "train.npz"
    arrays = {"pose": VALUES, **({"keypoints": 399, "translation": 3} if options.whole else {})}
    make(root, options.samples, options.frames, arrays)
    build(root, path)
    size = read_all(root)
    builds, reads = [], []
    for _ in range(options.rounds):
        for times, what in ((builds, lambda: build(root, path)), (reads, lambda: read_all(root))):
            if options.cold:
                drop(root)
            times.append(timed(what))
    opens = [timed(lambda: cache_file.read(path)) for _ in range(20)]

    cache = cache_file.read(path)
    clips = open_clips(root, "train")
    rows = np.random.default_rng(2).integers(len(cache.windows), size=2000)
    spans = [
        (int(cache.windows.sample[i]), int(cache.windows.start[i]), int(cache.windows.length[i]))
        for i in rows
    ]
    for clip, start, length in spans:  # into the page cache
        np.array(clips.poses[clip][start : start + length])
    fetches = [
        timed(lambda c=clip, s=start, n=length: np.array(clips.poses[c][s : s + n]))
        for clip, start, length in spans
    ]
    npz = folder / "one.npz"
    write_npz(npz, options.frames)
    slow = [
        timed(lambda s=start, n=length: fetch_npz(npz, s % (options.frames - n), n))
        for _, start, length in spans[:40]
    ]
    whole = [timed(lambda: read_npz(npz)) for _ in range(20)]
    return {
        "data_gb": size / 1e9,
        "windows": len(cache.windows),
        "build_s": statistics.median(builds),
        "read_s": statistics.median(reads),
        "open_ms": 1e3 * statistics.median(opens),
        "open_ms_first": 1e3 * opens[0],
        "window_us": 1e6 * statistics.median(fetches),
        "npz_us": 1e6 * statistics.median(slow),
        "all_npz_s": options.samples * statistics.median(whole),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=9009)
    parser.add_argument("--frames", type=int, default=950)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", help="where to make the data set")
    parser.add_argument("--whole", action="store_true", help="with keypoints and translation")
    parser.add_argument("--cold", action="store_true", help="drop the clips' pages before each")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        found = measure(options, Path(folder))
    ratios = {
        "build / read": found["build_s"] / found["read_s"],
        "build / read all .npz": found["build_s"] / found["all_npz_s"],
        "npz / window": found["npz_us"] / found["window_us"],
    }
    if options.json:
        print(
            json.dumps({**found, "ratios": ratios, "goals": GOALS, "cold": options.cold}, indent=2)
        )
        return
    state = "cold" if options.cold else "warm"
    print(f"{options.samples:,} clips, {found['data_gb']:.2f} GB, {found['windows']:,} windows")
    print(f"cache built from heads      {found['build_s']:9.3f} s   {state}")
    print(f"every array read            {found['read_s']:9.3f} s   {state}")
    print(f"  built / read              1/{1 / ratios['build / read']:<7.1f}    (goal <= 1/50)")
    print(f"every .npz read             {found['all_npz_s']:9.3f} s   warm, worked out from one")
    print(f"  built / read              1/{1 / ratios['build / read all .npz']:<7.1f}")
    print(f"cache opened                {found['open_ms']:9.1f} ms  (goal < 50 ms)")
    print(f"a window, mapped            {found['window_us']:9.1f} µs")
    print(f"a window, out of the .npz   {found['npz_us']:9.1f} µs")
    print(f"  .npz / mapped             {ratios['npz / window']:9.0f} x   (goal >= 20)")


if __name__ == "__main__":
    main()
