"""Films run at their clip's own pace, whatever its frame rate."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainers.engine.film import (
    DPI,
    FILM_FPS,
    Curve,
    add_axes,
    add_text,
    film_figure,
    film_frames,
    film_writer,
)


@pytest.mark.parametrize("fps", [10.0, 20.0, 29.97, 60.0])
def test_a_second_of_a_clip_is_a_second_of_film(fps: float) -> None:
    """Frames are repeated or left out, never beyond the clip or the seconds asked for."""
    count = round(3 * fps)

    frames = list(film_frames(count, fps, seconds=10))

    assert len(frames) in {3 * FILM_FPS, 3 * FILM_FPS - 1, 3 * FILM_FPS + 1}
    assert frames == sorted(frames)
    assert 0 <= frames[0] <= frames[-1] < count
    assert len(list(film_frames(count, fps, seconds=1.5))) == 1.5 * FILM_FPS
    assert set(film_frames(1, fps, seconds=10)) == {0}


def test_a_film_with_a_curve_is_written(tmp_path: Path) -> None:
    """Of even numbers of pixels, a picture for each frame."""
    figure = film_figure(1.013, 0.777)
    add_text(figure, 0.1, 0.1, "a clip")
    curve = Curve(add_axes(figure, 0.1, 0.3, 0.8, 0.3), "error", highest=2.0)
    curve.show(np.array([0.0, 2.0, 1.0]), fps=20.0, unit="cm")
    path = tmp_path / "film.gif"
    writer = film_writer(path)
    with writer.saving(figure, str(path), dpi=DPI):
        for frame in film_frames(3, 20.0, seconds=10):
            curve.point(frame)
            writer.grab_frame()

    with Image.open(path) as film:
        assert film.n_frames == 3
        assert [size % 2 for size in film.size] == [0, 0]
