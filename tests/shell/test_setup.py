"""shell/setup.sh: what it leaves alone, and when it has nothing to do."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="clone")
def _clone(tmp_path):
    """A checkout in a folder with a space in its name, without an environment."""
    clone = tmp_path / "my clone"
    shutil.copytree(ROOT / "shell", clone / "shell")
    for name in ("pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, clone)
    return clone


def setup(clone, *words, **environment):
    return subprocess.run(
        ["bash", str(clone / "shell" / "setup.sh"), *words],
        cwd="/",
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def stamp(clone):
    """The environment as a finished set-up leaves it."""
    wanted = subprocess.run(
        ["bash", "-c", "cat pyproject.toml constraints.txt | cksum"],
        cwd=clone,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    (clone / ".venv").mkdir()
    (clone / ".venv" / ".made-by-gpuops").touch()
    (clone / ".venv" / ".installed-dev").write_text(wanted)


def test_an_environment_of_somebody_else_is_left_alone(clone):
    """A .venv that the script did not make is refused with a sentence, and not touched."""
    (clone / ".venv").mkdir()
    (clone / ".venv" / "mine").write_text("keep")
    answer = setup(clone)

    assert answer.returncode == 2
    assert "this script did not make it" in answer.stderr
    assert [path.name for path in (clone / ".venv").iterdir()] == ["mine"]


def test_a_finished_environment_is_not_installed_again(clone):
    """With the stamp of these very requirements there is nothing to do, from any folder."""
    stamp(clone)
    before = sorted((clone / ".venv").iterdir())
    answer = setup(clone)

    assert (answer.returncode, answer.stdout, answer.stderr) == (0, "", "")
    assert sorted((clone / ".venv").iterdir()) == before


def test_a_python_that_is_too_old_is_named(clone, tmp_path):
    """Where no Python is new enough, a sentence says so, and nothing is made."""
    tools = tmp_path / "tools"
    tools.mkdir()
    for tool in ("bash", "cat", "cksum", "dirname"):
        (tools / tool).symlink_to(shutil.which(tool))
    old = tools / "python3"
    old.write_text("#!/bin/bash\nexit 1\n")
    old.chmod(0o755)
    answer = setup(clone, PATH=str(tools))

    assert answer.returncode == 2
    assert "no Python 3.10 or newer" in answer.stderr
    assert not (clone / ".venv").exists()
