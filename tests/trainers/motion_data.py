"""Builders: tiny BVH files, data sets, models, and real ranks."""

from __future__ import annotations

import json
import multiprocessing
import pickle
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.distributed as dist

from trainers.engine.distributed import World
from trainers.motion.skeleton import Skeleton, find_mirror
from trainers.rvq.config import Config, ModelConfig, QuantizerConfig
from trainers.rvq.model import RVQVAE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))
SMALL = ModelConfig(width=16, depth=2, code_dim=8, dropout=0.0)
CODES = QuantizerConfig(nb_code=16, num_quantizers=3, quantize_dropout_prob=0.0)

# A static root above hips that move, and two arms that mirror each other.
SKELETON = Skeleton(
    joints=("Root", "Hips", "Spine", "Arm_L", "Hand_L", "Arm_R", "Hand_R"),
    parents=(-1, 0, 1, 2, 3, 2, 5),
    offsets=((0, 0, 0), (0, 90, 0), (0, 20, 0), (8, 10, 0), (25, 0, 1), (-8, 10, 0), (-25, 0, 1)),
    translation_joint=1,
)
MIRRORED = replace(SKELETON, mirror=find_mirror(SKELETON, np.tile(np.eye(3), (7, 1, 1))))

HIERARCHY = """HIERARCHY
ROOT Root
{
  OFFSET 0 0 0
  CHANNELS 3 Zrotation Xrotation Yrotation
  JOINT Hips
  {
    OFFSET 1 90 -3
    CHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation
    JOINT Leg_L
    {
      OFFSET 9 -5 0
      CHANNELS 6 Yrotation Xrotation Zrotation Xposition Zposition Yposition
      End Site
      {
        OFFSET 0 -80 0
      }
    }
    JOINT Leg_R
    {
      OFFSET -9 -5 0
      CHANNELS 1 Xrotation
    }
  }
}
"""
CHANNELS = 16


def bvh_text(frames: int = 12, seed: int = 0, *, fps: float = 30.0) -> str:
    """A whole BVH file of four joints."""
    rng = np.random.default_rng(seed)
    values = rng.uniform(-60, 60, (frames, CHANNELS)).round(4)
    values[:, :3] = 0
    values[:, 12:15] = [9, 0, -5]  # Leg_L's position: x, z, y
    return bvh_of(values, 1 / fps)


def bvh_of(values: Any, seconds: float = 1 / 30) -> str:
    rows = "\n".join(" ".join(f"{value:.6f}" for value in row) for row in values)
    return f"{HIERARCHY}MOTION\nFrames: {len(values)}\nFrame Time: {seconds:.7f}\n{rows}\n"


def write_bvh(root: Path, counts: dict[str, int]) -> Path:
    """A folder of clips: split -> number of them."""
    for split, count in counts.items():
        (root / split).mkdir(parents=True)
        for i in range(count):
            text = bvh_text(10 + i, seed=i + 100 * len(split))
            (root / split / f"clip{i}.bvh").write_text(text)
    return root


def poses(frames: int, joints: int, seed: int = 0) -> np.ndarray:
    """Smooth rotations (T, J*3)."""
    rng = np.random.default_rng(seed)
    time = np.arange(frames)[:, None] * rng.uniform(0.05, 0.3, joints * 3)
    return (0.4 * np.sin(time + rng.uniform(0, 6, joints * 3))).astype(np.float32)


def write_data(
    root: Path,
    lengths: dict[str, list[int]],
    *,
    skeleton: Skeleton | None = MIRRORED,
    joints: int = 7,
) -> Path:
    """A data set in the layout: split -> frames of each clip."""
    for split, frames in lengths.items():
        for i, length in enumerate(frames):
            folder = root / split / f"clip{i:02d}"
            folder.mkdir(parents=True)
            pose = poses(length, joints, seed=i + 50 * len(split))
            pose[:, :3] = 0  # the root, above the hips, is static
            np.save(folder / "pose.npy", pose)
    if skeleton is not None:
        (root / "skeleton.json").write_text(json.dumps(skeleton.to_dict()))
    return root


def small_model(features: int = 12, *, model: ModelConfig = SMALL, **quantizer: Any) -> RVQVAE:
    return RVQVAE(features, model, replace(CODES, **quantizer), seed=3)


def small_config(out: Path, data: Path | str, **changes: dict[str, Any]) -> Config:
    """A run of seconds: section -> settings that differ."""
    base = Config(model=SMALL, quantizer=CODES)
    small: dict[str, dict[str, Any]] = {
        "run": {"out_dir": out},
        "dataset": {"data": str(data), "window_size": 16, "window_stride": 8},
        "loop": {"total_iter": 6, "batch_size": 4, "eval_iter": 3, "save_iter": 3, "print_iter": 2},
        "optim": {"lr": 1e-3, "schedule": "constant"},
    }
    sections = {
        name: replace(getattr(base, name), **{**small.get(name, {}), **changes.get(name, {})})
        for name in ("run", "dataset", "model", "quantizer", "loss", "loop", "optim", "loader")
    }
    return Config(**sections)


def on_ranks(count: int, work: Callable[[World], Any], meeting: Path) -> list[Any]:
    """What `work(world)` returns on each of several gloo ranks, each a process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainers.rvq.train", "torch._dynamo"])
    processes = [
        context.Process(target=_rank, args=(rank, count, work, meeting)) for rank in range(count)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(100)
        if process.exitcode is None:
            process.kill()
            process.join()
    assert [process.exitcode for process in processes] == [0] * count
    # The answers were pickled a moment ago by these very processes.
    answers = [_answer(meeting, rank).read_bytes() for rank in range(count)]
    return [pickle.loads(answer) for answer in answers]  # noqa: S301


def _rank(rank: int, count: int, work: Callable[[World], Any], meeting: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=count)
    world = World(rank=rank, local_rank=rank, world_size=count, device=torch.device("cpu"))
    _answer(meeting, rank).write_bytes(pickle.dumps(work(world)))
    dist.destroy_process_group()


def _answer(meeting: Path, rank: int) -> Path:
    return meeting.with_name(f"{meeting.name}-{rank}")
