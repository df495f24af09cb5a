"""A folder of claims that all users share, and a launch on a host of eight GPUs."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from claiming import host

from gpuops.core.launch.options import LaunchOptions
from gpuops.system import claims


@pytest.fixture(name="place")
def _place(monkeypatch):
    """A folder of claims that all users can reach; pytest's own they cannot."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        monkeypatch.setenv(claims.VARIABLE, f"{name}/claims")
        yield claims.folder()


@pytest.fixture(name="options")
def _options(tmp_path, monkeypatch, workers, quick_python, own_port):
    """A launch of two GPUs on a host of eight."""
    monkeypatch.chdir(tmp_path)
    Path("profiles/2.yaml").write_text(
        f"name: '2'\ngpus: {{count: 2}}\ntorchrun: {{master_port: {own_port}}}\n"
    )
    host(monkeypatch)
    script = str(workers / "beats.py")
    return LaunchOptions(name=script, profile="2", python=quick_python, force=("torch",))
