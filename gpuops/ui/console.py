"""The one console that gpuops draws on."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from gpuops.text import visible


class TextConsole(Console):
    """A console that shows text as text: colours and cursor movements are rich's own.

    Whatever a file, a driver or a process is called, its name does not control the terminal.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """What a renderable looks like, piece by piece."""
        for piece in super().render(renderable, options):
            yield piece if piece.control else piece._replace(text=visible(piece.text))
