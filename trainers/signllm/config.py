"""All settings of signllm; `python -m trainers.signllm.config FLAGS` shows them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from trainers.engine.config.config import main, setting
from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig, RunConfig
from trainers.engine.errors import ConfigError
from trainers.signllm.guide_config import translate

BYTES = "bytes"
"""The text encoder that needs no folder."""
ENCODER = "text encoder", f"--text-encoder {BYTES}"
PRESETS = Path(__file__).parent / "presets"

Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """The sentences to train on."""

    data: str = setting(
        "synthetic",
        "folder of sentences, or synthetic",
        also=("data_path", "data_root", "dataset_path"),
    )
    train_split: str = setting("train", "split to train on")
    val_split: str = setting("auto", "split to validate on; auto: val or dev, the one there")
    languages: tuple[str, ...] = setting((), "use these sign languages alone; none: all there are")
    language: str = setting("unknown", "language of files that lie in no folder of a language")
    max_samples: Count | None = setting(None, "use no more than this many sentences of each split")
    max_frames: Annotated[int, Ge(2), Le(100_000)] = setting(
        500, "frames of a sentence at most; longer ones are cut, and generation ends there"
    )
    pose_fps: Annotated[float, Gt(0)] = setting(25.0, "frames a second of the poses")
    std_floor: Annotated[float, Gt(0)] = setting(
        0.1, "smallest deviation to divide a value by, as a share of the deviation of all values"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """How a text is read."""

    text_encoder: str = setting(
        BYTES,
        "bytes: UTF-8 bytes, for any language; or the folder of a transformers model",
        also=("model_name",),
    )
    max_length: Count = setting(256, "tokens of a text at most; longer ones are cut")
    text_layers: Count = setting(2, "layers of the encoder of bytes")
    text_lr_ratio: Annotated[float, Ge(0)] = setting(
        0.1, "learning rate of a transformers model as a share of lr; 0: it stays as it is"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network from text to poses."""

    mode: Literal["mlsf", "prompt2langgloss"] = setting(
        "mlsf", "mlsf: from text to poses; prompt2langgloss: from text to gloss to poses"
    )
    decoder: Literal["shared", "per-language"] = setting(
        "shared", "one decoder with a head for each language, or a whole decoder for each"
    )
    decoding: Literal["parallel", "autoregressive"] = setting(
        "parallel", "all frames at once, or each from those before it"
    )
    width: Count = setting(256, "values of a token and of a frame inside")
    heads: Count = setting(4, "attention heads")
    layers: Count = setting(4, "layers of the pose decoder", also=("num_layers",))
    feedforward: Annotated[float, Gt(0)] = setting(2.0, "width of the feed-forward layers / width")
    dropout: Share = setting(0.1, "of every layer")
    gloss_layers: Count = setting(2, "layers of the gloss generator")
    gloss_slots: Count = setting(32, "glosses of a sentence at most")
    gumbel_temperature: Annotated[float, Gt(0)] = setting(
        1.0, "of the draw of glosses in training; lower is closer to the most likely gloss"
    )
    input_noise: Weight = setting(
        0.5, "autoregressive: noise on the frames before, in deviations, while training"
    )
    input_drop: Share = setting(
        0.1, "autoregressive: chance that a frame before is left out, while training"
    )

    def __post_init__(self) -> None:
        """Refuse a width that the heads cannot share."""
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"model.width {self.width} must be a multiple of twice model.heads {self.heads}"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """loss = reconstruction + the parts below, each times its weight; 0 leaves a part out."""

    reconstruction: Literal["l1", "l2"] = setting("l1", "distance of normalised poses")
    timing_slack: Annotated[int, Ge(0)] = setting(
        0,
        "parallel: frames by which a sign may come early or late at no loss, for recordings whose "
        "tempo is not in the text",
    )
    hands: Annotated[float, Gt(0)] = setting(1.0, "weight of a hand's joint; the body's is 1")
    loss_rl: Weight = setting(0.1, "weight of the reconstruction by priority (rl)")
    rl_alpha: Weight = setting(0.1, "rl: how much more a frame of low quality weighs")
    rl_beta: Weight = setting(0.1, "rl: reward for qualities that differ from frame to frame")
    loss_velocity: Weight = setting(0.1, "weight of the distance between frame differences")
    loss_bone: Weight = setting(0.1, "weight of the distance between lengths of bones")
    loss_length: Weight = setting(0.2, "weight of the distance between logarithms of lengths")
    loss_gloss: Weight = setting(1.0, "weight of the cross-entropy of glosses")
    loss_counter: Weight = setting(1.0, "autoregressive: weight of the distance of the counter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A training run of signllm."""

    run: RunConfig = RunConfig(exp_name="signllm")
    dataset: DatasetConfig = DatasetConfig()
    text: TextConfig = TextConfig()
    model: ModelConfig = ModelConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig(epochs=50, batch_size=8, eval_epochs=1, monitor="dtw")
    optim: OptimConfig = OptimConfig(
        lr=5e-4, schedule="cosine", warmup_iter=100, decay_norms=False, ema_decay=0.995
    )
    loader: LoaderConfig = LoaderConfig()


if __name__ == "__main__":
    main(Config, name="signllm", presets=PRESETS, translate=translate)
