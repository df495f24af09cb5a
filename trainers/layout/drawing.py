"""Pictures of laid-out posters, and sheets of several beside one another (PIL, no torch)."""

from __future__ import annotations

import zlib
from colorsys import hsv_to_rgb
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image as Pillow
from PIL import ImageDraw, ImageFont

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainers.layout.layouts.corpus import Image

HEIGHT = 360  # pixels of a poster on a sheet
LONGEST = 4800  # pixels of a picture's side, whatever a file says of its canvas
GAP, TITLE = 16, 22
PAPER, GROUND, INK, EDGE = "white", (238, 238, 235), (60, 60, 60), (200, 200, 196)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """A poster to draw: boxes (N, 4) in pixels of its canvas, and layers (N,) from the back."""

    title: str
    canvas: tuple[int, int]
    boxes: NDArray[np.int64]
    order: NDArray[np.int64]
    categories: Sequence[str]
    read_images: Callable[[], Sequence[Image]] | None = None  # when it is drawn, and no longer


def compose(scene: Scene, height: int | None = None) -> Pillow.Image:
    """Draw a poster with its elements in place; without images, fields with the category's name.

    ``height`` in pixels; default: that of its canvas. No side is longer than ``LONGEST``.
    """
    scale = 1.0 if height is None else height / scene.canvas[1]
    scale = min(scale, LONGEST / max(scene.canvas))
    images = None if scene.read_images is None else scene.read_images()
    size = tuple(max(1, round(side * scale)) for side in scene.canvas)
    page = Pillow.new("RGBA", (size[0], size[1]), PAPER)
    for element in np.argsort(scene.order, kind="stable"):
        left, top, width, tall = (round(float(v) * scale) for v in scene.boxes[element])
        area = max(1, width), max(1, tall)
        if images is None:
            picture = _field(scene.categories[element], area)
        else:
            picture = Pillow.fromarray(images[element]).resize(area)
        page.alpha_composite(picture, (left, top))
    return page.convert("RGB")


def sheet(rows: Sequence[Sequence[Scene]], height: int = HEIGHT) -> Pillow.Image:
    """Draw posters beside one another, row by row, each with its title."""
    drawn = [[(scene.title, compose(scene, height)) for scene in row] for row in rows]
    columns = max(len(row) for row in drawn)
    wide = [max(row[i][1].width for row in drawn if i < len(row)) for i in range(columns)]
    whole = (sum(wide) + GAP * (columns + 1), (height + TITLE + GAP) * len(drawn) + GAP)
    page = Pillow.new("RGB", whole, GROUND)
    brush = ImageDraw.Draw(page)
    for number, row in enumerate(drawn):
        x, y = GAP, GAP + number * (height + TITLE + GAP)
        for (title, picture), width in zip(row, wide, strict=False):
            brush.text((x, y), _shorten(title, width), INK, font=ImageFont.load_default(13))
            page.paste(picture, (x, y + TITLE))
            box = (x - 1, y + TITLE - 1, x + picture.width, y + TITLE + picture.height)
            brush.rectangle(box, outline=EDGE)
            x += width + GAP
    return page


def _field(category: str, area: tuple[int, int]) -> Pillow.Image:
    """A see-through field in the category's colour, with its name if there is room."""
    hue = zlib.crc32(category.encode(errors="backslashreplace")) % 360 / 360
    red, green, blue = (round(255 * part) for part in hsv_to_rgb(hue, 0.45, 0.9))
    field = Pillow.new("RGBA", area, (red, green, blue, 150))
    brush = ImageDraw.Draw(field)
    edge = (red * 2 // 3, green * 2 // 3, blue * 2 // 3, 255)
    brush.rectangle((0, 0, area[0] - 1, area[1] - 1), outline=edge)
    if area[1] >= 11:
        brush.text((3, 0), _shorten(category, area[0] - 4), (*INK, 255), ImageFont.load_default(9))
    return field


def _shorten(words: str, width: int) -> str:
    """Cut words of any origin to about so many pixels, on one line."""
    words = "".join(letter if letter.isprintable() else "?" for letter in words)
    most = max(0, width // 6)
    return words if len(words) <= most else words[: max(0, most - 1)] + "…" * (most > 1)
