"""Built-in posters whose images decide where they go, to train on with no download (no torch).

`python -m trainers.layout.layouts.synthetic --out DIR` writes them as files.

The pictures decide how a poster is set: a wide one above the words, a tall one beside them, two
next to each other, the warm one left, or none. Sizes are drawn, and an image is an eighth of its
box. The longest text comes first. Every box is moved a few pixels, as if it was set by hand.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import whole_folder
from trainers.layout.layouts.drawn import Kind, draw
from trainers.layout.layouts.layout import Layout
from trainers.layout.layouts.posters import Poster, write_poster

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.random import Generator

    from trainers.layout.layouts.corpus import Image

POSTERS = 1000
SEED = 15
CANVASES = ((1024, 1448), (1024, 1024), (1448, 1024))
SCALE = 8  # pixels of a box for each of its image
MARGIN = 0.06
TEXT_HEIGHTS = (0.08, 0.105, 0.13, 0.155)
BY_HAND = 3  # pixels that a box is moved, up to


class Element(NamedTuple):
    """An element in shares of the canvas: which point (x, y) of its own lies where on the canvas.

    ``at`` is that point in shares of the element: (0, 0) its top left, (1, 1) its bottom right.
    """

    kind: Kind
    size: tuple[float, float]
    x: float
    y: float
    at: tuple[float, float] = (0.0, 0.0)


def names() -> list[str]:
    """Return the names of all posters, sorted."""
    return [f"poster_{number:04d}" for number in range(POSTERS)]


def open_poster(name: str) -> Poster:
    """Return a poster by name, always the same; its images are drawn when they are read."""
    number = int(name.rpartition("_")[2])
    rng = np.random.default_rng((SEED, number))
    canvas = CANVASES[rng.integers(len(CANVASES))]
    elements = TEMPLATES[rng.integers(len(TEMPLATES))](rng)
    size = SCALE * np.rint([one.size for one in elements] * (np.array(canvas) / SCALE))
    logos = [one.kind == "logo" for one in elements]
    size[logos] = size[logos].min(axis=1, keepdims=True)  # round or with equal sides
    at = np.array([one.at for one in elements])
    corner = np.rint([one[2:4] for one in elements] * np.array(canvas) - at * size)
    corner += rng.integers(-BY_HAND, BY_HAND + 1, corner.shape)
    count = len(elements)
    return Poster(
        layout=Layout(
            name=name,
            canvas=canvas,
            boxes=np.concatenate([corner, size], axis=1),
            order=np.arange(count),
            ids=tuple(f"element_{element}" for element in range(count)),
            categories=("",) * count,
        ),
        place=f"synthetic/{name}",
        pictured=(True,) * count,
        read=partial(_draw, number, [one.kind for one in elements], size // SCALE),
    )


def _draw(number: int, kinds: Sequence[Kind], size: np.ndarray, element: int) -> Image:
    rng = np.random.default_rng((SEED, number, element))
    width, height = size[element].astype(int).tolist()
    return draw(kinds[element], width, height, rng)


def _above(rng: Generator) -> list[Element]:
    """A wide picture, the title below it, and columns of text."""
    picture = (rng.uniform(0.7, 0.88), rng.uniform(0.28, 0.4))
    title = (rng.uniform(0.45, 0.8), rng.uniform(0.09, 0.14))
    return [
        Element(_picture(rng), picture, MARGIN, MARGIN),
        *_columns(rng, 0.66),
        Element("title", title, MARGIN, 0.62, (0, 1)),
        *_last_row(rng, 0.0, 1.0),
    ]


def _beside(rng: Generator) -> list[Element]:
    """A tall picture at the right; title and texts below each other at the left."""
    picture = (rng.uniform(0.36, 0.44), rng.uniform(0.5, 0.68))
    title = (rng.uniform(0.34, 0.42), rng.uniform(0.09, 0.14))
    return [
        Element(_picture(rng), picture, 1 - MARGIN, MARGIN, (1, 0)),
        *_rows(rng, (0.28, 0.46, 0.62), (0.34, 0.42), MARGIN, 0.0),
        Element("title", title, MARGIN, MARGIN),
        *_last_row(rng, 0.0, 1.0),
    ]


def _pair(rng: Generator) -> list[Element]:
    """The title above two pictures, the warm one left, and columns of text."""
    warm, cool = ((rng.uniform(0.34, 0.42), rng.uniform(0.25, 0.38)) for _ in range(2))
    title = (rng.uniform(0.45, 0.8), rng.uniform(0.09, 0.14))
    return [
        Element("warm picture", warm, MARGIN, 0.25),
        Element("cool picture", cool, 1 - MARGIN, 0.25, (1, 0)),
        *_columns(rng, 0.66),
        Element("title", title, 0.5, MARGIN, (0.5, 0)),
        *_last_row(rng, 1.0, 0.0),
    ]


def _words(rng: Generator) -> list[Element]:
    """No picture: everything below each other in the middle."""
    logo, title = _logo_size(rng), (rng.uniform(0.45, 0.8), rng.uniform(0.09, 0.14))
    return [
        *_rows(rng, (0.42, 0.585, 0.72), (0.4, 0.7), 0.5, 0.5),
        Element("title", title, 0.5, 0.25, (0.5, 0)),
        Element("button", _button_size(rng), 0.5, 1 - MARGIN, (0.5, 1)),
        Element("logo", logo, 0.5, MARGIN, (0.5, 0)),
    ]


TEMPLATES: tuple[Callable[[Generator], list[Element]], ...] = (_above, _beside, _pair, _words)


def _picture(rng: Generator) -> Kind:
    return "warm picture" if rng.random() < 0.5 else "cool picture"


def _columns(rng: Generator, top: float) -> list[Element]:
    """One to three texts next to each other, the longest at the left."""
    heights = _text_heights(rng)
    width = {1: (0.5, 0.8), 2: (0.34, 0.42), 3: (0.22, 0.26)}[len(heights)]
    step = (1 - 2 * MARGIN + 0.05) / len(heights)
    return [
        Element("text", (rng.uniform(*width), height), MARGIN + column * step, top)
        for column, height in enumerate(heights)
    ]


def _rows(
    rng: Generator, tops: Sequence[float], width: tuple[float, float], x: float, at: float
) -> list[Element]:
    """One to three texts below each other, the longest first."""
    return [
        Element("text", (rng.uniform(*width), height), x, top, (at, 0))
        for top, height in zip(tops, _text_heights(rng), strict=False)
    ]


def _text_heights(rng: Generator) -> list[float]:
    count = rng.integers(1, 4)
    return sorted(rng.choice(TEXT_HEIGHTS, count, replace=False).tolist(), reverse=True)


def _last_row(rng: Generator, button: float, logo: float) -> list[Element]:
    """A button and a logo at the bottom: 0 is the left of the canvas, 1 its right."""
    inside = 1 - 2 * MARGIN
    return [
        Element("button", _button_size(rng), MARGIN + inside * button, 1 - MARGIN, (button, 1)),
        Element("logo", _logo_size(rng), MARGIN + inside * logo, 1 - MARGIN, (logo, 1)),
    ]


def _button_size(rng: Generator) -> tuple[float, float]:
    return rng.uniform(0.2, 0.34), rng.uniform(0.065, 0.09)


def _logo_size(rng: Generator) -> tuple[float, float]:
    side = rng.uniform(0.1, 0.14)
    return side, side


def write_posters(out: Path, count: int = POSTERS) -> int:
    """Write the first posters as folders, all or nothing; return how many.

    Raises:
        TrainerError: ``out`` holds something or cannot be written, or there are not so many.
    """
    if not 1 <= count <= POSTERS:
        raise TrainerError(f"--posters {count} must be from 1 to {POSTERS:,}")
    with whole_folder(out) as building:
        for name in names()[:count]:
            poster = open_poster(name)
            images = [poster.read(element) for element in range(len(poster.layout))]
            write_poster(building / name, poster.layout, images)
    return count


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    prog = "python -m trainers.layout.layouts.synthetic"
    parser = argparse.ArgumentParser(prog=prog, description="Write the built-in posters.")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--posters", type=int, default=POSTERS, help="the first so many")
    given = parser.parse_args(argv)
    sys.stdout.write(f"{given.out}: {write_posters(given.out, given.posters):,} posters\n")
    return 0


if __name__ == "__main__":
    run_main(main)
