"""Where the model puts the elements of some posters, beside where they are, while it trains."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from trainers.engine.files import whole_file
from trainers.layout.drawing import Scene, sheet
from trainers.layout.layouts.layout import from_state
from trainers.layout.score import draw

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainers.layout.data import LayoutData
    from trainers.layout.diffusion import Diffusion
    from trainers.layout.layouts.layout import Layout, Placed
    from trainers.layout.model.model import LayoutModel

log = logging.getLogger("trainers")
DRAWN = 4


def draw_samples(model: LayoutModel, data: LayoutData, diffusion: Diffusion, path: Path) -> None:
    """Write a picture of four posters of ``data``: placed by the model, beside the real ones.

    Raises:
        TrainerError: it cannot be written, or an image cannot be read.
    """
    count = len(data.corpus)
    rows = np.unique(np.linspace(0, count - 1, min(DRAWN, count)).astype(int)).tolist()
    drawn = sheet(scenes_beside(model, data, diffusion, rows))
    with whole_file(path) as unfinished:
        drawn.save(unfinished, format="PNG")
    log.info("placed beside real: %s", path)


def scenes_beside(
    model: LayoutModel, data: LayoutData, diffusion: Diffusion, rows: Sequence[int]
) -> list[list[Scene]]:
    """Return posters by number: as the model places them, beside what they are."""
    states = draw(model, data, np.array(rows), data.config.model.given[0], diffusion)
    found = []
    for row, state in zip(rows, states, strict=True):
        layout = data.corpus.layouts[row]
        placed = from_state(state, layout.canvas)
        title = f"{layout.name}: placed"
        found.append([scene(title, data, row, placed), scene("real", data, row, layout)])
    return found


def scene(title: str, data: LayoutData, row: int, placed: Layout | Placed) -> Scene:
    """Return a poster of ``data`` by number, with its elements where ``placed`` has them."""
    layout = data.corpus.layouts[row]
    return Scene(
        title=title,
        canvas=layout.canvas,
        boxes=placed.boxes.astype(np.int64),
        order=placed.order,
        categories=layout.categories,
        read_images=partial(data.corpus.images, row) if data.corpus.pictured else None,
    )
