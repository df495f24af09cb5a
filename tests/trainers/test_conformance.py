"""What every installed trainer must do; a new trainer adds a ``Case`` and copies none of it.

What a manifest promises, and what must work without torch: tests/contracts/test_shipped.py.
"""

from __future__ import annotations

import importlib
import json
import multiprocessing
import os
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest
import torch
from ports import free_ports
from saved import difference, saved

from gpuops.system.trainers import manifests

if TYPE_CHECKING:
    from collections.abc import Callable

TRAINERS = manifests.names()


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """How a trainer trains in seconds on data that need no files.

    ``varied`` are flags that draw random numbers in every part of the trainer; ``learns`` those of
    a run that learns something; ``better`` says so from the JSON of its ``evaluate --json``.
    """

    varied: str
    learns: str
    better: Callable[[Any], bool]
    judged: str = ""  # flags of that evaluation


CASES = {
    "rvq": Case(
        varied="""
            --preset demo --max-samples 10 --width 16 --depth 1 --code-dim 8 --nb-code 16
            --num-quantizers 3 --window-size 16 --window-stride 80 --batch-size 4
            --rotation 6d --mirror --turn --blend 0.5 --multi-length-training 0.5 1.0 --dropout 0.2
            --quantize-dropout-prob 0.5 --sample-temperature 0.1 --loss-joints 1.0
        """,
        learns="""
            --preset demo --max-samples 40 --width 32 --code-dim 16 --nb-code 64 --lr 4e-3
            --total-iter 150 --eval-iter 150 --save-iter 150
        """,
        better=lambda found: (
            found["mpjpe"] < 0.85 * found["mpjpe_mean_pose"]
            and found["summary"]["l2"] < 0.85 * statistics.mean(found["l2_mean_pose"])
        ),
    ),
    "signllm": Case(
        varied="""
            --preset demo --max-samples 12 --width 16 --heads 2 --layers 1 --batch-size 4
            --mode prompt2langgloss --decoder per-language --decoding autoregressive
            --max-frames 24 --gloss-slots 8 --dropout 0.2 --loss-rl 0.1
        """,
        learns="""
            --preset demo --languages ASL --max-samples 60 --width 48 --layers 1
            --total-iter 130 --eval-iter 130 --save-iter 130 --lr 4e-3
        """,
        better=lambda found: found["dtw"] < 0.8 * found["beside"]["mean pose"]["dtw"],
        judged="--no-recogniser",
    ),
    "layout": Case(
        varied="""
            --preset demo --max-samples 12 --width 16 --heads 2 --layers 1 --batch-size 4
            --visual-iter 2 --visual-dim 8 --image-size 16 --dropout 0.2 --given nothing size
            --prediction v --num-inference-steps 2
        """,
        learns="""
            --preset demo --max-samples 100 --width 48 --layers 2 --total-iter 120 --eval-iter 120
            --save-iter 120 --lr 4e-3 --visual-iter 40 --image-size 24 --num-inference-steps 5
        """,
        better=lambda found: (
            found["miou"] > 1.5 * found["beside"]["mean box of the category"]["miou"]
        ),
    ),
}
RESUMES = """
    --total-iter 6 --eval-iter 3 --save-iter 3 --print-iter 3
    --ema-decay 0.9 --warmup-iter 2 --schedule constant
"""


@pytest.fixture(name="trainer", params=TRAINERS, scope="module")
def _trainer(request):
    """The manifest of a trainer."""
    return manifests.load(request.param)


@pytest.fixture(name="case")
def _case(trainer):
    return CASES[trainer.name]


def run(module, *flags):
    """A module's exit code, as its ``main`` gives it."""
    torch.set_num_threads(1)
    words = " ".join(flags).split()
    return importlib.import_module(module).main(words)


def rank(module, runs, number, ports):
    """One of two ranks, which trains several times."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(number), "LOCAL_RANK": str(number), "WORLD_SIZE": "2"}
    for flags, port in zip(runs, ports, strict=True):
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
        assert run(module, flags) == 0


def on_two_ranks(module, *runs):
    """Train with these flags, one run after the other, on two gloo ranks."""
    ports = free_ports(len(runs))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainers.rvq.train", "torch._dynamo"])
    ranks = [context.Process(target=rank, args=(module, runs, number, ports)) for number in (0, 1)]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(100)
        process.kill()
    assert [process.exitcode for process in ranks] == [0, 0]


@pytest.mark.parametrize("ranks", [1, 2])
def test_a_run_that_was_interrupted_ends_as_one_that_was_not(trainer, case, tmp_path, ranks):
    """Three steps, stop, three steps: weights, averages, optimizer and generators, bit for bit."""
    whole = f"{case.varied} {RESUMES} --out-dir {tmp_path / 'whole'}"
    part = f"{case.varied} {RESUMES} --out-dir {tmp_path / 'part'}"
    runs = (whole, f"{part} --total-iter 3", f"{part} --resume auto")
    if ranks == 1:
        assert [run(trainer.train, flags) for flags in runs] == [0, 0, 0]
    else:
        on_two_ranks(trainer.train, *runs)

    assert saved(tmp_path / "whole").step == 6
    assert difference(saved(tmp_path / "whole"), saved(tmp_path / "part")) == ""


def test_it_learns_more_than_the_baseline(trainer, case, tmp_path, capsys):
    """The demo in small, by the trainer's own evaluation."""
    assert run(trainer.train, case.learns, f"--out-dir {tmp_path}") == 0
    run(trainer.verbs["evaluate"].module, f"--checkpoint {tmp_path} --json {case.judged}")

    assert case.better(json.loads(capsys.readouterr().out.splitlines()[-1]))


def test_memory_is_estimated_without_data(trainer, tmp_path, capsys):
    """The data set need not be there, and the answer says what it assumes."""
    if trainer.answers.estimate is None:
        pytest.skip("it estimates nothing")
    data = f"--{trainer.data.setting} {tmp_path / 'nowhere'}"
    run(trainer.answers.estimate, f"--preset demo {data} --device cpu")
    answer = json.loads(capsys.readouterr().out)

    assert answer["assumed"]
    assert answer["needs"][0]["peak_bytes"] > 0
