"""rvq's own check: which checkpoint is gone on from, and what the data set's skeleton is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from trainers.engine.checkpoint import files
from trainers.engine.config.config import resolve
from trainers.rvq.check import check
from trainers.rvq.config import PRESETS, Config


@pytest.fixture(name="keep")
def _keep(tmp_path):
    """Leaves the checkpoint of a step in the run's folder, whole unless told."""

    def keep(step, *, broken=False):
        folder = tmp_path / "run" / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / files.name_of(step)
        with files.appearing(target, {"step": step}) as path:
            (path / "model.safetensors").write_bytes(b"weights" * step)
        files.link("last", target)
        if broken:
            (target / "model.safetensors").write_bytes(b"weights")
        return target

    return keep


@pytest.fixture(name="found")
def _found(tmp_path):
    """What the check finds for some flags: by check, severity and sentence."""

    def found(*flags):
        argv = ["--out-dir", str(tmp_path / "run"), *map(str, flags)]
        findings = check(resolve(Config, argv, name="rvq", presets=PRESETS))
        return [(one.check, one.severity, one.summary) for one in findings]

    return found


def test_a_new_run_has_nothing_to_look_at(found):
    """Built-in data, nothing resumed: no findings."""
    assert [] == found()
    assert [] == found("--resume", "auto")


def test_a_whole_checkpoint_is_named(found, keep):
    """The newest, by its path."""
    keep(10)
    newest = keep(20)

    assert [("checkpoint", "ok", f"{newest} is whole")] == found("--resume", "auto")


def test_a_broken_one_is_passed_over_and_named(found, keep):
    """With the reason, and with the one that is used instead."""
    whole = keep(10)
    keep(20, broken=True)
    ((check_, severity, summary),) = found("--resume", "auto")

    assert ("checkpoint", "warning") == (check_, severity)
    assert f"it goes on from {whole}, which is whole; passed over: step-00000020: " in summary
    assert "model.safetensors has 7 bytes instead of 140" in summary


def test_none_whole_is_an_error(found, keep):
    """Training would stop at it; each is named."""
    keep(10, broken=True)
    keep(20, broken=True)
    ((_, severity, summary),) = found("--resume", "auto")

    assert severity == "error"
    assert "is whole: step-00000020: model" in summary
    assert "; step-00000010: model" in summary


def test_a_run_is_not_begun_over_another_one(found, keep):
    """Neither resumed nor elsewhere: what training would refuse."""
    keep(10)
    ((_, severity, summary),) = found()

    assert severity == "error"
    assert "holds the checkpoints of an earlier run" in summary


@pytest.mark.parametrize("given", ["run", "run/checkpoints", "run/checkpoints/last"])
def test_a_folder_stands_for_its_last_checkpoint(found, keep, tmp_path, given):
    """A run's, that of the checkpoints, or the link."""
    keep(10)
    newest = keep(20)

    assert [("checkpoint", "ok", f"{newest} is whole")] == found("--resume", tmp_path / given)


def test_a_folder_whose_last_is_broken_goes_on_from_the_one_before(found, keep, tmp_path):
    """As training will."""
    whole = keep(10)
    keep(20, broken=True)
    ((_, severity, summary),) = found("--resume", tmp_path / "run")

    assert severity == "warning"
    assert f"it goes on from {whole}" in summary
    assert "passed over: step-00000020" in summary


def test_a_checkpoint_that_was_meant_is_that_one(found, keep):
    """Broken newer ones do not matter to it; broken itself, it is an error."""
    whole = keep(10)
    broken = keep(20, broken=True)

    assert [("checkpoint", "ok", f"{whole} is whole")] == found("--resume", whole)
    ((_, severity, summary),) = found("--resume", broken)
    assert severity == "error"
    assert "cannot be used: model.safetensors has 7 bytes" in summary


def test_what_is_not_there_is_an_error(found, tmp_path):
    """A path typed wrongly."""
    ((_, severity, summary),) = found("--resume", tmp_path / "gone")

    assert severity == "error"
    assert "gone" in summary


def test_the_skeleton_of_a_data_set_is_read(found, tmp_path):
    """Whole or not: training with one that is broken would stop."""
    assert [] == found("--data", tmp_path)

    (tmp_path / "skeleton.json").write_text('{"joints": []}')
    ((name, severity, summary),) = found("--data", tmp_path)
    assert ("skeleton", "error") == (name, severity)
    assert f"{tmp_path}/skeleton.json does not describe a skeleton" in summary

    skeleton = {
        "joints": ["hips", "knee"], "parents": [-1, 0], "offsets": [[0, 0, 0], [0, -40, 0]],
        "fps": 30, "unit": "cm", "translation_joint": 0,
    }  # fmt: skip
    (tmp_path / "skeleton.json").write_text(json.dumps(skeleton))
    assert [("skeleton", "ok", f"{tmp_path}/skeleton.json has 2 joints")] == found(
        "--data", tmp_path
    )


def test_the_module_prints_json_without_torch(keep, tmp_path):
    """As gpuops runs it."""
    keep(10)
    code = (
        "import runpy, sys\n"
        "sys.argv = ['check', '--out-dir', 'run', '--resume', 'auto']\n"
        "try:\n    runpy.run_module('trainers.rvq.check', run_name='__main__')\n"
        "finally:\n    print('torch' in sys.modules, file=sys.stderr)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    path = str(Path("run") / "checkpoints" / "step-00000010")

    assert "False\n" == ran.stderr
    assert [
        {
            "check": "checkpoint",
            "severity": "ok",
            "summary": f"{path} is whole",
            "hint": "",
            "forcible": True,
        }
    ] == json.loads(ran.stdout)
