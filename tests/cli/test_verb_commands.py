"""`gpuops encode`, `decode`, `reconstruct`, `describe`, `evaluate`, typed where one stands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from gpuops.cli import app
from gpuops.errors import GpuopsError
from gpuops.system.trainers import modules

TINY = """
    --data made --max-samples 4 --window-size 16 --window-stride 8 --batch-size 4 --width 16
    --depth 1 --nb-code 16 --code-dim 8 --num-quantizers 2 --total-iter 2 --eval-iter 2
""".split()  # noqa: SIM905 - as a person types it


def command(folder, *words):
    ran = subprocess.run(
        [sys.executable, "-m", *map(str, words)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert "Traceback" not in ran.stderr
    return ran


@pytest.fixture(name="run")
def _run(tmp_path):
    """A run that was planned in the folder there/, whose data set was named from it."""
    there = tmp_path / "there"
    there.mkdir()
    words = ("gpuops", "plan", "rvq", "-p", "cpu", *TINY, "--force", "port", "--force", "data")
    plan = json.loads(command(there, *words, "--json").stdout)["plan"]
    run = there / "runs" / plan["run_id"]
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps(plan))
    return run


@pytest.fixture(name="handed")
def _handed(monkeypatch, tmp_path):
    """Type a gpuops command in here/: the module that takes over, its words and its folder."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    calls = []

    def hand_over(python, module, words, *, cwd=None, added=None):
        calls.append((python, module, " ".join(words), cwd, added))
        return 7

    monkeypatch.setattr(modules, "hand_over", hand_over)

    def typed(*words):
        answer = CliRunner().invoke(app, list(map(str, words)))
        if isinstance(answer.exception, GpuopsError):
            raise answer.exception
        assert answer.exit_code == 7, answer.output  # the module's
        python, module, said, cwd, added = calls.pop()
        assert python == sys.executable
        assert added in ({"CUDA_VISIBLE_DEVICES": ""}, None)  # the run had no GPU
        return module.removeprefix("trainers.rvq."), said.replace(str(here), "HERE"), cwd

    return typed


def test_a_verb_runs_where_the_run_was_launched_and_writes_where_one_stands(run, handed):
    """The run's data set was named from there, all that is typed now from here."""
    there = str(run.parents[1])
    assert handed("encode", run, "--out", "c.npz", "--split", "train", "--data", "other") == (
        "encode", f"--checkpoint {run} --data HERE/other --out HERE/c.npz --split train", there
    )  # fmt: skip
    assert handed("decode", run, "c.npz", "--out", "d") == (
        "decode", f"--checkpoint {run} HERE/c.npz --out HERE/d", there
    )  # fmt: skip
    words = ("--out", "a.gif", "--clip", "walk", "--clip", "run", "--seconds", "3")
    assert handed("reconstruct", run, *words) == (
        "reconstruct",
        f"--checkpoint {run} --out HERE/a.gif --clip walk --clip run --seconds 3",
        there,
    )
    assert handed("evaluate", run, "--json", "--data", "synthetic") == (
        "evaluate", f"--checkpoint {run} --data synthetic --json", there
    )  # fmt: skip
    assert handed("describe", run, "--json") == ("describe", f"--checkpoint {run} --json", there)


def test_a_model_is_described_by_flags_too(handed):
    """Without a run, what is typed are flags of training."""
    assert handed("describe", "--preset", "large") == ("describe", "--preset large", None)
    assert handed("describe", "--width", "8", "--json") == ("describe", "--width 8 --json", None)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("encode", "gone", "--out", "x.npz"), "there is no run 'gone'"),
        (("encode", "--split", "train", "last", "--out", "c.npz"), "--split is no run"),
        (("reconstruct", "--seconds", "3", "last", "--out", "a.png"), "--seconds is no run"),
        (("evaluate", "--split", "train", "last"), "--split is no run"),
        (("data", "import", "--min-frames", "5", "seamless", "s", "--out", "o"), "--min-frames is"),
        (("data", "import", "seamless", "--min-frames", "5", "s", "--out", "o"), "--min-frames is"),
        (("describe", "--trainer", "rvqq"), "there is no trainer 'rvqq'"),
    ],
)
def test_mistakes_become_a_sentence(handed, words, sentence):
    """Before any module is asked."""
    with pytest.raises(GpuopsError) as caught:
        handed(*words)
    assert sentence in caught.value.message


def test_a_script_has_no_verbs(run, handed):
    """Only trainers know how."""
    plan = json.loads((run / "plan.json").read_text())
    plan["target"] |= {"kind": "script", "name": "mine"}
    (run / "plan.json").write_text(json.dumps(plan))
    with pytest.raises(GpuopsError, match="of the script mine, not of a trainer"):
        handed("encode", run, "--out", "x.npz")


def test_codes_and_back_from_another_folder(run, tmp_path):
    """The real thing, once: a data set comes back with its clips and lengths."""
    there = run.parents[1]
    command(there, "trainers.rvq.clips.synthetic", "--out", "made")
    trained = command(there, "trainers.rvq.train", *TINY, "--out-dir", run)
    assert trained.returncode == 0, trained.stderr
    coded = command(tmp_path, "gpuops", "encode", run, "--out", "codes.npz")
    assert coded.returncode == 0, coded.stderr
    assert "4 clips of made/val" in coded.stdout
    back = command(tmp_path, "gpuops", "decode", run, "codes.npz", "--out", "back")
    assert back.returncode == 0, back.stderr

    with np.load(tmp_path / "codes.npz") as file:
        names = json.loads(file["names.json"])
        lengths = dict(zip(names, file["lengths"].tolist(), strict=True))
    for name, length in lengths.items():
        assert np.load(tmp_path / "back" / "val" / name / "pose.npy").shape == (length, 156)
