"""`gpuops encode`, `decode`, `reconstruct`, `describe`, `evaluate`, typed where one stands."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

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


@pytest.fixture(name="here", scope="module")
def _here(tmp_path_factory):
    """A folder whose runs/ holds a trained run; its data set was named from there."""
    folder = tmp_path_factory.mktemp("here")
    command(folder, "trainers.rvq.synthetic", "--out", "made")
    planned = command(
        folder, "gpuops", "plan", "rvq", "-p", "cpu", *TINY, "--force", "port", "--json"
    )
    plan = json.loads(planned.stdout)["plan"]
    run = folder / "runs" / plan["run_id"]
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps(plan))
    trained = command(folder, "trainers.rvq.train", *TINY, "--out-dir", run)
    assert trained.returncode == 0, trained.stderr
    return folder


@pytest.fixture(name="run")
def _run(here):
    (run,) = (here / "runs").iterdir()
    return run


def test_codes_and_back_from_another_folder(run, tmp_path):
    """What is written is written where one stands; the run's data is found where it was."""
    coded = command(tmp_path, "gpuops", "encode", run, "--out", "codes.npz", "--split", "train")
    assert coded.returncode == 0, coded.stderr
    assert "4 clips of made/train" in coded.stdout
    back = command(tmp_path, "gpuops", "decode", run, "codes.npz", "--out", "back")
    assert back.returncode == 0, back.stderr
    with np.load(tmp_path / "codes.npz") as file:
        lengths = dict(zip(file["names"].tolist(), file["lengths"].tolist(), strict=True))
    for name, length in lengths.items():
        assert np.load(tmp_path / "back" / "train" / name / "pose.npy").shape == (length, 156)
    # A data set named now is named from here.
    (tmp_path / "back" / "train").rename(tmp_path / "back" / "val")
    again = command(tmp_path, "gpuops", "encode", run, "--data", "back", "--out", "again.npz")
    assert again.returncode == 0, again.stderr
    assert f"4 clips of {tmp_path}/back/val" in again.stdout


def test_a_picture_of_two_clips(here):
    """`last` is the run; clips by name, each told with its error."""
    (first, second, *_) = sorted(path.name for path in (here / "made" / "val").iterdir())
    words = ("reconstruct", "last", "--clip", second, "--clip", first, "--out", "a.png")
    answer = command(here, "gpuops", *words)

    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.count("MPJPE") == 2
    assert (here / "a.png").read_bytes().startswith(b"\x89PNG")


def test_a_description_of_a_run_and_of_flags(here):
    """By the run's own settings, or by those that are typed; built-in data by its name."""
    told = json.loads(command(here, "gpuops", "describe", "last", "--json").stdout)
    typed = command(here, "gpuops", "describe", "--preset", "demo", "--json")
    evaluated = command(here, "gpuops", "evaluate", "last", "--data", "synthetic", "--json")

    assert told["bits_per_token"] == 8
    assert json.loads(typed.stdout)["bits_per_token"] == 48
    assert json.loads(evaluated.stdout)["data"] == "synthetic/val"


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("encode", "gone", "--out", "x.npz"), 2, "there is no run 'gone'"),
        (("encode", "last"), 2, "Missing option '--out'"),
        (("decode", "last", "gone.npz", "--out", "x"), 1, "there is no file"),
        (("describe", "last", "--width", "3"), 2, "settings of its own"),
        (("describe", "--trainer", "rvqq"), 2, "did you mean rvq?"),
    ],
)
def test_mistakes_become_a_sentence(here, words, code, sentence):
    """And an exit code; nothing is left behind."""
    before = sorted(here.iterdir())
    answer = command(here, "gpuops", *words)

    assert answer.returncode == code, answer.stderr
    assert sentence in " ".join(answer.stderr.split())
    assert sorted(here.iterdir()) == before


def test_a_script_has_no_verbs(here, tmp_path):
    """Only trainers know how."""
    (plan_file,) = here.glob("runs/*/plan.json")
    plan = json.loads(plan_file.read_text())
    plan["target"] |= {"kind": "script", "name": "mine"}
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "plan.json").write_text(json.dumps(plan))
    answer = command(tmp_path, "gpuops", "encode", "mine", "--out", "x.npz")

    assert answer.returncode == 2
    assert "of the script mine, not of a trainer" in answer.stderr
