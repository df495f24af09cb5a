"""Say how large a model is: `python -m trainers.rvq.describe FLAGS` or `--checkpoint RUN`.

FLAGS are those of training. Nothing is trained, no GPU is touched, no data set needs to be here.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from rich.console import Console
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from trainers.engine.config.config import resolve
from trainers.engine.errors import MALFORMED, run_main
from trainers.engine.memory.rehearsal import question
from trainers.engine.tables import in_words, quiet_table
from trainers.motion.rotations import values_per_joint
from trainers.rvq.codes import bits_per_token
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.estimate import Shapes, data_shapes, estimate, rehearsal
from trainers.rvq.model import RVQVAE
from trainers.rvq.trained import Trained, load

if TYPE_CHECKING:
    from collections.abc import Sequence

PARTS = ("encoder", "quantizer", "decoder")
TOKENS = 64  # of the clip whose arithmetic is counted
FLOAT_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model in figures."""

    about: str
    assumed: str
    joints: int
    features: int
    """Of a frame, as the network sees it."""
    fps: float
    hop: int
    """Frames of a token."""
    parameters: dict[str, int]
    """By part; those of the quantizer are its codebooks, which have no gradient."""
    flops_per_s: dict[str, float]
    """By part, for a second of motion; a multiplication and an addition are two."""
    step: str
    """The fullest batch of a training step."""
    step_flops: int
    """Forward and backward, of one pass on one rank."""
    step_bytes: dict[str, int]
    """What its tensors take on a GPU at the fullest moment, by part."""
    bits_per_token: float
    bits_per_s: float
    pose_bits_per_s: float
    """Of the poses that are coded, as float32."""

    @property
    def ratio(self) -> float:
        """How many times smaller codes are than poses."""
        return self.pose_bits_per_s / self.bits_per_s


def describe(config: Config, about: str, shapes: Shapes | None = None) -> Description:
    """Work the figures out, of the shapes that are known or of the data set's.

    Raises:
        TrainerError: the data set is here, and cannot be trained on.
    """
    asked, _ = question([])
    shapes = shapes or data_shapes(config.dataset)
    features = shapes.features(config.dataset)
    fps = shapes.fps
    needed = estimate(config, asked, shapes)
    (fullest,) = [need for need in needed["needs"] if need["size"] == needed["size"]]
    with FakeTensorMode():
        model = RVQVAE(features, config.model, config.quantizer).eval()
        clip_flops = _flops(model, TOKENS * model.hop)
        step_flops = _step_flops(config, shapes, needed["size"])
    learned = {part: _values(getattr(model, part).parameters()) for part in PARTS}
    quantizer = model.quantizer
    bits = bits_per_token(quantizer.num_quantizers, quantizer.nb_code)
    seconds = TOKENS * model.hop / fps
    return Description(
        about=about,
        assumed=shapes.assumed,
        joints=shapes.joints,
        features=features,
        fps=fps,
        hop=model.hop,
        parameters={**learned, "quantizer": quantizer.codebooks.numel()},
        flops_per_s={part: count / seconds for part, count in clip_flops.items()},
        step=needed["batch"],
        step_flops=step_flops,
        step_bytes=fullest["parts"],
        bits_per_token=bits,
        bits_per_s=bits * fps / model.hop,
        pose_bits_per_s=3.0 * FLOAT_BITS * shapes.joints * fps,
    )


def trained_on(trained: Trained) -> tuple[Config, Shapes]:
    """Settings and shapes of a model as they were, whatever has become of its data set."""
    config, shapes = trained.config, data_shapes(trained.config.dataset)
    try:
        about = json.loads((trained.folder / "data.json").read_bytes())["train"]
        rotation, fps = about["rotation"], float(about.get("fps", shapes.fps))
        joints = len(trained.model.mean) // values_per_joint(rotation)
    except (OSError, *MALFORMED):
        return config, shapes
    config = replace(config, dataset=replace(config.dataset, rotation=rotation))
    if joints == shapes.joints:
        return config, replace(shapes, fps=fps)
    # Of bones nothing is known, so their places cost nothing.
    config = replace(config, loss=replace(config.loss, loss_joints=0.0))
    assumed = f"{config.dataset.data} is not here: no skeleton, clips shorter than their window"
    return config, replace(shapes, joints=joints, skeleton=None, fps=fps, assumed=assumed)


