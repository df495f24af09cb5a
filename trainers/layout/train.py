"""Train a layout diffusion: `python -m trainers.layout.train FLAGS`, alone or under torchrun."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, cast

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import resolve
from trainers.engine.errors import ConfigError, run_main
from trainers.engine.loop import fit
from trainers.engine.prepare import prepare, session
from trainers.layout.config import PRESETS, Config
from trainers.layout.data import LayoutData
from trainers.layout.diffusion import Diffusion
from trainers.layout.features import corpus_features, learn_to_see
from trainers.layout.generate import predict
from trainers.layout.guide_config import translate
from trainers.layout.layouts.reading import open_corpus
from trainers.layout.layouts.vocabulary import Vocabulary, vocabulary_of
from trainers.layout.losses import LayoutLoss
from trainers.layout.model.model import LayoutModel
from trainers.layout.samples import draw_samples
from trainers.layout.score import score

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.layout.layouts.corpus import Corpus

log = logging.getLogger("trainers")


def train(config: Config) -> int:
    """Train, and return the exit code."""
    with session(config, "layout") as (world, outputs):
        diffusion = Diffusion(config.diffusion)
        training = open_corpus(config.dataset, "train")
        validation = open_corpus(config.dataset, "val")
        vocabulary = vocabulary_of(training, config.dataset.look)
        outputs.attach("vocabulary.json", vocabulary.to_dict())
        about = {"train": training.describe(), "val": validation.describe()}
        outputs.attach_data(about, counted="posters", units="elements")

        model = LayoutModel(config, vocabulary).to(world.device)
        learn_to_see(model, training, config, outputs, world)

        def data_of(corpus: Corpus) -> LayoutData:
            features = None
            if model.visual is not None:
                features = corpus_features(model.visual, corpus, config, outputs, world)
            return LayoutData(corpus, config, vocabulary.categories, features)

        train_data, val_data = data_of(training), data_of(validation)
        loss = LayoutLoss(config.loss, diffusion)
        state, batches = prepare(
            model,
            config,
            world,
            lengths=train_data.bucket(config.loop.samples_per_step(world.world_size)),
            load=train_data.load,
        )
        log.info("%s", _describe(training, model, vocabulary))
        checkpoint.resume(state, config.run.resume, outputs, world)

        def evaluate(_step: int) -> dict[str, float]:
            judged = cast("LayoutModel", state.judged)
            figures: dict[str, float] = score(judged, val_data, diffusion, world, loss).summary()
            return figures

        def sample(step: int) -> None:
            judged = cast("LayoutModel", state.judged)
            draw_samples(judged, val_data, diffusion, outputs.samples / f"sample_step_{step}.png")

        return fit(
            state,
            batches,
            loss.step,
            config=config.loop,
            grad_clip=config.optim.grad_clip,
            world=world,
            outputs=outputs,
            evaluate=evaluate,
            sample=sample,
        ).exit_code


def _describe(training: Corpus, model: LayoutModel, vocabulary: Vocabulary) -> str:
    known = [f"{len(vocabulary.categories)} categories"] if vocabulary.categories else []
    known += ["images"] if vocabulary.pictured else []
    parameters = sum(p.numel() for p in model.parameters() if p.requires_grad)
    return (
        f"{training.source}: {len(training):,} posters, {int(training.lengths.sum()):,} elements, "
        f"known by {' and '.join(known)}; model of {parameters / 1e6:.2f} M"
    )


def _mode(argv: Sequence[str]) -> str:
    """Return the last --mode of a command line; train without one."""
    words = [word for flag in argv for word in flag.split("=", 1)]
    places = [place for place, word in enumerate(words[:-1]) if word == "--mode"]
    return words[places[-1] + 1] if places else "train"


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    if _mode(argv) == "predict":
        return predict(argv)
    config = resolve(Config, argv, name="layout", presets=PRESETS, translate=translate)
    if config.mode == "predict":
        raise ConfigError("a file cannot give mode predict", "type --mode predict")
    return train(config)


if __name__ == "__main__":
    run_main(main)
