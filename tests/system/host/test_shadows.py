"""What lies in a folder and would be imported in place of a module of Python or torch."""

from __future__ import annotations

import pytest

from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchPlan, NodePlan, Target
from gpuops.system.host import shadows


def test_files_and_packages_that_hide_a_module_are_found(tmp_path):
    """Those that Python has loaded already, folders without code and other names hide nothing."""
    for name in ("socket.py", "sys.py", "train.py", "json.txt"):
        (tmp_path / name).touch()
    for name in ("torch", "queue"):
        (tmp_path / name).mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise SystemExit('imported')")

    assert {
        "socket": str(tmp_path / "socket.py"),
        "torch": str(tmp_path / "torch" / "__init__.py"),
    } == shadows.find(str(tmp_path))
    assert {} == shadows.find(str(tmp_path / "none"))


@pytest.fixture(name="plan")
def _plan(tmp_path):
    """A plan of a target that is started in ``work``."""
    (tmp_path / "work").mkdir()
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "train.py").touch()
    (tmp_path / "work" / "train.py").symlink_to(tmp_path / "real" / "train.py")

    def plan(kind, entry, *, machine_only=False, **environment):
        return LaunchPlan(
            run_id="r",
            run_dir="/runs/r",
            target=Target(kind=kind, name="train", entry=entry),
            options=LaunchOptions(machine_only=machine_only),
            python="python",
            working_dir=str(tmp_path / "work"),
            profile="cpu",
            device="cpu",
            nodes=(NodePlan(host="here", ranks=(0,)),),
            ranks_wanted=1,
            master_port=29501,
            profile_environment=environment,
            stop_save_s=1.0,
            stop_terminate_s=1.0,
        )

    return plan


@pytest.mark.parametrize(
    ("kind", "entry", "python", "name"),
    [
        (
            "script",
            "train.py",
            "3.11.7",
            "real",
        ),  # the folder that a link points to, as Python does
        ("script", "../real", "3.10.1", "real"),  # a folder with a __main__.py
        ("module", "my.train", "3.13.0rc1", "work"),
        ("trainer", "trainers.rvq.train", "3.11.7", None),
        ("trainer", "trainers.rvq.train", "3.10.1", "work"),
        ("script", "train.py", None, None),
    ],
)
def test_the_ranks_import_from_one_folder_first(
    plan, tmp_path, monkeypatch, kind, entry, python, name
):
    """As plain torchrun lets them; trainers need none, from Python 3.11 on."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    first = shadows.first_folder(plan(kind, entry), python)

    assert (str(tmp_path / name) if name else None) == first


def test_there_is_no_such_folder_if_a_variable_says_so(plan, monkeypatch):
    """Of the profile or of the shell; and none if there is no script."""
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)
    safe = plan("script", "train.py", PYTHONSAFEPATH="1")

    assert shadows.first_folder(safe, "3.11.7") is None
    assert shadows.first_folder(safe, "3.10.1") is not None
    assert shadows.first_folder(plan("script", "train.py", machine_only=True), "3.11.7") is None
    monkeypatch.setenv("PYTHONSAFEPATH", "1")
    assert shadows.first_folder(plan("script", "train.py"), "3.11.7") is None
