"""All settings of rvq. Torch-free: `python -m trainers.rvq.config FLAGS` answers at once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Lt

from trainers.engine.config.config import main, setting
from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig, RunConfig
from trainers.engine.errors import ConfigError

PRESETS = Path(__file__).parent / "presets"
# More is a typing error; with these, and a clip of less than a year, 32 bits hold every number.
MOST_FRAMES = 1 << 20
MOST_RATIO = 1000

Count = Annotated[int, Ge(1)]
Frames = Annotated[int, Ge(1), Le(MOST_FRAMES)]
Share = Annotated[float, Ge(0), Lt(1)]
Chance = Annotated[float, Ge(0), Le(1)]
Weight = Annotated[float, Ge(0)]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetConfig:
    """The data to train on, how it is cut and how it is augmented."""

    data: str = setting(
        "synthetic", "folder of a motion data set, or synthetic", also=("data_path",)
    )
    val_split: Literal["auto", "val", "dev"] = setting(
        "auto", "split to validate on; auto: the one there"
    )
    rotation: Literal["auto", "axis_angle", "6d"] = setting(
        "auto", "rotations as the network sees them; auto: 6d if there is a skeleton"
    )
    window_size: Frames = setting(64, "frames of a window at ratio 1")
    window_stride: Frames = setting(20, "frames between the starts of two windows at ratio 1")
    multi_length_training: tuple[Annotated[float, Gt(0), Le(MOST_RATIO)], ...] = setting(
        (1.0,),
        "ratios of window_size (and window_stride) to cut windows at",
        also=("multi_length",),
    )
    max_samples: Count | None = setting(None, "use no more than this many clips of each split")
    pose_fps: Annotated[float, Gt(0)] | None = setting(
        None, "frames a second of the clips; none: what skeleton.json says, else 30"
    )
    use_cache: bool = setting(True, "take windows from the caches that are given")
    cache_train: Path | None = setting(None, "window cache of the training split")
    cache_val: Path | None = setting(None, "window cache of the validation split")
    rebuild_cache: bool = setting(False, "build a cache again if it does not fit, or is missing")
    accept_cache: bool = setting(False, "train on the windows of a cache that does not fit")
    frames_per_batch: Count | None = setting(
        None, "frames of a batch: windows that are longer come in smaller batches"
    )
    preload: Literal["auto", "yes", "no"] = setting(
        "auto", "hold all clips in memory; auto: up to 2 GiB", switch=("yes", "no")
    )
    statistics: Path | None = setting(
        None, "mean and deviation to normalise by: .json, or the .npy of the mean; none: of train"
    )
    std_floor: Annotated[float, Gt(0)] = setting(
        0.01, "smallest deviation to divide features by when normalising"
    )
    mirror: bool = setting(False, "swap left and right in half of the windows (6d, skeleton)")
    turn: bool = setting(False, "turn each window by a random heading (6d, skeleton)")
    blend: Chance = setting(
        0.0, "chance that a window is blended, limb by limb, with another one (6d, skeleton)"
    )

    def __post_init__(self) -> None:
        """Refuse two decisions about one cache."""
        if self.rebuild_cache and self.accept_cache:
            raise ConfigError("give only one of --rebuild-cache and --accept-cache")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelConfig:
    """Sizes of the encoder and decoder."""

    width: Count = setting(512, "channels of the convolutions")
    depth: Count = setting(3, "residual blocks at each time scale")
    down_t: Count = setting(2, "halvings of the frame rate")
    code_dim: Count = setting(128, "values of a code")
    dilation_growth_rate: Count = setting(3, "dilation from block to block")
    activation: Literal["relu", "silu", "gelu"] = setting("relu", "of the residual blocks")
    dropout: Share = setting(0.2, "of each residual block")


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizerConfig:
    """The residual codebooks."""

    nb_code: Count = setting(1024, "codes of a codebook")
    num_quantizers: Count = setting(6, "codebooks in sequence")
    shared_codebook: bool = setting(False, "one codebook for all quantizers")
    mu: Share = setting(0.99, "decay of the codebooks' moving averages")
    quantize_dropout_prob: Chance = setting(
        0.2, "chance that a step trains only the first 1..num_quantizers codebooks"
    )
    sample_temperature: Weight = setting(
        0.0, "0: the nearest code; else training draws codes, the more freely the higher"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class LossConfig:
    """loss = recons_loss + commit * commitment + loss_vel * velocity + loss_joints * joints."""

    recons_loss: Literal["l1_smooth", "l1", "l2"] = setting("l1_smooth", "distance of features")
    commit: Weight = setting(0.02, "weight of the distance between latents and codes")
    loss_vel: Weight = setting(0.5, "weight of the distance between frame differences")
    loss_joints: Weight = setting(
        0.0, "weight of the distance between joints placed by forward kinematics (skeleton)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """A training run of rvq."""

    run: RunConfig = RunConfig(exp_name="rvq")
    dataset: DatasetConfig = DatasetConfig()
    model: ModelConfig = ModelConfig()
    quantizer: QuantizerConfig = QuantizerConfig()
    loss: LossConfig = LossConfig()
    loop: LoopConfig = LoopConfig(total_iter=10_000, batch_size=256)
    optim: OptimConfig = OptimConfig(lr_scheduler=(5_000, 8_000), gamma=0.1)
    loader: LoaderConfig = LoaderConfig()

    def __post_init__(self) -> None:
        """Refuse settings that need a fixed number of windows per step if it varies."""
        fixed = {"loop.global_batch": self.loop.global_batch, "optim.scale_lr": self.optim.scale_lr}
        for name, is_set in fixed.items():
            if is_set and self.dataset.frames_per_batch is not None:
                raise ConfigError(
                    f"{name} counts windows, and dataset.frames_per_batch makes their number "
                    "differ from step to step: give only one of them"
                )


if __name__ == "__main__":
    main(Config, name="rvq", presets=PRESETS)
