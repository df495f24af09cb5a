"""How good generated signs are: the same figures for any batch size and number of ranks.

Shapes: B sentences, T frames that were generated, R frames of the truth, V = 150 values.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from trainers.engine.batches import evaluation_batches, to_device
from trainers.engine.metrics import reduce_sums
from trainers.signllm.data import NO_GLOSS
from trainers.signllm.metrics.dtw import dtw
from trainers.signllm.metrics.gloss import edit_distance
from trainers.signllm.metrics.poses import length_error, motions, pose_similarity, smoothness
from trainers.signllm.model.gloss import read_glosses
from trainers.signllm.skeleton import VALUES

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainers.engine.distributed import World
    from trainers.signllm.data import SignBatch, SignData
    from trainers.signllm.losses import SignLoss
    from trainers.signllm.model.model import SignModel, Signs
    from trainers.signllm.sentences.corpus import Sentence

    Values = NDArray[np.floating[Any]]

FRAMES_PER_BATCH = 4096
ROUND_TO = 32  # frames: sentences of about one length share a batch
SUMS = (
    "sentences", "frames", "seen", "dtw", "similarity", "smoothness", "motion", "true_motion",
    "length_error", "edits", "glosses",
)  # fmt: skip
PARTS = ("reconstruction", "rl", "velocity", "bone", "length", "gloss", "counter")  # of the loss


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Means over sentences of what was generated at lengths that the model chose itself.

    dtw says little alone: a pose that stands still scores well. See it beside motion, and beside
    what a recogniser reads.
    """

    sentences: int
    frames: int  # of the truth
    dtw: float  # a sum over the 150 values: see metrics/dtw.py
    pose_similarity: float  # 0..1
    motion_smoothness: float  # 0..1
    motion: float  # as a share of the truth's: 0 stands still
    length_error: float  # as a share of the truth
    gloss_wer: float | None  # None if the model gives no glosses, or none are known

    @classmethod
    def from_sums(cls, sums: NDArray[np.float64]) -> Figures:
        """Make them from sums over sentences: see ``measure``."""
        total = dict(zip(SUMS, sums.tolist(), strict=True))
        count, seen = max(1, total["sentences"]), total["seen"]
        return cls(
            sentences=int(total["sentences"]),
            frames=int(total["frames"]),
            dtw=_ratio(total["dtw"], seen),
            pose_similarity=_ratio(total["similarity"], seen),
            motion_smoothness=total["smoothness"] / count,
            motion=_ratio(total["motion"], total["true_motion"]),
            length_error=total["length_error"] / count,
            gloss_wer=total["edits"] / total["glosses"] if total["glosses"] else None,
        )

    @property
    def dtw_per_value(self) -> float:
        """The same per value of a frame, in the unit of the poses."""
        return self.dtw / VALUES

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, for JSON."""
        return {**asdict(self), "dtw_per_value": self.dtw_per_value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """Figures of a whole split, and of each language; the parts of the loss if it was asked for."""

    loss: dict[str, float]
    overall: Figures
    languages: dict[str, Figures]

    def summary(self) -> dict[str, float]:
        """Return the scalars that training reports."""
        figures = self.overall.to_dict()
        names = (
            "dtw", "dtw_per_value", "pose_similarity", "motion_smoothness", "motion",
            "length_error", "gloss_wer",
        )  # fmt: skip
        return {**self.loss, **{n: figures[n] for n in names if figures[n] is not None}}

    def to_dict(self) -> dict[str, Any]:
        """Return everything, for JSON."""
        return {
            "loss": self.loss,
            **self.overall.to_dict(),
            "languages": {name: one.to_dict() for name, one in self.languages.items()},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """What a model made of one sentence."""

    poses: NDArray[np.float32]  # (T, V) in the units of the data
    gloss: tuple[str, ...] | None  # None if the model gives no glosses


def measure(found: Values, truth: Values) -> NDArray[np.float64]:
    """Return what a sentence adds to the sums: poses ``found`` (T, V) against ``truth`` (R, V).

    Joints that the truth did not see are NaN in it. If it saw none at all, the sentence does not
    count in what compares poses.
    """
    distance, moved = dtw(found, truth), motions(found, truth)
    seen = not math.isnan(distance)
    sums = dict.fromkeys(SUMS, 0.0) | {
        "sentences": 1.0,
        "frames": len(truth),
        "seen": float(seen),
        "dtw": distance if seen else 0.0,
        "similarity": pose_similarity(found, truth) if seen else 0.0,
        "smoothness": smoothness(found),
        "motion": moved[0],
        "true_motion": moved[1],
        "length_error": length_error(len(found), len(truth)),
    }
    return np.array([sums[name] for name in SUMS])


@torch.no_grad()
def score(
    model: SignModel,
    data: SignData,
    world: World,
    loss: SignLoss | None = None,
    keep: dict[int, Made] | None = None,
) -> Score:
    """Score a model in evaluation mode; every rank calls it and takes its share of the sentences.

    With ``loss`` also its parts, with the true lengths given. ``keep`` is filled with what this
    rank made, by the number of the sentence.
    """
    languages, sentences = data.vocabulary.languages, data.corpus.sentences
    figures = np.zeros((len(languages), len(SUMS)))
    parts = np.zeros((len(PARTS), 2))
    rounded = -(-data.frames // ROUND_TO) * ROUND_TO
    for rows in evaluation_batches(rounded, 1, world, FRAMES_PER_BATCH):
        batch = to_device(data.load(rows), world.device)
        if loss is not None:
            parts += _loss_sums(loss, model(batch), batch)
        for row, made in zip(rows.tolist(), generate(model, data, batch), strict=True):
            sums = measure(made.poses, data.corpus.poses(row))
            _add_glosses(sums, made, sentences[row])
            figures[languages.index(sentences[row].language)] += sums
            if keep is not None:
                keep[row] = made
    reduced = reduce_sums(
        {"figures": _on_device(figures, world), "parts": _on_device(parts, world)}, world
    )
    by_language = reduced["figures"].numpy()
    means = {
        name: total / count
        for name, (total, count) in zip(PARTS, reduced["parts"].tolist(), strict=True)
        if count
    }
    return Score(
        loss={"loss": loss.total(means), **means} if loss is not None else {},
        overall=Figures.from_sums(by_language.sum(axis=0)),
        languages={
            name: Figures.from_sums(sums)
            for name, sums in zip(languages, by_language, strict=True)
            if sums[0]
        },
    )


def generate(model: SignModel, data: SignData, batch: SignBatch) -> list[Made]:
    """Sign the texts of a batch at the lengths that the model predicts."""
    found = model.generate(batch.prompts)
    poses = model.denormalise(found.poses.float()).cpu().numpy()
    glosses: list[tuple[str, ...]] | list[None] = [None] * len(poses)
    if found.gloss is not None:
        glosses = read_glosses(found.gloss, data.vocabulary.glosses)
    return [
        Made(poses=pose[:frames], gloss=gloss)
        for pose, frames, gloss in zip(poses, found.frames.tolist(), glosses, strict=True)
    ]


def _loss_sums(loss: SignLoss, found: Signs, batch: SignBatch) -> NDArray[np.float64]:
    """(parts, 2) sums and counts: sentence by sentence, without the padding of the batch."""
    sums = np.zeros((len(PARTS), 2))
    glossed = (batch.gloss != NO_GLOSS).any(1).tolist()
    for row, frames in enumerate(batch.frames.tolist()):
        counts = {"velocity": frames - 1, "length": 1, "gloss": int(glossed[row])}
        for name, part in loss.parts(*_sentence(found, batch, row, frames)).items():
            count = counts.get(name, frames)
            sums[PARTS.index(name)] += (float(part) * count, count)
    return sums


def _sentence(found: Signs, batch: SignBatch, row: int, frames: int) -> tuple[Signs, SignBatch]:
    """One sentence of a batch, as a batch."""

    def cut(part: Tensor | None, count: int | None = None) -> Any:
        return None if part is None else part[row : row + 1, :count]

    return replace(
        found,
        poses=cut(found.poses, frames),
        quality=cut(found.quality, frames),
        counter=cut(found.counter, frames),
        log_frames=found.log_frames[row : row + 1],
        gloss=cut(found.gloss),
    ), replace(
        batch,
        gloss=cut(batch.gloss),
        poses=cut(batch.poses, frames),
        seen=cut(batch.seen, frames),
        frames=batch.frames[row : row + 1],
    )


def _add_glosses(sums: NDArray[np.float64], made: Made, sentence: Sentence) -> None:
    if made.gloss is not None and sentence.gloss is not None:
        sums[SUMS.index("edits")] += edit_distance(made.gloss, sentence.gloss)
        sums[SUMS.index("glosses")] += len(sentence.gloss)


def _on_device(sums: NDArray[np.float64], world: World) -> Tensor:
    return torch.from_numpy(sums).to(world.device)


def _ratio(total: float, count: float) -> float:
    return total / count if count else math.nan
