"""What a training can be told to do, each by its effect on rvq; the engine's own tests say more."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from allocated import peak_bytes
from motion_data import ALONE, small_config, write_data
from torch import nn

from trainers.engine.config.config import resolve
from trainers.engine.optim import lr_factor
from trainers.engine.statistics import Statistics
from trainers.rvq import train as training
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import MotionData, open_data
from trainers.rvq.losses import MotionLoss
from trainers.rvq.model import build_model
from trainers.rvq.train import train

FLAT = np.zeros(42, dtype=np.float32)
STATISTICS = Statistics(mean=FLAT, std=FLAT + 1, baseline=FLAT)
GUIDE = "--max_samples 10 --total_iter 10 --batch_size 2 --window_size 64 --window_stride 20"
SMALL = "--width 32 --code_dim 16 --nb_code 64"


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [16, 24, 40, 16], "val": [21, 30]})


def lines(folder, split="train"):
    found = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [line for line in found if line["split"] == split]


def model_of(tmp_path, **changes):
    """The model that a config builds, with codebooks that have begun."""
    torch.manual_seed(3)
    model = build_model(small_config(tmp_path, "synthetic", **changes), STATISTICS)
    model(torch.randn(4, 16, 42))
    model.quantizer.update_(ALONE)
    return model


def test_gradient_checkpointing_takes_less_memory(tmp_path):
    """The most that lives at once in a step, by the allocator's own account; the same loss."""
    peaks, losses = [], []
    for wanted in (False, True):
        sizes = {"model": {"width": 32, "depth": 8, "dropout": 0.0, "dilation_growth_rate": 1}}
        model = model_of(tmp_path, loop={"gradient_checkpointing": wanted}, **sizes)
        x = torch.randn(64, 128, 42, generator=torch.Generator().manual_seed(1))

        def step(model=model, x=x):
            loss = model(x).output.square().mean()
            loss.backward()
            losses.append(loss.item())

        peaks.append(peak_bytes(step))
    assert peaks[1] < 0.7 * peaks[0]
    assert losses[0] == losses[1]


def test_mixed_precision_is_inside_and_the_quantizer_is_not(tmp_path):
    """Convolutions compute in bfloat16; codebooks, their averages and the loss stay float32."""
    model = model_of(tmp_path)
    seen: dict[str, set[torch.dtype]] = {"conv": set(), "quantizer": set()}
    for module in model.modules():
        if isinstance(module, nn.Conv1d):
            module.register_forward_hook(lambda _m, _i, out: seen["conv"].add(out.dtype))
    model.quantizer.register_forward_hook(
        lambda _m, _i, out: seen["quantizer"].update({out.latents.dtype, out.commitment.dtype})
    )
    weights = small_config(tmp_path, "synthetic").loss
    with torch.autocast("cpu", torch.bfloat16):
        parts = MotionLoss(weights)(model(torch.randn(4, 16, 42)))
    parts["loss"].backward()
    model.quantizer.update_(ALONE)

    assert seen == {"conv": {torch.bfloat16}, "quantizer": {torch.float32}}
    assert {part.dtype for part in parts.values()} == {torch.float32}
    assert {b.dtype for b in model.quantizer.buffers() if b.is_floating_point()} == {torch.float32}
    assert {p.grad.dtype for p in model.parameters()} == {torch.float32}


def test_mixed_precision_trains(root, tmp_path):
    """Nearly as float32 does, and not quite."""
    for wanted in ("off", "bf16"):
        settings = {"total_iter": 20, "eval_iter": 20, "mixed_precision": wanted}
        train(small_config(tmp_path / wanted, root, loop=settings))
    off, half = (lines(tmp_path / name)[-1]["recons"] for name in ("off", "bf16"))

    assert half != off
    assert half == pytest.approx(off, rel=0.1)


def test_accumulation_is_the_batch_that_it_stands_for(root, tmp_path):
    """Two passes of four windows make the steps of one pass of eight."""
    for name, loop in {"whole": {"batch_size": 8}, "parts": {"accumulate": 2}}.items():
        train(small_config(tmp_path / name, root, loop={**loop, "print_iter": 1}))
    names = ("loss", "recons", "velocity", "grad_norm")
    for a, b in zip(lines(tmp_path / "whole"), lines(tmp_path / "parts"), strict=True):
        assert [a[n] for n in names] == pytest.approx([b[n] for n in names], rel=2e-3)


def test_the_learning_rate_follows_the_batch(root, tmp_path):
    """lr x samples per step / reference batch: 1e-3 x 4 x 2 / 16."""
    settings = {"scale_lr": True, "reference_batch": 16}
    train(small_config(tmp_path / "run", root, loop={"accumulate": 2}, optim=settings))

    assert [line["lr"] for line in lines(tmp_path / "run")] == pytest.approx([5e-4] * 3)


