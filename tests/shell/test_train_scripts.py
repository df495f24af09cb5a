"""The scripts of the old guides: each is a `gpuops` command, which a dry run shows."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

SHELL = Path(__file__).parents[2] / "shell"
DRY = ("--dry-run", "--simulate", "8x4090", "--force", "torch", "--force", "port")
RATIOS = ("0.5", "0.75", "1.0", "1.25", "1.5")


@pytest.fixture(name="script")
def _script(tmp_path, gpuops):
    """Run a script where there is no data set, and the gpuops command that it ends with."""
    shutil.copytree(SHELL, tmp_path / "shell")
    tool, typed = tmp_path / ".venv" / "bin" / "gpuops", tmp_path / "typed"
    tool.parent.mkdir(parents=True)
    tool.write_text(f"#!/bin/sh\nprintf '%s\\0' \"$@\" > {typed}\n")
    tool.chmod(0o755)

    def run(name, *words):
        ran = subprocess.run(
            ["bash", f"shell/{name}", *words],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        if not typed.exists():
            return ran
        assert ran.returncode == 0, ran.stderr
        answer = gpuops(*typed.read_text().split("\0")[:-1])
        typed.unlink()
        answer.stderr = ran.stderr + answer.stderr
        return answer

    return run


def command(answer):
    """Environment and words of the torchrun command that a dry run prints, and the trainer's."""
    assert answer.returncode == 0, answer.stderr
    words = shlex.split(answer.stdout.replace("\\\n", " "))
    start = words.index("torch.distributed.run")
    environment = dict(word.split("=", 1) for word in words[3:start] if "=" in word)
    end = words.index("trainers.rvq.train")
    return environment, words[start:end], words[end + 1 :]


def test_seven_gpus_and_gpu_0_left_alone(script):
    """train_8x4090.sh: GPUs 1 to 7, 80 windows on each, the flags of the guide on top."""
    flags = ("--batch_size", "160", "--width", "1536", "--depth", "5", "--num_quantizers", "16")
    answer = script("train_8x4090.sh", *flags, "--data_path", "synthetic", *DRY)
    environment, torchrun, trainer = command(answer)

    assert "7 workers on GPU 1, 2, 3, 4, 5, 6, 7" in answer.stderr
    assert "data   synthetic (built in)" in answer.stderr
    assert environment["CUDA_VISIBLE_DEVICES"].count(",") == 6
    assert "--nproc-per-node=7" in torchrun
    assert "preset=beat-7x4090" in trainer
    assert "global batch 1120 = 160 per worker x 7 workers" in answer.stderr
    assert list(flags) == trainer[-10:-2]


@pytest.mark.parametrize(
    ("gpus", "total", "passes"), [(8, 1024, "1 pass"), (4, 512, "1 pass"), (4, 1024, "2 passes")]
)
def test_a_batch_size_of_all_gpus_together(script, gpus, total, passes):
    """train_multi_gpu_custom.sh: --batch_size is what a step sees, on any number of GPUs."""
    answer = script(
        "train_multi_gpu_custom.sh", "--n_gpus", str(gpus), "--batch_size", str(total),
        "--master_port", "29501", "--data", "synthetic", *DRY,
    )  # fmt: skip
    _, torchrun, trainer = command(answer)

    assert f"batch_size {total}: windows per step over all GPUs together" in answer.stderr
    assert f"global batch {total} = {gpus} workers x {passes} of" in answer.stderr
    assert {f"--nproc-per-node={gpus}", "--master-port=29501"} <= set(torchrun)
    assert ["--global-batch", str(total)] == trainer[-2:]
    assert "--preset seamless" in " ".join(trainer)


@pytest.mark.parametrize("spelled", ["--batch_size=512", "--batch-size=512", "--batch-size 512"])
def test_every_spelling_means_the_total(script, spelled):
    """None of them reaches the trainer, for which it is the batch of one GPU."""
    words = ("--n-gpus=2", *spelled.split(), "--data", "synthetic")
    _, torchrun, trainer = command(script("train_multi_gpu_custom.sh", *words, *DRY))

    assert "--nproc-per-node=2" in torchrun
    assert ["--global-batch", "512"] == trainer[-2:]
    assert not any(word.startswith("--batch") for word in trainer)


def test_the_scripts_help_says_so(script):
    """--help tells what its batch_size is."""
    answer = script("train_multi_gpu_custom.sh", "--help")

    assert answer.returncode == 0
    assert "--batch_size is the sum over all GPUs" in answer.stdout


def test_the_whole_training(script):
    """train_complete.sh: eight GPUs, 1024 windows a step, five lengths; and what follows."""
    answer = script("train_complete.sh", "--data", "synthetic", "--total_iter", "50", *DRY)
    _, torchrun, trainer = command(answer)
    said = " ".join(trainer)

    assert "--nproc-per-node=8" in torchrun
    assert "--global-batch 1024" in said
    assert f"--multi_length_training {' '.join(RATIOS)}" in said
    assert "--window_size 64 --window_stride 20" in said
    assert said.endswith("--total_iter 50")


@pytest.mark.parametrize("name", ["train_8x4090.sh", "train_complete.sh"])
def test_without_the_data_set_nothing_starts(script, name):
    """The guides' folder is expected; the built-in data is no stand-in for it."""
    answer = script(name, *DRY)

    assert answer.returncode == 1
    said = "".join(answer.stderr.split())
    assert re.search("thereisnodatasetat\\S+datasets/seamless_interaction", said)


def test_monitor_takes_seconds_and_a_count(script, mock_driver, monkeypatch):
    """monitor_gpu.sh 0.2 --count 2: two looks at that distance; flags of the monitor follow."""
    mock_driver.set(["driver 580.95.05", "cuda 13.0", "gpu 0 model=rtx4090"])
    for name, value in mock_driver.env.items():
        monkeypatch.setenv(name, value)
    answer = script("monitor_gpu.sh", "0.2", "--count", "2", "--gpu", "0", "--json")
    nothing = script("monitor_gpu.sh", "0.1", "--count", "2")
    mock_driver.set([])

    assert (0, 2) == (answer.returncode, nothing.returncode), answer.stderr
    boards = [json.loads(line) for line in answer.stdout.splitlines()]
    assert [1, 1] == [len(board["gpus"]) for board in boards]
    assert "--interval 0.1 is too short" in nothing.stderr
