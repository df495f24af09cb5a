"""Verbs of trainers as a person types them: `gpuops evaluate RUN` and others."""

from __future__ import annotations

import json
import sys

import numpy as np
import pytest
from gpuops_runner import Gpuops
from typer.testing import CliRunner

from gpuops.cli import app
from gpuops.core.launch.manifest import parse
from gpuops.errors import GpuopsError
from gpuops.system.trainers import manifests, modules
from trainers.motion.clips import synthetic
from trainers.rvq import train

TINY = """
    --data made --max-samples 4 --window-size 16 --window-stride 8 --batch-size 4 --width 16
    --depth 1 --nb-code 16 --code-dim 8 --num-quantizers 2 --total-iter 2 --eval-iter 2
""".split()  # noqa: SIM905 - as a person types it


@pytest.fixture(name="planned", scope="module")
def _planned(tmp_path_factory, gpuops_server):
    """A plan's JSON, and the folder that it was made in."""
    folder = tmp_path_factory.mktemp("planned")
    forced = ("--force", "port", "--force", "data")
    plan = Gpuops(gpuops_server, folder)("plan", "rvq", "-p", "cpu", *TINY, *forced, "--json")
    return plan.stdout, str(folder)


@pytest.fixture(name="run")
def _run(tmp_path, planned):
    """A run that was planned in the folder there/, whose data set was named from it."""
    text, folder = planned
    there = tmp_path / "there"
    plan = json.loads(text.replace(folder, str(there)))["plan"]
    run = there / "runs" / plan["run_id"]
    run.mkdir(parents=True)
    (run / "plan.json").write_text(json.dumps(plan))
    return run


@pytest.fixture(name="handed")
def _handed(monkeypatch, tmp_path):
    """Type a gpuops command in here/: the module that takes over, and its words."""
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    calls = []

    def hand_over(python, module, words, *, added=None):
        calls.append((python, module, " ".join(words), added))
        return 7

    monkeypatch.setattr(modules, "hand_over", hand_over)

    def typed(*words):
        answer = CliRunner().invoke(app, list(map(str, words)))
        if isinstance(answer.exception, GpuopsError):
            raise answer.exception
        assert answer.exit_code == 7, answer.output  # the module's
        python, module, said, added = calls.pop()
        assert python == sys.executable
        of_run = said.startswith("--checkpoint ")
        assert added == ({"CUDA_VISIBLE_DEVICES": ""} if of_run else None)  # the run had no GPU
        return module, said

    return typed


def test_words_pass_as_they_are_typed(run, handed):
    """All words after the run are the trainer's; paths mean what the user typed."""
    words = ("--out", "c.npz", "--split", "train", "--data", "../other", "-n3", "-1")
    assert handed("encode", run, *words) == (
        "trainers.rvq.encode",
        f"--checkpoint {run} {' '.join(words)}",
    )
    words = ("codes.npz", "--out", "d", "--clip", "walk", "--clip", "run")
    assert handed("decode", run, *words)[1] == f"--checkpoint {run} {' '.join(words)}"
    assert handed("evaluate", run, "--json", "--", "--python", "x")[1] == (
        f"--checkpoint {run} --json --python x"
    )


@pytest.mark.parametrize("name", ["step-00000300", "best_model.pth"])
def test_a_path_in_a_run_is_a_checkpoint_of_it(run, handed, name):
    """As it was typed, for the trainer knows names of files that are not there."""
    checkpoint = run / "checkpoints" / name

    assert handed("evaluate", checkpoint, "--json")[1] == f"--checkpoint {checkpoint} --json"


def test_a_checkpoint_is_not_a_data_set_where_a_verb_takes_both(run, handed):
    """Its run decides which trainer is asked; other files in a run's folder may be data."""
    with pytest.raises(GpuopsError, match="launched trainer rvq, which cannot visualize runs"):
        handed("visualize", run / "checkpoints" / "best_model.pth")

    (run / "made").mkdir()
    (run / "made" / "dev.skels").touch()
    assert handed("visualize", run / "made") == (
        "trainers.signllm.visualize",
        f"--data {run / 'made'}",
    )


@pytest.mark.parametrize("flag", ["--model_path", "--model-path"])
def test_a_run_may_be_named_as_the_guides_do(run, handed, flag):
    """By a flag, wherever it stands."""
    file = run / "checkpoints" / "best_model.pth"

    assert handed("evaluate", flag, file)[1] == f"--checkpoint {file}"
    assert handed("evaluate", "--json", f"{flag}={file}")[1] == f"--checkpoint {file} --json"
    assert handed("encode", "--out", "c", flag, run)[1] == f"--checkpoint {run} --out c"


def test_gpuops_takes_its_own_flags_wherever_they_stand(run, handed):
    """``--python``, ``--trainer`` and ``--runs-dir``."""
    own = ("--runs-dir", run.parent, "--trainer", "rvq", "--python", sys.executable)
    assert handed("evaluate", *own, run.name[-8:], "--json")[1] == f"--checkpoint {run} --json"
    assert handed("evaluate", "last", "--json", *own)[1] == f"--checkpoint {run} --json"


def test_a_verb_of_settings_takes_flags_in_the_place_of_a_run(run, handed):
    """A first word that is not a flag is always a run."""
    describe = "trainers.rvq.describe"
    assert handed("describe", "--preset", "large") == (describe, "--preset large")
    assert handed("describe", "--width", "8", "--json") == (describe, "--width 8 --json")
    assert handed("describe") == (describe, "")
    assert handed("describe", run, "--json") == (describe, f"--checkpoint {run} --json")


def test_a_verb_of_nothing_takes_any_words(handed):
    """The trainer knows what they mean."""
    assert handed("cache", "build", "--split", "val") == ("trainers.rvq.cache", "build --split val")


