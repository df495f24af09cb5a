"""All settings of layout; `python -m trainers.layout.config FLAGS` shows them without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from trainers.engine.config.config import main, setting
from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig, RunConfig
from trainers.engine.errors import ConfigError
from trainers.layout.guide_config import translate

CNN = "cnn"
ENCODER = "visual encoder", f"--visual-encoder {CNN}"
PRESETS = Path(__file__).parent / "presets"

Count = Annotated[int, Ge(1)]
Share = Annotated[float, Ge(0), Lt(1)]
Weight = Annotated[float, Ge(0)]
Task = Literal["nothing", "size", "position", "layer"]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """The posters to train on."""

    data: str = setting(
        "synthetic",
        "folder of posters, or synthetic",
        also=("data_path", "data_root", "poster_dir", "dataset_path"),
    )
    val_share: Annotated[float, Gt(0), Lt(1)] = setting(
        0.2, "share of the posters to validate on, chosen by name, if the folder has no splits"
    )
    max_samples: Count | None = setting(None, "use no more than this many posters of each split")
    max_elements: Annotated[int, Ge(1), Le(1000)] = setting(25, "elements of a poster at most")
    look: Literal["auto", "images", "categories", "both"] = setting(
        "auto", "what is told of an element: its image, its category; auto: all there is"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualConfig:
    """How the images of elements are seen; their features are computed once."""

    visual_encoder: str = setting(
        CNN,
        "cnn: a small network, trained on the images first; or the folder of a transformers one",
    )
    image_size: Annotated[int, Ge(16), Le(1024)] = setting(
        48, "cnn: pixels of a side to which images are scaled", also=("img_size",)
    )
    visual_dim: Count = setting(64, "cnn: features of an image")
    visual_iter: Annotated[int, Ge(0)] = setting(300, "cnn: steps of its own training")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """The network that removes noise from a layout."""

    width: Count = setting(256, "values of an element inside", also=("hidden_dim",))
    layers: Count = setting(6, "layers", also=("num_layers",))
    heads: Count = setting(8, "attention heads", also=("num_heads",))
    feedforward: Annotated[float, Gt(0)] = setting(4.0, "width of the feed-forward layers / width")
    dropout: Share = setting(0.1, "of every layer")
    given: tuple[Task, ...] = setting(
        ("nothing", "size"),
        "what is known beforehand of all elements of a poster: one of these, drawn",
    )

    def __post_init__(self) -> None:
        """Refuse a width that the heads cannot share."""
        if self.width % (2 * self.heads):
            raise ConfigError(
                f"model.width {self.width} must be a multiple of twice model.heads {self.heads}"
            )
        if not self.given:
            raise ConfigError(
                "model.given is empty", "give --given nothing, for nothing is known beforehand"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class DiffusionConfig:
    """The noise in training, and how it is removed."""

    prediction: Literal["x0", "v"] = setting("x0", "what the network gives: the layout, or v")
    noise_schedule: Literal["cosine", "linear"] = setting("cosine", "noise over the timesteps")
    num_train_timesteps: Annotated[int, Ge(2)] = setting(1000, "timesteps of the noise")
    sampler: Literal["ddim", "ddpm"] = setting("ddim", "how a layout is drawn")
    num_inference_steps: Count = setting(20, "steps in which a layout is drawn")

    def __post_init__(self) -> None:
        """Refuse more steps to draw in than there are timesteps."""
        self.check_steps(self.num_inference_steps, "diffusion.num_inference_steps")

    def check_steps(self, steps: int, name: str) -> None:
        """Refuse more steps than there are timesteps.

        Raises:
            ConfigError: there are.
        """
        if steps > self.num_train_timesteps:
            raise ConfigError(
                f"{name} is {steps:,}, and the noise has {self.num_train_timesteps:,} timesteps "
                "(diffusion.num_train_timesteps)"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """loss = reconstruction + the parts below, each times its weight; 0 leaves a part out.

    All but reconstruction are of the layout that is predicted, weigh less the more noise there
    is, and are 0 if it is the true one.
    """

    reconstruction: Literal["l1", "l2", "huber"] = setting("l1", "distance of what is predicted")
    loss_position: Weight = setting(0.2, "weight of squared distance and 1 - IoU of boxes")
    loss_layer: Weight = setting(0.1, "weight of squared distance and order of layers")
    loss_confidence: Weight = setting(0.1, "weight of the squared distance of confidence")
    loss_aesthetic: Weight = setting(0.05, "weight of golden ratio, even sizes and centring")
    loss_overlap: Weight = setting(0.3, "weight of overlap beyond the true layout's")
    loss_alignment: Weight = setting(0.2, "weight of distance between edges that align truly")


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A training run of layout."""

    run: RunConfig = RunConfig(exp_name="layout")
    mode: Literal["train", "predict"] = setting(
        "train", "train; predict: place the elements of posters, as the verb generate does"
    )
    dataset: DatasetConfig = DatasetConfig()
    visual: VisualConfig = VisualConfig()
    model: ModelConfig = ModelConfig()
    diffusion: DiffusionConfig = DiffusionConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig(epochs=100, batch_size=32, eval_epochs=5, monitor="loss")
    optim: OptimConfig = OptimConfig(
        lr=4e-4, schedule="cosine", warmup_iter=100, decay_norms=False, ema_decay=0.995
    )
    loader: LoaderConfig = LoaderConfig()


if __name__ == "__main__":
    main(Config, name="layout", presets=PRESETS, translate=translate)
