"""Describe how large a model is: `python -m trainers.rvq.describe FLAGS` or `--checkpoint RUN`.

FLAGS are those of training. Nothing is trained, no GPU is touched, no data set needs to be here.
"""

from __future__ import annotations

import argparse
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from trainers.engine.config.config import resolve
from trainers.engine.describe import (
    count_parameters,
    describe_step,
    forward_flops,
    parts_table,
    step_flops,
)
from trainers.engine.errors import MALFORMED, TrainerError, run_main
from trainers.engine.memory.rehearsal import Question
from trainers.engine.trained import read_json
from trainers.engine.verbs import print_result
from trainers.motion.rotations import values_per_joint
from trainers.rvq.codes import bits_per_token
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.estimate import Shapes, data_shapes, estimate, rehearsal
from trainers.rvq.model import RVQVAE
from trainers.rvq.trained import Trained, load

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

PARTS = {"encoder": "encoder", "quantizer": "codebooks", "decoder": "decoder"}  # as they are shown
TOKENS = 64  # of the clip whose arithmetic is counted
FLOAT_BITS = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """A model in figures."""

    about: str
    assumed: str
    joints: int
    features: int  # of a frame, as the network sees it
    fps: float
    hop: int  # frames of a token
    parameters: dict[str, int]
    """By part; those of the quantizer are its codebooks, which have no gradient."""
    flops_per_s: dict[str, float]
    """By part, for a second of motion; a multiplication and an addition are two."""
    step: str  # the fullest batch of a training step
    step_flops: int  # forward and backward, of one pass on one rank
    step_bytes: dict[str, int]  # what its tensors take on a GPU at the fullest moment, by part
    bits_per_token: float
    bits_per_s: float
    pose_bits_per_s: float  # of the poses that are coded, as float32
    ratio: float  # how many times smaller codes are than poses


def describe(config: Config, about: str, shapes: Shapes | None = None) -> Description:
    """Compute the figures, for `shapes` or for those of the data set.

    Raises:
        TrainerError: the data set is here, and cannot be trained on.
    """
    shapes = shapes or data_shapes(config.dataset)
    features, fps = shapes.features(config.dataset), shapes.fps
    needed = estimate(config, Question(one_size=True), shapes)
    (fullest,) = needed["needs"]
    with FakeTensorMode():
        model = RVQVAE(features, config.model, config.quantizer).eval()
        clip = torch.empty(1, TOKENS * model.hop, features)
        clip_flops = forward_flops(model, [clip], [*PARTS])
        spec = rehearsal(config, shapes)(needed["size"])
        flops = step_flops(spec, replace(spec.batches[0](), mask=None))
    quantizer = model.quantizer
    bits = bits_per_token(quantizer.num_quantizers, quantizer.nb_code)
    seconds, bits_per_s = TOKENS * model.hop / fps, bits * fps / model.hop
    pose_bits_per_s = 3.0 * FLOAT_BITS * shapes.joints * fps
    return Description(
        about=about,
        assumed=shapes.assumed,
        joints=shapes.joints,
        features=features,
        fps=fps,
        hop=model.hop,
        parameters={**count_parameters(model, [*PARTS]), "quantizer": quantizer.codebooks.numel()},
        flops_per_s={part: count / seconds for part, count in clip_flops.items()},
        step=needed["batch"],
        step_flops=flops,
        step_bytes=fullest["parts"],
        bits_per_token=bits,
        bits_per_s=bits_per_s,
        pose_bits_per_s=pose_bits_per_s,
        ratio=pose_bits_per_s / bits_per_s,
    )


def trained_on(trained: Trained) -> tuple[Config, Shapes]:
    """Return settings and shapes as they were in training, even if the data set is gone."""
    config, shapes = trained.config, data_shapes(trained.config.dataset)
    try:
        about = read_json(trained.path, "data.json")["train"]
        rotation, fps = about["rotation"], float(about.get("fps", shapes.fps))
        joints = len(trained.model.mean) // values_per_joint(rotation)
    except (TrainerError, *MALFORMED):
        return config, shapes
    config = replace(config, dataset=replace(config.dataset, rotation=rotation))
    if joints == shapes.joints:
        return config, replace(shapes, fps=fps)
    # Of bones nothing is known, so their places cost nothing.
    config = replace(config, loss=replace(config.loss, loss_joints=0.0))
    assumed = f"{config.dataset.data} is not here: no skeleton, clips shorter than their window"
    return config, replace(shapes, joints=joints, skeleton=None, fps=fps, assumed=assumed)


def show(found: Description, console: Console) -> None:
    """Print the figures as tables and sentences."""
    console.print(
        f"{found.about}: {found.joints} joints in {found.features} features a frame, "
        f"{found.hop} frames a token"
    )
    if found.assumed:
        console.print(f"assumed: {found.assumed}", style="yellow")
    parameters = {name: found.parameters[part] for part, name in PARTS.items()}
    flops = {name: found.flops_per_s[part] for part, name in PARTS.items()}
    console.print(parts_table(parameters, flops, "a second of motion"))
    console.print(f"\n{describe_step(found.step, found.step_flops, found.step_bytes)}")
    console.print(
        f"codes: {found.bits_per_token:g} bits a token, {found.fps / found.hop:g} tokens a second: "
        f"{found.bits_per_s:,.0f} bits a second, {found.ratio:.0f} times less than poses as float32"
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
        about = config.run.exp_name
    else:
        trained = load(given.checkpoint)
        about = f"{trained.path} (step {trained.step})"
        config, shapes = trained_on(trained)
        if flags:
            parser.error(f"a checkpoint has settings of its own: {' '.join(flags)}")
    found = describe(config, about, shapes)
    print_result(asdict(found), lambda console: show(found, console), as_json=given.json)
    return 0


if __name__ == "__main__":
    run_main(main)