@pytest.mark.parametrize("typed", ["2 4", "[2, 4]"])
def test_the_learning_rate_drops_at_its_milestones(root, tmp_path, typed):
    """The steps of a run show it, however the milestones were typed."""
    words = ["--lr_scheduler", *(typed.split() if typed[0] != "[" else [typed]), "--gamma", "0.5"]
    optim = resolve(Config, words, name="rvq", presets=PRESETS).optim
    config = small_config(tmp_path / "run", root, loop={"print_iter": 1})
    train(replace(config, optim=replace(optim, lr=1e-3)))

    rates = [line["lr"] for line in lines(tmp_path / "run")]
    assert rates == pytest.approx([1e-3, 1e-3, 5e-4, 5e-4, 2.5e-4, 2.5e-4])


def test_every_milestone_of_the_long_preset_counts():
    """300,000 steps: down at 50,000 and at 200,000, by a factor of 0.05 each time."""
    words = ["--preset", "beat-7x4090"]
    config = resolve(Config, words, name="rvq", presets=PRESETS)
    factor = lr_factor(config.optim, config.loop.total_iter)

    found = [factor(step) for step in (0, 49_999, 50_000, 199_999, 200_000, 299_999)]
    assert found == pytest.approx([1, 1, 0.05, 0.05, 0.0025, 0.0025])


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_no_preset_has_milestones_that_do_nothing(preset):
    """Its user would be warned of what he never said."""
    optim = resolve(Config, ["--preset", preset], name="rvq", presets=PRESETS).optim

    assert (optim.schedule == "multistep") == bool(optim.lr_scheduler)


def test_the_batch_follows_the_length(root, tmp_path, monkeypatch):
    """128 frames a batch: 16 windows of 8 frames, or 8 of 16."""
    seen = set()

    def look(_state, batches, *_rest, **_more):
        stream = batches.stream(0, 0)
        for _ in range(batches.per_epoch):
            seen.add(tuple(next(stream)[0].features.shape[:2]))
        raise InterruptedError

    monkeypatch.setattr(training, "fit", look)
    ratios = {"multi_length_training": (0.5, 1.0), "window_stride": 2, "frames_per_batch": 128}
    with pytest.raises(InterruptedError):
        train(small_config(tmp_path / "run", root, dataset=ratios))

    assert seen == {(16, 8), (8, 16)}


def test_early_stopping_by_a_metric_of_its_own(root, tmp_path, capsys):
    """Monitoring MPJPE the wrong way round, it gets no better: two more evaluations, and out."""
    settings = {"monitor": "mpjpe", "monitor_mode": "max", "patience": 2, "eval_iter": 10}
    train(small_config(tmp_path / "run", root, loop={**settings, "total_iter": 400}))
    values = [line["mpjpe"] for line in lines(tmp_path / "run", "val")]

    assert len(values) < 40
    assert max(values) not in values[-2:]
    assert "stopped early at step" in capsys.readouterr().out


def test_waiting_for_data_is_said(root, tmp_path, monkeypatch, capsys):
    """A disk that takes as long as a step: the line of figures says which share of the time."""
    prompt = MotionData.load
    loaded = [time.monotonic()]

    def slow(*arguments):
        time.sleep(min(1.0, 0.05 + time.monotonic() - loaded[-1]))
        batch = prompt(*arguments)
        loaded.append(time.monotonic())
        return batch

    monkeypatch.setattr(MotionData, "load", slow)
    train(small_config(tmp_path / "run", root))
    shares = [line["data_wait"] for line in lines(tmp_path / "run")]

    assert min(shares) > 0.3
    assert re.search(r"· data [3-9]\d % ·", capsys.readouterr().out)


def test_a_smoke_run_as_the_guide_types_it(tmp_path, capsys):
    """Ten samples, ten steps, batches of two."""
    words = f"{GUIDE} {SMALL} --out_dir {tmp_path / 'run'}".split()

    assert training.main(words) == 0
    assert "done: 10 steps" in capsys.readouterr().out
    assert (tmp_path / "run" / "checkpoints" / "last").is_symlink()


@pytest.mark.long
def test_a_smoke_run_under_the_guides_own_launcher(tmp_path, own_port):
    """The same on two ranks under torch.distributed.launch, which torchrun has replaced."""
    launcher = f"torch.distributed.launch --nproc_per_node=2 --master_port={own_port} -m"
    words = f"{launcher} trainers.rvq.train {GUIDE} {SMALL}".split()
    ran = subprocess.run(
        [sys.executable, "-m", *words, "--out_dir", str(tmp_path / "run")],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )

    assert ran.returncode == 0, ran.stderr
    assert "done: 10 steps" in ran.stdout
    assert (tmp_path / "run" / "checkpoints" / "last").is_symlink()


def test_a_smoke_run_on_fewer_samples_than_a_batch(tmp_path):
    """One clip in each split, ten asked for."""
    root = write_data(tmp_path / "data", {"train": [70], "val": [5]})
    settings = {"dataset": {"max_samples": 10}, "loop": {"total_iter": 10, "batch_size": 2}}
    config = small_config(tmp_path / "run", root, **settings)

    assert len(open_data(config.dataset, "train").source.names) == 1
    assert train(config) == 0
