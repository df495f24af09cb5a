"""Train text to sign poses: `python -m trainers.signllm.train FLAGS`, alone or under torchrun."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, cast

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import resolve
from trainers.engine.errors import TrainerError, run_main
from trainers.engine.files import dump_json, whole_file
from trainers.engine.loop import fit
from trainers.engine.prepare import prepare, session
from trainers.signllm.check import compare
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.data import SignData, Vocabulary, statistics_of
from trainers.signllm.guide_config import translate
from trainers.signllm.losses import SignLoss
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.samples import draw_samples
from trainers.signllm.score import score
from trainers.signllm.sentences.reading import open_corpus

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor, nn

    from trainers.signllm.data import SignBatch
    from trainers.signllm.sentences.corpus import Corpus

log = logging.getLogger("trainers")


def train(config: Config) -> int:
    """Train, and return the exit code."""
    with session(config, "signllm") as (world, outputs):
        training = open_corpus(config.dataset, "train")
        validation = open_corpus(config.dataset, "val")
        for finding in compare(training, validation, config):
            if finding.severity == "error":
                raise TrainerError(finding.summary, finding.hint)
            if finding.severity != "ok":
                log.warning("%s", finding.summary)
        vocabulary = Vocabulary(languages=training.languages, glosses=training.glosses)
        statistics = statistics_of(training, config.dataset.std_floor)
        outputs.attach("vocabulary.json", vocabulary.to_dict())
        outputs.attach("statistics.json", statistics.to_dict())
        about = {"train": training.describe(), "val": validation.describe()}
        outputs.attach_data(about, counted="sentences")

        tokenize = tokenizer(config.text)
        given = (config, vocabulary, statistics, tokenize)
        train_data, val_data = SignData(training, *given), SignData(validation, *given)
        model = SignModel(config, vocabulary, statistics)
        model.frames_per_token.fill_(train_data.frames_per_token())
        model = model.to(world.device)
        loss = SignLoss(config.loss, model.mean, model.std).to(world.device)
        state, batches = prepare(
            model,
            config,
            world,
            lengths=train_data.bucket(config.loop.samples_per_step(world.world_size)),
            load=train_data.load,
            factors={"text.pretrained.": config.text.text_lr_ratio},
        )
        log.info("%s", _describe(training, model))
        checkpoint.resume(state, config.run.resume, outputs, world)

        def losses(model: nn.Module, batch: SignBatch) -> dict[str, Tensor]:
            parts: dict[str, Tensor] = loss(model(batch), batch)
            return parts

        def evaluate(_step: int) -> dict[str, float]:
            judged = cast("SignModel", state.judged)
            return score(judged, val_data, world, loss).summary()

        def sample(step: int) -> None:
            judged = cast("SignModel", state.judged)
            draw_samples(judged, val_data, outputs.samples / f"sample_step_{step}.gif")

        result = fit(
            state,
            batches,
            losses,
            config=config.loop,
            grad_clip=config.optim.grad_clip,
            world=world,
            outputs=outputs,
            evaluate=evaluate,
            sample=sample,
        )
        if world.is_first and not config.run.dry_run:
            with whole_file(outputs.folder / "training_stats.json") as unfinished:
                unfinished.write_text(dump_json({"history": result.history}, indent=1))
    return result.exit_code


def _describe(training: Corpus, model: nn.Module) -> str:
    about: dict[str, Any] = training.describe()
    parameters = sum(p.numel() for p in model.parameters())
    return (
        f"{about['source']}: {about['sentences']:,} sentences, {about['frames']:,} frames, "
        f"{', '.join(about['languages'])}; model of {parameters / 1e6:.2f} M"
    )


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    return train(resolve(Config, argv, name="signllm", presets=PRESETS, translate=translate))


if __name__ == "__main__":
    run_main(main)
