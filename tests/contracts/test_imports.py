"""What the command line loads: little, for it must answer at once."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

NEVER = {"torch", "numpy", "scipy", "tensorboard", "safetensors", "trainers"}
RUN = """
import json, sys
sys.argv = ["gpuops", *sys.argv[1:]]
from gpuops.__main__ import main
try:
    main()
except SystemExit as left:
    code = left.code
else:
    code = 0
loaded = sorted({name.split(".")[0] for name in sys.modules})
print(json.dumps({"code": code, "loaded": loaded}), file=sys.stderr)
"""


def loaded_by(*words, cwd):
    """The topmost packages that a command has loaded by its end."""
    ran = subprocess.run(
        [sys.executable, "-c", RUN, *words],
        cwd=cwd,
        env={**os.environ, "GPUOPS_RUNS_DIR": str(cwd / "runs")},
        capture_output=True,
        text=True,
        check=True,
    )
    facts = json.loads(ran.stderr.strip().splitlines()[-1])
    assert facts["code"] in {0, None}, ran.stderr
    return set(facts["loaded"])


def test_importing_the_command_line_loads_no_torch():
    """``python -c "import gpuops.cli"`` is as light as it looks."""
    code = "import sys, gpuops.cli; print(*{name.split('.')[0] for name in sys.modules})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert set() == NEVER & set(ran.stdout.split())


@pytest.mark.parametrize(
    "words", [("--help",), ("--version",), ("runs", "list"), ("runs", "--help")]
)
def test_what_answers_at_once_loads_little(tmp_path, words):
    """Help and the list of runs need neither profiles nor GPUs, so none of their libraries."""
    loaded = loaded_by(*words, cwd=tmp_path)

    assert set() == (NEVER | {"psutil", "pynvml", "yaml"}) & loaded


@pytest.mark.parametrize(
    "words", [("profiles", "list"), ("trainers", "list"), ("launch", "--help"), ("data", "--help")]
)
def test_no_command_loads_torch(tmp_path, words):
    """The trainers' libraries are for the workers."""
    assert set() == NEVER & loaded_by(*words, cwd=tmp_path)


def test_the_heartbeat_costs_a_trainer_nothing():
    """It loads the standard library alone."""
    code = "import sys; from gpuops import heartbeat; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    loaded = {name.split(".")[0] for name in ran.stdout.split()}
    assert set() == loaded & {"typer", "rich", "pydantic", "psutil", "yaml", "pynvml", "torch"}
    assert ["gpuops", "gpuops.heartbeat"] == sorted(
        name for name in ran.stdout.split() if name.startswith("gpuops")
    )
