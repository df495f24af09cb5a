"""What the model makes of some sentences beside what the signer did, drawn while it trains."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from trainers.engine.files import whole_file
from trainers.signllm.signed import sign

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from trainers.signllm.data import SignData
    from trainers.signllm.drawing import Scene
    from trainers.signllm.model.model import SignModel

log = logging.getLogger("trainers")
DRAWN = 2


def draw_samples(model: SignModel, data: SignData, path: Path) -> None:
    """Write a film of two sentences of ``data``: the generated poses beside the real ones.

    Raises:
        TrainerError: it cannot be written, or a sentence cannot be read.
    """
    from trainers.signllm import drawing  # noqa: PLC0415 - matplotlib is slow to load

    count = len(data.corpus)
    rows = sorted({number * count // DRAWN for number in range(DRAWN)})
    with whole_file(path) as unfinished:
        drawing.film(scenes_beside(model, data, rows), unfinished)
    log.info("generated beside real: %s", path)


def scenes_beside(model: SignModel, data: SignData, rows: Sequence[int]) -> list[Scene]:
    """Return sentences by number: the generated poses beside the real ones.

    Raises:
        TrainerError: a sentence cannot be read.
    """
    from trainers.signllm.drawing import Panel, Scene  # noqa: PLC0415 - matplotlib is slow to load

    sentences = [data.corpus.sentences[row] for row in rows]
    generated = sign(
        model,
        [(one.text, one.language) for one in sentences],
        vocabulary=data.vocabulary,
        tokenize=data.tokenize,
        fps=data.corpus.fps,
    )
    return [
        Scene(
            title=one.text,
            subtitle=one.about,
            fps=one.fps,
            panels=(
                Panel(title="generated", poses=one.poses),
                Panel(title="real", poses=data.corpus.poses(row)),
            ),
        )
        for one, row in zip(generated, rows, strict=True)
    ]