def _values(tensors: Any) -> int:
    return sum(tensor.numel() for tensor in tensors)


@torch.no_grad()
def _flops(model: RVQVAE, frames: int) -> dict[str, int]:
    """What a clip of so many frames takes, by part."""
    with FlopCounterMode(display=False, depth=2) as counter:
        model(torch.empty(1, frames, len(model.mean)))
    counts = counter.get_flop_counts()
    return {part: sum(counts[f"RVQVAE.{part}"].values()) for part in PARTS}


def _step_flops(config: Config, shapes: Shapes, size: int) -> int:
    """What the second step takes, nothing padded: the first finds the codebooks empty."""
    spec = rehearsal(config, shapes)(size)
    spec.model.train()
    batch = replace(spec.batches[0](), mask=None)
    for number in (1, 2):
        with FlopCounterMode(display=False) as counter:
            spec.losses(spec.model, batch)["loss"].backward()
        if spec.after_step is not None:
            spec.after_step(number)
    return int(counter.get_total_flops())


def show(found: Description, console: Console) -> None:
    """Print the figures as tables and sentences."""

    def say(sentence: str, style: str = "") -> None:
        console.print(sentence, style=style, markup=False, highlight=False, soft_wrap=True)

    say(
        f"{found.about}: {found.joints} joints in {found.features} features a frame, "
        f"{found.hop} frames a token"
    )
    if found.assumed:
        say(f"assumed: {found.assumed}", style="yellow")
    parts = quiet_table("", "parameters", "GFLOP for a second of motion")
    names = {**dict(zip(PARTS, PARTS, strict=True)), "quantizer": "codebooks"}
    for part in PARTS:
        flops = found.flops_per_s[part] / 1e9
        parts.add_row(names[part], f"{found.parameters[part] / 1e6:.2f} M", f"{flops:.3f}")
    parts.add_row(
        "all",
        f"{sum(found.parameters.values()) / 1e6:.2f} M",
        f"{sum(found.flops_per_s.values()) / 1e9:.3f}",
        style="bold",
    )
    console.print(parts)
    taken = ", ".join(
        f"{part} {in_words(size)}" for part, size in found.step_bytes.items() if size >> 20
    )
    flops = found.step_flops / 1e9
    work = f"{flops / 1e3:.2f} TFLOP" if flops >= 1e3 else f"{flops:.2f} GFLOP"
    say(
        f"\na pass of {found.step}: {work} forward and back, "
        f"{in_words(sum(found.step_bytes.values()))} of tensors on a GPU ({taken})"
    )
    say(
        f"codes: {found.bits_per_token:g} bits a token, {found.fps / found.hop:g} tokens a second: "
        f"{found.bits_per_s:,.0f} bits a second, {found.ratio:.0f} times less than poses as "
        "float32"
    )


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--checkpoint", type=Path)
    parser.add_argument("--json", action="store_true")
    given, flags = parser.parse_known_args(argv)
    if given.checkpoint is None:
        shapes = None
        config = resolve(Config, flags, name="rvq", presets=PRESETS)
        about = f"rvq, {config.run.exp_name}"
    else:
        trained = load(given.checkpoint)
        about = f"{trained.path} (step {trained.step})"
        config, shapes = trained_on(trained)
        if flags:
            parser.error(f"a checkpoint has settings of its own: {' '.join(flags)}")
    found = describe(config, about, shapes)
    if given.json:
        sys.stdout.write(json.dumps({**asdict(found), "ratio": found.ratio}) + "\n")
    else:
        show(found, Console())
    return 0


if __name__ == "__main__":
    run_main(main)
