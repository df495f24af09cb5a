"""Score a checkpoint on a split: `python -m trainers.signllm.evaluate --checkpoint RUN [--data D]`.

Prints tables (or JSON) and writes evaluation.json into the run's folder. DTW never stands alone:
beside it stand the motion, what a recogniser reads, and what the truth, the nearest training
sentence and the mean pose get.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from trainers.engine import distributed, trained
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.verbs import run_evaluation
from trainers.signllm.evaluation_tables import show
from trainers.signllm.losses import SignLoss
from trainers.signllm.metrics.gloss import BLEU_NEEDS, bleu, word_error_rate
from trainers.signllm.metrics.nearest import nearest_sentences
from trainers.signllm.metrics.poses import fill
from trainers.signllm.metrics.read_back import ReadBack, judge_readings
from trainers.signllm.metrics.recogniser import Recogniser, train_recogniser
from trainers.signllm.metrics.recogniser_file import load_recogniser, save_recogniser
from trainers.signllm.score import Figures, Made, Score, measure, score
from trainers.signllm.sentences.reading import open_corpus
from trainers.signllm.trained import attached, load, open_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.signllm.sentences.corpus import Corpus, Sentence
    from trainers.signllm.trained import Trained

    Poses = list[NDArray[np.float32]]

GENERATED, TRUTH = "generated", "truth"
NEAREST, MEAN_POSE = "nearest training sentence", "mean pose"


@dataclass(frozen=True, slots=True, kw_only=True)
class Glosses:
    """Errors of the glosses of some sentences."""

    wer: float
    bleu: dict[str, float] | None  # None without sacrebleu

    def to_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return {"wer": self.wer, **(self.bleu or {})}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """A score, what it is beside, and what was scored."""

    checkpoint: Path
    step: int
    data: str
    split: str
    score: Score
    beside: dict[str, Figures]  # of the truth, the nearest training sentence and the mean pose
    readings: dict[str, ReadBack]  # the same, and of what was generated; empty without recogniser
    readings_by_language: dict[str, dict[str, ReadBack]]  # of what was generated, and the truth
    units: dict[str, str]  # what the recogniser reads in each language
    glosses: Glosses | None
    glosses_by_language: dict[str, Glosses]
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return what evaluation.json holds."""
        languages: dict[str, dict[str, Any]] = {
            name: one.to_dict() for name, one in self.score.languages.items()
        }
        for name, figures in languages.items():
            for kind, of_languages in self.readings_by_language.items():
                figures.setdefault("readings", {})[kind] = of_languages[name].to_dict()
            if name in self.glosses_by_language:
                figures["glosses"] = self.glosses_by_language[name].to_dict()
        return {
            "checkpoint": str(self.checkpoint),
            "step": self.step,
            "data": self.data,
            "split": self.split,
            "summary": self.score.summary(),
            **self.score.to_dict(),
            "beside": {name: one.to_dict() for name, one in self.beside.items()},
            "readings": {name: one.to_dict() for name, one in self.readings.items()},
            "units": self.units,
            "glosses": None if self.glosses is None else self.glosses.to_dict(),
            "languages": languages,
            "notes": list(self.notes),
        }


def evaluate(
    path: Path,
    data: str | None = None,
    split: str | None = None,
    *,
    no_recogniser: bool = False,
) -> Evaluation:
    """Score the checkpoint that `path` means, on its own data or on another data set.

    If the run kept a moving average of the weights, that is what is scored.

    Raises:
        TrainerError: checkpoint or data cannot be used, or do not fit each other; or this is one
            of several ranks.
    """
    found = load(path)
    opened = open_for(found, data, split)
    corpus = opened.corpus
    made: dict[int, Made] = {}
    with distributed.world() as world:
        if not world.is_alone:
            raise TrainerError("an evaluation has one rank", "start it without torchrun")
        model = found.model.to(world.device)
        loss = SignLoss(found.config.loss, model.mean, model.std).to(world.device)
        scored = score(model, opened, world, loss, made)
    notes: list[str] = []
    training = _training_sentences(found, notes)
    poses = _beside(found, corpus, training)
    beside = {name: _figures(of_it, corpus) for name, of_it in poses.items()}
    poses[GENERATED] = [made[row].poses for row in range(len(corpus))]
    recogniser = None if no_recogniser else _recogniser(found, training)
    readings, by_language = _read(recogniser, poses, corpus)
    glosses, gloss_by_language = _gloss_errors(made, corpus.sentences, notes)
    return Evaluation(
        checkpoint=found.path,
        step=found.step,
        data=corpus.source,
        split=corpus.split,
        score=scored,
        beside=beside,
        readings=readings,
        readings_by_language=by_language,
        units={} if recogniser is None else recogniser.units,
        glosses=glosses,
        glosses_by_language=gloss_by_language,
        notes=tuple(notes),
    )


