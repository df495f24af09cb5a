"""signllm's own check: `python -m trainers.signllm.check FLAGS` tells what is on disk.

Sentences are listed and compared; poses are not read, and torch is not loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.engine.check import Finding, checkpoint, main, refused
from trainers.engine.errors import TrainerError
from trainers.engine.pretrained import pretrained_folder
from trainers.engine.samples import format_few
from trainers.signllm.config import BYTES, ENCODER, PRESETS, Config
from trainers.signllm.guide_config import translate
from trainers.signllm.sentences.compare import cut_texts, equal_sentences, equal_texts
from trainers.signllm.sentences.reading import SYNTHETIC, open_corpus

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from trainers.signllm.sentences.corpus import Corpus, Sentence

SHOWN = 5


def check(config: Config) -> list[Finding]:
    """Look at the checkpoint to go on from, the text encoder, and the sentences of both splits."""
    findings = [*checkpoint(config.run), *_text_encoder(config.text.text_encoder)]
    if config.dataset.data == SYNTHETIC:
        return findings
    try:
        training = open_corpus(config.dataset, "train")
        validation = open_corpus(config.dataset, "val")
    except TrainerError as error:
        return [*findings, refused("sentences", error)]
    return [*findings, *compare(training, validation, config)]


def _text_encoder(name: str) -> Iterator[Finding]:
    if name == BYTES:
        return
    try:
        folder = pretrained_folder(name, *ENCODER)
    except TrainerError as error:
        yield refused("text encoder", error)
    else:
        yield Finding(check="text encoder", severity="ok", summary=f"{folder} is there")


def compare(training: Corpus, validation: Corpus, config: Config) -> list[Finding]:
    """Say what the sentences of both splits mean for training and for its figures."""
    return [
        *_sentences(training, validation),
        *_languages(training, validation),
        *_gloss(training, validation, config.model.mode),
        *_texts(training, validation, config),
    ]


def _sentences(training: Corpus, validation: Corpus) -> Iterator[Finding]:
    about = f"{len(training):,} to train on, {len(validation):,} to validate on"
    twice, alike = equal_sentences(training, validation), equal_texts(training, validation)
    hint = "give --train-split and --val-split splits that share no sentence"
    if len(twice) == len(validation):
        yield Finding(
            check="sentences",
            severity="warning",
            summary=f"{about}: training and validation sentences are the same, so the figures say "
            "how well they are remembered, not what was learned",
            hint=hint,
        )
    elif twice:
        yield Finding(
            check="sentences",
            severity="warning",
            summary=f"{about}; in both splits: {_names(twice)}",
            hint=hint,
        )
    elif alike:
        summary = f"{about}; of a text that is trained on: {_names(alike)}"
        yield Finding(check="sentences", severity="ok", summary=summary)
    else:
        yield Finding(check="sentences", severity="ok", summary=about)


def _languages(training: Corpus, validation: Corpus) -> Iterator[Finding]:
    unknown = sorted(set(validation.languages) - set(training.languages))
    if unknown:
        error = TrainerError(
            f"there is nothing to train on in {', '.join(unknown)}, only sentences to validate on",
            f"--languages {' '.join(training.languages)} leaves these out",
        )
        yield refused("languages", error)


def _gloss(training: Corpus, validation: Corpus, mode: str) -> Iterator[Finding]:
    """Say whether glosses are missing in one of the splits, or where a mode wants them."""
    counts = [sum(one.gloss is not None for one in c.sentences) for c in (training, validation)]
    if mode == "prompt2langgloss" and not counts[0]:
        yield Finding(
            check="gloss",
            severity="warning",
            summary="prompt2langgloss has no gloss to learn from: no training sentence has one",
            hint="bring SPLIT.gloss or gloss.txt, or give --mode mlsf",
        )
    elif any(counts) and not all(counts):
        has, lacks = (training, validation) if counts[0] else (validation, training)
        yield Finding(
            check="gloss",
            severity="warning",
            summary=f"split {has.split} has glosses, split {lacks.split} has none",
            hint="glosses are learned and measured only in a split that has them",
        )


def _texts(training: Corpus, validation: Corpus, config: Config) -> Iterator[Finding]:
    """Say which texts are cut; how many tokens they are is known without torch for bytes alone."""
    most = config.text.max_length
    if config.text.text_encoder != BYTES:
        return
    found = [one for corpus in (training, validation) for one in cut_texts(corpus, most)]
    cut = list(dict.fromkeys(found))  # of a split that is both, once
    if cut:
        longest = max(len(one.text.encode()) for one in cut)
        yield Finding(
            check="text",
            severity="warning",
            summary=f"texts of more than {most} bytes are cut: {_names(cut)}",
            hint=f"--max-length {longest} takes them whole",
        )


def _names(sentences: Sequence[Sentence]) -> str:
    return format_few([f"{one.language}/{one.name}" for one in sentences], SHOWN)


if __name__ == "__main__":
    main(Config, check, name="signllm", presets=PRESETS, translate=translate)
