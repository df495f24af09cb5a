"""How long counting a data set takes, beside `find -type f | wc -l` on the same tree.

    python benchmarks/data_count.py [--samples 100000] [--rounds 7] [--folder DIR] [--json]

The tree is made in a temporary folder: train/ and val/, each sample a folder with the three files
of rvq's layout. Each round counts once by each side, in turn, so that a slow moment of the machine
hits both; medians are compared. `gpuops.system.trainers.datasets.count` looks at the files that
rvq needs, and then, to be fair to layouts that need more, at all three; the whole command
`gpuops data count` (with Python's start) is timed as well.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gpuops.core.launch.manifest import DataLayout
from gpuops.system.trainers import datasets, manifests

GOAL = 1.5
FILES = ("pose.npy", "keypoints.npy", "translation.npy")
_HEADER = b"{'descr': '<f4', 'fortran_order': False, 'shape': (0, 3), }"
EMPTY = b"\x93NUMPY\x01\x00" + (118).to_bytes(2, "little") + _HEADER.ljust(117) + b"\n"


def make(root: Path, samples: int) -> None:
    """A tree of sample folders, one in ten of them to validate on."""
    for number in range(samples):
        folder = root / ("val" if number % 10 == 0 else "train") / f"clip-{number:06d}"
        folder.mkdir(parents=True)
        for name in FILES:
            (folder / name).write_bytes(EMPTY)


def find(root: Path) -> int:
    """How many files `find` sees."""
    listing = subprocess.Popen(["find", str(root), "-type", "f"], stdout=subprocess.PIPE)
    counted = subprocess.run(["wc", "-l"], stdin=listing.stdout, capture_output=True, check=True)
    assert listing.wait() == 0
    return int(counted.stdout)


def count(root: Path, layout: DataLayout) -> int:
    """How many whole samples gpuops sees."""
    return sum(datasets.count(root, layout).samples.values())


def command(root: Path) -> int:
    """The same by the command, in a process of its own."""
    words = [sys.executable, "-m", "gpuops", "data", "count", str(root), "--json"]
    answer = subprocess.run(words, capture_output=True, check=True)
    return sum(json.loads(answer.stdout)["samples"].values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--folder", help="where to make the tree")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    layout = manifests.load("rvq").data.layout
    whole = layout.model_copy(update={"sample_files": list(FILES)})
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder)
        make(root, options.samples)
        sides = {
            "find -type f | wc -l": (lambda: find(root), 3 * options.samples),
            "count": (lambda: count(root, layout), options.samples),
            "count, three files": (lambda: count(root, whole), options.samples),
            "gpuops data count": (lambda: command(root), options.samples),
        }
        times = {name: [] for name in sides}
        for turn in range(options.rounds + 1):  # the first one warms the caches
            for name, (side, wanted) in sides.items():
                begun = time.perf_counter()
                found = side()
                if turn:
                    times[name].append(time.perf_counter() - begun)
                assert found == wanted, f"{name}: {found}"
    medians = {name: statistics.median(values) for name, values in times.items()}
    peer, *ours = medians
    ratios = {f"{name} / find": medians[name] / medians[peer] for name in ours}
    if options.json:
        print(json.dumps({"wall_s": medians, "ratios": ratios, "goal": GOAL}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:<28} {value:7.3f} s (median of {options.rounds})")
    for name, value in ratios.items():
        print(f"{name:<28} {value:7.2f} x (goal <= {GOAL})")


if __name__ == "__main__":
    main()
