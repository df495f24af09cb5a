"""What ``pip install`` would bring."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).parents[2]


@pytest.fixture(name="wheel", scope="module")
def _wheel(tmp_path_factory):
    """The wheel of this tree, built without a network."""
    folder = tmp_path_factory.mktemp("dist")
    (path,) = WheelBuilder(str(ROOT)).build(directory=str(folder), versions=["standard"])
    return zipfile.ZipFile(path)


def test_the_wheel_brings_profiles_and_manifests(wheel):
    """All that the command line reads at run time."""
    names = set(wheel.namelist())

    for path in (ROOT / "profiles").glob("*.yaml"):
        assert f"gpuops/_data/profiles/{path.name}" in names
    for path in (ROOT / "trainers").glob("**/*.yaml"):
        assert str(path.relative_to(ROOT)) in names


def test_the_wheel_brings_every_module_and_nothing_else(wheel):
    """No tests, no runs, no caches; the licence and the entry points."""
    names = [name for name in wheel.namelist() if ".dist-info/" not in name]
    about = [name for name in wheel.namelist() if ".dist-info/" in name]

    assert {"gpuops", "trainers"} == {name.split("/")[0] for name in names}
    assert set() == {Path(name).suffix for name in names} - {
        ".py",
        ".yaml",
        ".json",
        ".typed",
        ".md",
        ".css",
        ".js",
    }
    for package in ("gpuops", "trainers"):
        for path in (ROOT / package).glob("**/*.py"):
            assert str(path.relative_to(ROOT)) in names
    assert any(name.endswith("LICENSE") for name in about)


def test_the_wheel_declares_its_command_trainers_and_types(wheel):
    """What pip makes of it: the program ``gpuops``, the trainers, and typed packages."""
    (entry_points,) = (n for n in wheel.namelist() if n.endswith("entry_points.txt"))
    text = wheel.read(entry_points).decode()

    assert "gpuops = gpuops." in text
    assert "rvq = trainers.rvq" in text
    assert "gpuops/py.typed" in wheel.namelist()


def test_an_unpacked_wheel_finds_its_profiles(wheel, tmp_path):
    """Away from the checkout, the shipped profiles are those of the wheel."""
    wheel.extractall(tmp_path / "site")
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from gpuops.system import profiles; "
        "path = profiles.find('cpu'); profiles.load('cpu'); print(path)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "site")],
        cwd=tmp_path,
        env={"HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert f"{tmp_path}/site/gpuops/_data/profiles/cpu.yaml" == ran.stdout.strip()
