"""The shipped trainer through the whole tool: real torchrun, two gloo ranks, tiny sizes."""

from __future__ import annotations

import json
import os
import signal
import subprocess

import pytest
from safetensors.numpy import load_file

TINY = """
    --preset demo --data synthetic --max-samples 24 --batch-size 4
    --width 16 --depth 1 --nb-code 32 --code-dim 16 --num-quantizers 2
    --total-iter 60 --save-iter 20 --eval-iter 60 --print-iter 5
""".split()  # noqa: SIM905 - as a person types it


pytestmark = pytest.mark.usefixtures("own_port")  # found as ./profiles/cpu.yaml


def weights(run):
    return load_file(run / "checkpoints" / "last" / "model.safetensors")


@pytest.mark.long
def test_a_run_stopped_and_resumed_equals_one_never_stopped(gpuops, tmp_path):
    """Ctrl-C mid-run, then `--resume last`: the final weights are equal, bit for bit."""
    whole = gpuops("launch", "rvq", "-p", "cpu", "--runs-dir", "whole", *TINY)
    assert whole.returncode == 0, whole.stderr
    assert "finished" in whole.stdout
    assert "loss" in whole.stdout

    launch = gpuops.start(
        "launch", "rvq", "-p", "cpu", *TINY,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in launch.stderr:
        if line.startswith("training"):
            break
    launch.send_signal(signal.SIGINT)
    stdout, stderr = launch.communicate(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    stopped = json.loads((run / "checkpoints" / "last" / "checkpoint.json").read_text())["step"]
    assert launch.returncode == 130, stderr
    assert 0 < stopped < 60
    assert "gpuops launch --resume" in stdout

    again = gpuops("launch", "--resume", "last")
    assert again.returncode == 0, again.stderr
    (full,) = (tmp_path / "whole").iterdir()
    expected, actual = weights(full), weights(run)
    assert expected.keys() == actual.keys()
    assert all((expected[name] == actual[name]).all() for name in expected)

    record = json.loads(gpuops("runs", "show", "last", "--json").stdout)
    assert [attempt["number"] for attempt in record["run"]["attempts"]] == [1, 2]
    assert record["run"]["status"] == "finished"
    assert record["checkpoints"][-1][0] == "step-00000060"
    assert list((run / "tensorboard").glob("events.out.tfevents.*"))
    evaluated = gpuops("evaluate", "last", "--json")
    assert evaluated.returncode == 0, evaluated.stderr
    assert json.loads(evaluated.stdout)


def test_an_error_of_the_trainer_is_a_sentence(gpuops, tmp_path):
    """A data set that is broken inside: the trainer's own sentence, no trace, and no second try."""
    made = gpuops("data", "synthetic", "--trainer", "rvq", "--out", "data")
    assert made.returncode == 0, made.stderr
    pose = min((tmp_path / "data" / "train").glob("*/pose.npy"))
    os.truncate(pose, 200)
    answer = gpuops(
        "launch", "rvq", "-p", "cpu", *TINY, "--data", "data",
        "--max-samples", "none",
    )  # fmt: skip

    assert answer.returncode == 4
    assert "failed first" in answer.stderr
    assert "not started again: It cannot start" in answer.stderr
    assert str(pose.parent.name) in answer.stderr
    assert "Traceback" not in answer.stderr
