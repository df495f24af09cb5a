"""What many tests need: tiny real programs in place of slow ones."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from gpuops_runner import Gpuops, Server
from hypothesis import settings
from ports import free_ports

LONGEST = {"e2e", "cli", "trainers"}
OF_THE_SHELL = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "NVIDIA_VISIBLE_DEVICES"}
OF_THE_SHELL |= {"CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER"}
# A shell that starts the tests in the background has them ignore Ctrl-C, and jobs inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGQUIT, signal.SIG_DFL)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup

settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")

WORKERS = Path(__file__).parent / "workers"


def pytest_collection_modifyitems(items):
    """Real jobs and trainings first, so that no worker is left with a long test at the end."""
    items.sort(key=lambda item: not LONGEST & set(item.path.parts))


@pytest.fixture(autouse=True)
def _clean_environment(request, monkeypatch, tmp_path_factory):
    """No test sees the runs, ranks, heartbeats, claims or GPUs of the user who started it."""
    for name in list(os.environ):
        if name.startswith(("GPUOPS_", "SLURM_")) or name in OF_THE_SHELL:
            monkeypatch.delenv(name)
    monkeypatch.setenv("GPUOPS_LEASE_DIR", str(tmp_path_factory.getbasetemp() / "claims"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    if "mock_driver" not in request.fixturenames:  # its GPUs are the test's, others are not
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")


@pytest.fixture(name="workers")
def _workers():
    """The folder of tiny programs."""
    return WORKERS


@pytest.fixture(name="own_port")
def _own_port(tmp_path):
    """The profile ``cpu`` as found from ``tmp_path``, with a port that nobody uses."""
    (port,) = free_ports(1)
    shipped = (WORKERS.parents[1] / "profiles" / "cpu.yaml").read_text()
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "cpu.yaml").write_text(shipped.replace("29501", str(port)))
    return port


@pytest.fixture(name="gpuops_server", scope="session")
def _gpuops_server():
    """What runs of gpuops are forked from."""
    server = Server()
    yield server
    server.close()


@pytest.fixture(name="gpuops")
def _gpuops(gpuops_server, tmp_path):
    """Run gpuops in ``tmp_path``: ``gpuops("runs", "list", COLUMNS="80").stdout``."""
    return Gpuops(gpuops_server, tmp_path, GPUOPS_LEASE_DIR=str(tmp_path / "claims"))


@pytest.fixture(name="quick_python")
def _quick_python(tmp_path):
    """A Python whose ``torch.distributed.run`` is a stand-in without torch: starts in 50 ms."""
    path = tmp_path / "quick-python"
    path.write_text(
        "#!/bin/sh\n"
        'if [ "$2" = torch.distributed.run ]; then shift 2;\n'
        f'  exec "{sys.executable}" "{WORKERS / "torchrun.py"}" "$@"; fi\n'
        f'exec "{sys.executable}" "$@"\n'
    )
    path.chmod(0o755)
    return str(path)


@pytest.fixture(name="mock_driver", scope="session")
def _mock_driver(tmp_path_factory):
    """NVIDIA's driver as a mock (tests/mocknvml), built once; each test says what host it shows."""
    if shutil.which("gcc") is None:
        pytest.skip("the mock driver needs gcc")
    path = Path(__file__).parent / "mocknvml" / "mocknvml.py"
    spec = importlib.util.spec_from_file_location("mocknvml", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with module.MockNvml(lib=tmp_path_factory.mktemp("nvml")) as mock:
        yield mock


class _Run:
    """A run of two ranks as its folder and the kernel show it; they step when they are told."""

    name = "20261121-061230-watched"

    def __init__(self, folder, workers):
        self.root = folder / "runs" / self.name
        self.beats = self.root / "state" / "attempt-1" / "beats"
        self.beats.mkdir(parents=True)
        plan = {
            "nodes": [{"devices": [{"index": 0}, {"index": 1}], "ranks": [0, 1]}],
            "run_id": self.name,
            "profile": "2x4090",
            "target": {"kind": "trainer", "name": "rvq"},
        }
        (self.root / "plan.json").write_text(
            json.dumps({**plan, "options": {"exclude_gpus": ["7"]}})
        )
        self.ranks = [
            subprocess.Popen(
                [sys.executable, str(workers / "watched.py")],
                env={**os.environ, **self.environment(rank)},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            for rank in range(2)
        ]

    def environment(self, rank):
        own = {"GPUOPS_RUN_ID": self.name, "GPUOPS_BEAT_DIR": str(self.beats)}
        return {**own, "RANK": str(rank), "LOCAL_RANK": str(rank), "TORCHELASTIC_RUN_ID": self.name}

    def steps(self):
        for rank in self.ranks:
            rank.stdin.write(b"\n")
            rank.stdin.flush()
            rank.stdout.readline()

    def ends(self):
        for rank in self.ranks:
            rank.send_signal(signal.SIGCONT)
            with contextlib.suppress(OSError):
                rank.stdin.close()
            rank.wait(10)
            rank.stdout.close()


@pytest.fixture(name="run")
def _run(tmp_path, workers):
    """Two ranks of a run at work, a line from its tests each step."""
    run = _Run(tmp_path, workers)
    yield run
    run.ends()
