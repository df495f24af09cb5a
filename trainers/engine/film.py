"""Films and pictures by matplotlib: panels placed in inches, a curve that follows, a film's rate.

Shapes: T frames.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.animation import AbstractMovieWriter, FFMpegWriter
from matplotlib.figure import Figure
from PIL import Image

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.text import Text
    from numpy.typing import ArrayLike

FILMS = (".gif", ".mp4")
FILM_FPS = 20  # GIFs count in hundredths of a second: 5 of them
DPI = 100
PAPER, INK, PALE, GROUND, ACCENT = "#fbfaf8", "#2b2b33", "#9a9aa5", "#e6e1d8", "#3a7fc4"


def film_figure(width: float, height: float) -> Figure:
    """Return a figure of about so many inches: even numbers of pixels, as films need them."""
    size = np.array([width, height])
    return Figure(figsize=(size * DPI / 2).round() * 2 / DPI, facecolor=PAPER, dpi=DPI)


def add_axes(figure: Figure, x: float, y: float, width: float, height: float) -> Axes:
    """Add axes by inches from the left and from above."""
    whole, high = figure.get_size_inches()
    return figure.add_axes((x / whole, 1 - (y + height) / high, width / whole, height / high))


def add_text(figure: Figure, x: float, y: float, words: str, **more: Any) -> Text:
    """Add words at inches from the left and from above."""
    whole, high = figure.get_size_inches()
    return figure.text(
        x / whole, 1 - y / high, words, **{"color": INK, "parse_math": False, **more}
    )


class Curve:
    """A figure from frame to frame, and a dot at the frame that is shown."""

    def __init__(self, axes: Axes, name: str, highest: float) -> None:
        self._axes, self._name = axes, name
        self._values, self._fps, self._unit = np.zeros(1), 1.0, ""
        (self._line,) = axes.plot([], [], color=PALE, linewidth=1.2)
        (self._dot,) = axes.plot([], [], "o", color=ACCENT, markersize=5, clip_on=False)
        self._label = axes.text(
            1.0, 1.0, "", transform=axes.transAxes, ha="right", va="center", fontsize=9, color=INK
        )
        axes.set_ylim(0, 1.4 * highest or 1.0)
        axes.set_facecolor(PAPER)
        axes.set_yticks([])
        axes.tick_params(colors=PALE, labelsize=8, length=2)
        for side in ("top", "left", "right"):
            axes.spines[side].set_visible(False)
        axes.spines["bottom"].set_color(GROUND)

    def show(self, values: ArrayLike, fps: float, unit: str) -> None:
        """Draw values (T,)."""
        self._values, self._fps, self._unit = np.asarray(values), fps, unit
        seconds = np.arange(len(self._values)) / fps
        self._line.set_data(seconds, self._values)
        self._axes.set_xlim(0, max(float(seconds[-1]), 1 / fps))

    def point(self, frame: int) -> None:
        """Put the dot at a frame."""
        value, seconds = float(self._values[frame]), frame / self._fps
        self._dot.set_data([seconds], [value])
        self._label.set_text(f"{seconds:.1f} s   {self._name} {value:.1f} {self._unit}")


def film_frames(count: int, fps: float, seconds: float) -> Iterator[int]:
    """Give the frames of a clip to show, so that the film runs at the clip's own pace."""
    end = min(count / fps, seconds)
    for number in range(max(1, int(end * FILM_FPS))):
        yield min(count - 1, round(number / FILM_FPS * fps))


class _GifWriter(AbstractMovieWriter):
    """Writes a GIF with one palette: to find one for each frame takes longer than to draw it."""

    def setup(self, fig: Figure, outfile: str | Path, dpi: float | None = None) -> None:
        super().setup(fig, outfile, dpi=dpi)
        self._frames: list[Image.Image] = []

    def grab_frame(self, **more: Any) -> None:
        drawn = io.BytesIO()
        self.fig.savefig(drawn, **{**more, "format": "rgba", "dpi": self.dpi})
        frame = Image.frombuffer("RGBA", self.frame_size, drawn.getvalue(), "raw", "RGBA", 0, 1)
        self._frames.append(frame.convert("RGB"))

    def finish(self) -> None:
        few = self._frames[:: max(1, len(self._frames) // 6)]
        sheet = Image.new("RGB", (self.frame_size[0], len(few) * self.frame_size[1]))
        for place, frame in enumerate(few):
            sheet.paste(frame, (0, place * self.frame_size[1]))
        palette = sheet.quantize(256, Image.Quantize.MEDIANCUT)
        first, *others = (
            frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in self._frames
        )
        first.save(
            self.outfile, save_all=True, append_images=others, duration=1000 / self.fps, loop=0
        )


def film_writer(path: Path) -> AbstractMovieWriter:
    """Return what writes a .gif, or an .mp4.

    Raises:
        TrainerError: if there is no ffmpeg, which .mp4 needs.
    """
    if path.suffix == ".gif":
        return _GifWriter(fps=FILM_FPS)
    if not FFMpegWriter.isAvailable():
        raise TrainerError("there is no ffmpeg here, which .mp4 needs", "write a .gif instead")
    return FFMpegWriter(fps=FILM_FPS)
