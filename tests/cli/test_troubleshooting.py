"""What docs/troubleshooting.md says happens, provoked as it is typed."""

from __future__ import annotations

import sys

import pytest

INTERPRETER = """#!{python}
import os, sys
words = sys.argv[1:]
if words[1:2] == ["torch.distributed.run"]:
    at = words.index("trainers.rvq.train")
    options = [word for word in words[2:at] if word not in ("-m", "--")]
    words = ["{torchrun}", *options, "{worker}", *words[at + 1 :]]
os.execv("{python}", ["{python}", *words])
"""


@pytest.fixture(name="small_gpu")
def _small_gpu(tmp_path, workers, gpuops, own_port):  # noqa: ARG001 - ./profiles/cpu.yaml
    """Launch rvq on GPUs that hold so many samples a pass."""
    python = tmp_path / "python-of-a-small-GPU"
    python.write_text(
        INTERPRETER.format(
            python=sys.executable, torchrun=workers / "torchrun.py", worker=workers / "memory.py"
        )
    )
    python.chmod(0o755)

    def launch(fits, *words):
        own = ("--profile", "cpu", "--python", python)
        return gpuops("launch", "rvq", *own, *words, FITS=str(fits))

    return launch


def batches(folder):
    """What each attempt said of its batches: a rank may be ended before it says so itself."""
    attempts = sorted(folder.glob("runs/*/logs/attempt-*"))
    logs = [[log.read_text() for log in one.glob("rank-*/stdout.log")] for one in attempts]
    return [" ".join({said.strip() for said in of_one if said}) for of_one in logs]


def test_a_batch_too_large_for_a_gpu_is_halved_and_the_step_keeps_it(small_gpu, tmp_path):
    """CUDA out of memory: twice half the micro-batch, twice the passes, the same global batch."""
    answer = small_gpu(4, "--batch_size", "16")

    assert answer.returncode == 0, answer.stderr
    assert batches(tmp_path) == [f"32 samples a step in {passes} passes" for passes in (1, 2, 4)]
    assert "half the micro-batch; restart 2" in " ".join(answer.stderr.split())


@pytest.mark.long
def test_a_batch_that_never_fits_is_given_up_with_advice(small_gpu, tmp_path):
    """After two halvings: exit code 4, and what else makes a step smaller.

    The decision alone: tests/core/supervision/test_restart.py.
    """
    answer = small_gpu(1, "--batch_size", "16")
    said = " ".join(answer.stderr.split())

    assert answer.returncode == 4
    assert len(batches(tmp_path)) == 3
    assert "ven with the micro-batch halved 2 times it does not fit" in said
    assert "ran out of GPU memory" in said
    assert "smaller model" in said
