"""What layout learns: places of real screens and of drawn posters, held out, beside plain answers.

    python benchmarks/layout_quality.py --rico FOLDER --work FOLDER
        [--rows NAME ...] [--seeds 3] [--json]

- size: RICO screens, from category and size to position; for each seed of the training.
- category: RICO screens, from the category alone to position and size.
- posters: the built-in posters, from images alone.

Each row is a training and `evaluate`, with all that it judges by; rows are stored in the work
folder as they finish, and a training that was stopped goes on. The folder of RICO holds rico.npz:
boxes (n, 4) as shares, labels (n,), the first row of each screen, its canvas and its name, for the
splits `val` and `test`.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from quality_rows import row

RICO = """
    --preset demo --look categories --batch-size 32 --width 96 --layers 4 --lr 2e-3
    --loss-layer 0 --loss-aesthetic 0 --ema-decay 0.998
    --total-iter 12000 --eval-iter 4000 --save-iter 500 --print-iter 250
"""
POSTERS = "--preset demo --total-iter 4000 --eval-iter 2000 --save-iter 500 --print-iter 250"
TRAINING, HELD_OUT = 4400, 500
LABELS = (
    "Text", "Image", "Icon", "List Item", "Text Button", "Toolbar", "Web View", "Input", "Card",
    "Advertisement", "Background Image", "Drawer", "Radio Button", "Checkbox", "Multi-Tab",
    "Pager Indicator", "Modal", "On/Off Switch", "Slider", "Map View", "Button Bar", "Video",
    "Bottom Navigation", "Number Stepper", "Date Picker",
)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rico", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--rows", nargs="+", metavar="NAME", help="these rows alone")
    parser.add_argument("--seeds", type=int, default=3, help="of the rows of RICO")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    given.work.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, (data, flags) in rows(given).items():
        if given.rows is None or name in given.rows:
            found[name] = row("layout", name, data, flags, given.work)
            if not given.json:
                show(name, found[name])
    if given.json:
        print(json.dumps(found, indent=2))


def rows(given: argparse.Namespace) -> dict[str, tuple[Path | None, str]]:
    """Data and flags of each row by name."""
    screens = given.work / "rico"
    if not screens.exists():
        write_screens(given.rico / "rico.npz", screens)
    found: dict[str, tuple[Path | None, str]] = {}
    for seed in range(given.seeds):
        found[f"size seed {seed}"] = screens, f"{RICO} --given size --seed {seed}"
    for seed in range(given.seeds):
        found[f"category seed {seed}"] = screens, f"{RICO} --given nothing --seed {seed}"
    found["posters"] = None, POSTERS
    return found


def write_screens(source: Path, out: Path) -> None:
    """Write screens of two elements and more as folders of posters, 4,400 and 500 drawn by lot."""
    with np.load(source, allow_pickle=False) as held:
        arrays = dict(held)
    screens = [
        (str(arrays[f"{part}_names"][i]), arrays[f"{part}_canvas"][i].tolist(), boxes, labels)
        for part in ("val", "test")
        for i, (boxes, labels) in enumerate(
            zip(
                np.split(arrays[f"{part}_boxes"], arrays[f"{part}_start"][1:-1]),
                np.split(arrays[f"{part}_labels"], arrays[f"{part}_start"][1:-1]),
                strict=True,
            )
        )
        if len(boxes) > 1
    ]
    building = Path(tempfile.mkdtemp(dir=out.parent))
    order = np.random.default_rng(0).permutation(len(screens))[: TRAINING + HELD_OUT]
    for place, number in enumerate(order):
        name, (width, height), boxes, labels = screens[number]
        layers = [
            dict(zip("xywh", (box * [width, height, width, height]).tolist(), strict=True))
            | {"order": layer, "category": LABELS[label - 1]}
            for layer, (box, label) in enumerate(zip(boxes, labels, strict=True))
        ]
        split = "train" if place < TRAINING else "val"
        folder = building / split / Path(name).stem / "json"
        folder.mkdir(parents=True)
        about = {"canvas_size": {"width": width, "height": height}, "layers": layers}
        (folder / "screen_parse_data.json").write_text(json.dumps(about))
    building.rename(out)


def show(name: str, found: dict[str, Any]) -> None:
    """Print a row, and what it is beside."""
    print(f"{name}: {found['step']} steps, {found['train_cpu_s']:.0f} s of CPU")
    for column, figures in {"generated": found["summary"], **found["beside"]}.items():
        shown = (f"{k} {v:.3f}" for k, v in figures.items() if isinstance(v, float))
        print(f"  {column:26}{' · '.join(shown)}")


if __name__ == "__main__":
    main()
