"""Pictures of the elements of the built-in posters, drawn small: each kind has a look of its own.

A picture is (height, width, 4): red, green, blue, opacity. Colours and details are drawn by chance,
so that a kind is known by what it looks like, not by a colour.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.random import Generator

    from trainers.layout.layouts.corpus import Image

    Colour = tuple[int, int, int]
    Draw = Callable[[ImageDraw.ImageDraw, int, int, Generator], None]

Kind = Literal["title", "text", "warm picture", "cool picture", "logo", "button"]
WARM, COOL = (0.98, 0.14), (0.45, 0.68)  # hues from ... to ..., as shares of the circle


def draw(kind: Kind, width: int, height: int, rng: Generator) -> Image:
    """Return a picture of an element of this kind."""
    image = Pillow.new("RGBA", (width, height), (255, 255, 255, 0))
    DRAW[kind](ImageDraw.Draw(image), width, height, rng)
    return np.asarray(image)


def _title(brush: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
    """A few heavy dark words."""
    ink = _colour(rng.random(), 0.6, 0.25)
    left = 0
    while left < width:
        word = int(rng.integers(max(2, height), 3 * height + 1))
        right = min(width, left + word) - 1
        brush.rectangle((left, height // 8, right, height - 1 - height // 8), ink)
        left += word + max(2, height // 4)
    for x in range(height // 3, width, max(3, height // 2)):  # gaps between letters
        brush.line((x, 0, x, height), (255, 255, 255, 0))


def _text(brush: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
    """Thin grey lines, the last one short."""
    grey = int(rng.integers(70, 130))
    for y in range(0, height, 3):
        share = rng.uniform(0.8, 1) if y + 3 < height else rng.uniform(0.3, 0.7)
        brush.line((0, y, int(share * (width - 1)), y), (grey, grey, grey))


def _picture(hues: tuple[float, float]) -> Draw:
    def paint(brush: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
        """A sky, a sun and hills."""
        low, high = hues
        hue = (low + rng.random() * ((high - low) % 1)) % 1
        horizon = int(height * rng.uniform(0.45, 0.65))
        for y in range(height):
            brush.line((0, y, width, y), _colour(hue, 0.3 + 0.4 * y / height, 0.95))
        size = max(3, int(min(width, height) * rng.uniform(0.15, 0.25)))
        x, y = int(rng.integers(0, width - size + 1)), int(rng.integers(0, horizon))
        brush.ellipse((x, y, x + size, y + size), _colour(hue, 0.15, 1.0))
        for shade in (0.6, 0.4):
            ends = rng.uniform(-0.1, 0.25, 3) * height + horizon
            hill = [(0, height), *zip((0, width / 2, width), ends.tolist(), strict=True)]
            brush.polygon([*hill, (width, height)], _colour(hue, 0.8, shade))
            horizon += height // 5

    return paint


def _logo(brush: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
    """A sign of one bright colour with a hole, on nothing."""
    ink = _colour(rng.random(), 0.9, 0.9)
    box = (0, 0, width - 1, height - 1)
    hole = (width // 3, height // 3, width - 1 - width // 3, height - 1 - height // 3)
    corners = int(rng.integers(3, 7))
    if corners > 5:  # one in four is round
        brush.ellipse(box, ink)
    else:
        circle = ((width / 2, height / 2), min(width, height) / 2)
        brush.regular_polygon(circle, corners, fill=ink)
    brush.ellipse(hole, (255, 255, 255, 0))


def _button(brush: ImageDraw.ImageDraw, width: int, height: int, rng: Generator) -> None:
    """A bright field with round corners, and a light word in its middle."""
    box = (0, 0, width - 1, height - 1)
    brush.rounded_rectangle(box, height // 3, _colour(rng.random(), 0.8, 0.75))
    half = int(width * rng.uniform(0.15, 0.3))
    middle = height // 2
    word = (width // 2 - half, middle - height // 10, width // 2 + half, middle + height // 10)
    brush.rectangle(word, (250, 250, 250))


DRAW: dict[Kind, Draw] = {
    "title": _title,
    "text": _text,
    "warm picture": _picture(WARM),
    "cool picture": _picture(COOL),
    "logo": _logo,
    "button": _button,
}


def _colour(hue: float, saturation: float, value: float) -> Colour:
    """A colour of hue, saturation and value in 0..1, as red, green and blue."""
    red, green, blue = (round(255 * part) for part in hsv_to_rgb(hue, saturation, value))
    return red, green, blue