@pytest.fixture(name="two")
def _two(monkeypatch):
    """Two installed trainers, which share verbs."""

    def verb(module, *of):
        return {"module": module, "of": of, "does": f"do {module}"}

    def trainer(name, **verbs):
        answers = {"config": "c", "count": f"{name}.count"}
        data = {"setting": "data_root", "about": "<root>"}
        words = {"name": name, "summary": "", "train": f"{name}.train", "answers": answers}
        return parse({**words, "data": data, "verbs": verbs}, name)

    found = [
        trainer("one", draw=verb("one.draw", "run", "data"), sing=verb("one.sing", "nothing")),
        trainer("two", draw=verb("two.draw", "data"), show=verb("two.show", "run")),
    ]
    monkeypatch.setattr(manifests, "load_all", lambda: found)
    monkeypatch.setattr(manifests, "load", {one.name: one for one in found}.__getitem__)


@pytest.mark.usefixtures("two")
def test_of_several_trainers_one_is_named(run, handed):
    """By ``--trainer``, or by the run."""
    assert handed("sing", "a", "b") == ("one.sing", "a b")
    assert handed("draw", "--trainer", "two", "set") == ("two.draw", "--data-root set")
    assert handed("draw", "--trainer", "one", "set", "-x") == ("one.draw", "--data-root set -x")
    with pytest.raises(GpuopsError, match="several trainers draw: one, two") as caught:
        handed("draw", "set")
    assert caught.value.hint == "Say which one, with `--trainer one` for example."
    plan = json.loads((run / "plan.json").read_text())
    plan["target"]["name"] = "one"
    (run / "plan.json").write_text(json.dumps(plan))
    assert handed("draw", run, "--out", "f") == ("one.draw", f"--checkpoint {run} --out f")
    with pytest.raises(GpuopsError, match="launched trainer one, which cannot show runs"):
        handed("show", run)


@pytest.mark.usefixtures("two")
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("draw", "--trainer", "two"), "say which data set to draw"),
        (("show",), "say which run to show"),
        (("shwo", "last"), "there is no command 'shwo'; did you mean show?"),
        (("data", "count", "."), "several trainers count data sets: one, two"),
        (("data", "check", "."), "none of the installed trainers can check data sets"),
        (("data", "import", "bvh", ".", "--out", "o"), "can import 'bvh'"),
        (("data", "synthetic", "--out", "o", "--trainer", "one"), "one does not make data sets"),
    ],
)
def test_a_trainer_that_cannot_is_a_sentence(handed, words, sentence):
    """Before any module is asked."""
    with pytest.raises(GpuopsError) as caught:
        handed(*words)
    assert sentence in caught.value.message


@pytest.mark.usefixtures("two")
def test_the_help_of_a_verb_of_several_trainers_names_them():
    """The flags are those of one trainer."""
    shown = CliRunner().invoke(app, ["draw", "--help"]).output
    assert "Usage: gpuops draw RUN|DATA " in shown
    assert "--trainer two --help shows them" in shown


@pytest.mark.parametrize(
    ("typed", "completed"),
    [
        ("gpuops eval", {"evaluate"}),
        ("gpuops re", {"report", "reconstruct"}),
        ("gpuops evaluate la", {"last"}),
        ("gpuops evaluate last la", set()),
        ("gpuops cache --tr", {"--trainer"}),
        ("gpuops evaluate --trainer r", {"rvq"}),
        ("gpuops data import b", {"bvh"}),
    ],
)
def test_the_shell_completes_verbs(gpuops, typed, completed):
    """Names of verbs, runs and trainers."""
    count = len(typed.split()) - 1
    shell = {"_GPUOPS_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(count)}
    ran = gpuops(**shell)
    assert set(ran.stdout.split()) == completed, ran.stderr


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("encode", "gone", "--out", "x.npz"), "there is no run 'gone'"),
        (("encode", "--split", "train", "last", "--out", "c.npz"), "--split is not a run"),
        (("reconstruct", "--seconds", "3", "last", "--out", "a.png"), "--seconds is not a run"),
        (("evaluate", "--split", "train", "last"), "--split is not a run"),
        (("data", "import", "--min-frames", "5", "seamless", "s", "--out", "o"), "--min-frames is"),
        (("data", "import", "seamless", "--min-frames", "5", "s", "--out", "o"), "--min-frames is"),
        (("describe", "--trainer", "rvqq"), "there is no trainer 'rvqq'"),
        (("describe", "gone"), "there is no run 'gone'"),
        (("evalaute", "last"), "there is no command 'evalaute'; did you mean evaluate?"),
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
    with pytest.raises(GpuopsError, match="launched the script mine, not a trainer"):
        handed("encode", run, "--out", "x.npz")


def test_codes_and_back_from_another_folder(run, tmp_path, monkeypatch, gpuops):
    """The real thing, once: a data set comes back with its clips and lengths."""
    there = run.parents[1]
    monkeypatch.chdir(there)
    synthetic.main(["--out", "made"])
    train.main([*TINY, "--out-dir", str(run)])
    coded = gpuops("encode", run, "--out", "codes.npz")
    assert coded.returncode == 0, coded.stderr
    assert f"4 clips of {there}/made/val" in coded.stdout
    back = gpuops("decode", run, "codes.npz", "--out", "back")
    assert back.returncode == 0, back.stderr

    with np.load(tmp_path / "codes.npz") as file:
        names = json.loads(file["names.json"])
        lengths = dict(zip(names, file["lengths"].tolist(), strict=True))
    for name, length in lengths.items():
        assert np.load(tmp_path / "back" / "val" / name / "pose.npy").shape == (length, 156)