def _training_sentences(found: Trained, notes: list[str]) -> Corpus | None:
    """The sentences that the run was trained on; None, and a note, if they are not at hand."""
    try:
        return open_corpus(found.config.dataset, "train")
    except TrainerError as error:
        notes.append(
            f"the training sentences cannot be read ({error.message}): "
            "no nearest sentence, and no recogniser unless the run's folder has one"
        )
        return None


def _beside(found: Trained, corpus: Corpus, training: Corpus | None) -> dict[str, Poses]:
    """What generated sentences are compared with."""
    mean = attached(found.path).statistics.mean
    poses: dict[str, Poses] = {TRUTH: [corpus.poses(row) for row in range(len(corpus))]}
    if training is not None:
        rows = nearest_sentences(corpus.sentences, training.sentences)
        poses[NEAREST] = [fill(training.poses(row), mean) for row in rows]
    poses[MEAN_POSE] = [np.tile(mean, (frames, 1)) for frames in corpus.lengths.tolist()]
    return poses


def _figures(found: Poses, corpus: Corpus) -> Figures:
    sums = [measure(poses, corpus.poses(row)) for row, poses in enumerate(found)]
    return Figures.from_sums(np.sum(sums, axis=0))


def _recogniser(found: Trained, training: Corpus | None) -> Recogniser | None:
    """The recogniser of the run's training sentences: the one in its folder, or a new one."""
    folder = trained.run_folder(found.path)
    if training is None:
        known = trained.read_json(found.path, "data.json")
        return load_recogniser(folder, str(known["train"]["digest"]))
    digest = str(training.describe()["digest"])
    kept = load_recogniser(folder, digest)
    if kept is not None:
        return kept
    print(f"training a recogniser on {len(training):,} sentences", file=sys.stderr)
    statistics = attached(found.path).statistics
    recogniser = train_recogniser(training, statistics, found.config.run.seed)
    save_recogniser(recogniser, folder, digest)
    return recogniser


def _read(
    recogniser: Recogniser | None, poses: dict[str, Poses], corpus: Corpus
) -> tuple[dict[str, ReadBack], dict[str, dict[str, ReadBack]]]:
    if recogniser is None:
        return {}, {}
    read = {name: recogniser.read(of_it) for name, of_it in poses.items()}
    sentences = corpus.sentences
    judge = {
        name: partial(judge_readings, one, read[TRUTH], sentences, recogniser.units)
        for name, one in read.items()
    }
    rows = {
        language: [row for row, one in enumerate(sentences) if one.language == language]
        for language in corpus.languages
    }
    return {name: of_all() for name, of_all in judge.items()}, {
        name: {language: judge[name](own) for language, own in rows.items()}
        for name in (GENERATED, TRUTH)
    }


def _gloss_errors(
    made: dict[int, Made], sentences: Sequence[Sentence], notes: list[str]
) -> tuple[Glosses | None, dict[str, Glosses]]:
    pairs: dict[str, list[tuple[tuple[str, ...], tuple[str, ...]]]] = {}
    for row, one in enumerate(sentences):
        gloss = made[row].gloss
        if gloss is not None and one.gloss is not None:
            pairs.setdefault(one.language, []).append((gloss, one.gloss))
    if not pairs:
        return None, {}

    def errors(own: list[tuple[tuple[str, ...], tuple[str, ...]]]) -> Glosses:
        found, truth = zip(*own, strict=True)
        return Glosses(wer=word_error_rate(found, truth), bleu=bleu(found, truth))

    overall = errors([pair for own in pairs.values() for pair in own])
    if overall.bleu is None:
        notes.append(BLEU_NEEDS)
    return overall, {language: errors(own) for language, own in sorted(pairs.items())}


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    return run_evaluation(
        argv,
        trainer="signllm",
        evaluate=evaluate,
        tables=show,
        switches={"--no-recogniser": "leave out what needs a recogniser to be trained (< 1 min)"},
    )


if __name__ == "__main__":
    run_main(main)
