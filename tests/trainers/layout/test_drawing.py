"""Pictures of posters, whatever their files say."""

import numpy as np
from PIL import Image

from trainers.layout.drawing import LONGEST, Scene, compose, sheet


def scene(canvas=(40, 60), title="a poster", category="text", **changes):
    """One element in the middle of a canvas."""
    box = np.array([[canvas[0] // 4, canvas[1] // 4, canvas[0] // 2, canvas[1] // 2]])
    return Scene(
        title=title, canvas=canvas, boxes=box, order=np.array([0]), categories=[category], **changes
    )


def test_a_canvas_of_any_size_fits_into_memory():
    """One that is a line high would be millions of pixels wide on a sheet."""
    for canvas in ((100_000, 1), (1, 100_000), (100_000, 100_000)):
        for height in (None, 360):
            assert max(compose(scene(canvas), height).size) <= LONGEST
    assert max(sheet([[scene((100_000, 1))]]).size) < 2 * LONGEST


def test_names_of_any_letters():
    """Not UTF-8, with line breaks or what a terminal acts upon."""
    for words in ("bad\udcff", "two\nlines", "\x1b[2J", ""):
        sheet([[scene((400, 600), title=words, category=words)]])
    lines = sheet([[scene(title="a\nb\nc")]]), sheet([[scene(title="a?b?c")]])
    assert np.array_equal(*map(np.asarray, lines))


def test_images_are_read_when_they_are_drawn():
    """Those of many posters would not fit into memory together."""
    red = np.full((4, 4, 4), (255, 0, 0, 255), np.uint8)
    read = []
    made = scene(read_images=lambda: read.append(1) or [red])
    assert not read
    drawn = compose(made)
    assert len(read) == 1
    assert drawn.getpixel((20, 30)) == (255, 0, 0)
    assert isinstance(drawn, Image.Image)
