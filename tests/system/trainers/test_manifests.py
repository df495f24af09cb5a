"""What the words on a command line mean, and trainers read as text."""

from __future__ import annotations

import subprocess
import sys

import pytest

from gpuops.errors import UsageError
from gpuops.system.trainers import manifests


def test_the_shipped_trainer_is_installed():
    """It is found by its entry point, and its manifest by its name."""
    assert "rvq" in manifests.names()
    assert "rvq" == manifests.load("rvq").name


def test_a_trainer_is_read_and_not_imported():
    """Looking at a trainer loads none of its code, nor torch."""
    code = (
        "import sys; from gpuops.system.trainers import manifests; manifests.load('rvq'); "
        "print([name for name in sys.modules if name.split('.')[0] in {'trainers', 'torch'}])"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert "[]" == ran.stdout.strip()


@pytest.mark.parametrize(("name", "guess"), [("rvg", "rvq"), ("RVQ ", None), ("zzz", None)])
def test_an_unknown_trainer_is_answered_with_the_nearest(name, guess):
    """And with all that there are, and the other ways to say what to run."""
    with pytest.raises(UsageError) as caught:
        manifests.target(name, None)

    assert f"there is no trainer {name!r}" in caught.value.message
    assert guess is None or f"did you mean {guess}?" in caught.value.message
    assert "rvq" in caught.value.hint
    assert "-m " in caught.value.hint


def test_a_trainers_name_is_a_trainer(tmp_path, monkeypatch):
    """Even where a folder of that name lies here."""
    (tmp_path / "rvq").mkdir()
    monkeypatch.chdir(tmp_path)

    target, manifest = manifests.target("rvq", None)

    assert ("trainer", "rvq", manifest.train) == (target.kind, target.name, target.entry)


def test_a_python_file_is_a_script(tmp_path, monkeypatch):
    """By a bare name, or by a path with any suffix."""
    monkeypatch.chdir(tmp_path)
    for name in ("train.py", "job.txt", "with space.py"):
        (tmp_path / name).touch()

    for word, name in (
        ("train.py", "train"),
        ("./job.txt", "job"),
        ("with space.py", "with space"),
    ):
        target, manifest = manifests.target(word, None)

        assert ("script", name, None) == (target.kind, target.name, manifest)
        assert (tmp_path / target.entry).is_file()


@pytest.mark.parametrize("word", ["no.py", "./no.py", "a/b", "folder.py", f"./{'a' * 300}.py"])
def test_a_script_that_is_not_there_is_refused(tmp_path, monkeypatch, word):
    """Before anything is started, by its name."""
    (tmp_path / "folder.py").mkdir()
    monkeypatch.chdir(tmp_path)

    with pytest.raises(UsageError, match="there is no script"):
        manifests.target(word, None)


def test_a_module_is_named_as_python_names_it():
    """``-m my.package.train`` is called by its last part."""
    target, manifest = manifests.target(None, "my.package.train")

    assert ("module", "train", "my.package.train", None) == (
        target.kind,
        target.name,
        target.entry,
        manifest,
    )


@pytest.mark.parametrize("module", ["", "a/b", "a..b", ".a", "a.", "-x", "a b", "../up"])
def test_what_is_no_module_name_is_refused(module):
    """A run's name is made of it, so it must not lead out of the folder."""
    with pytest.raises(UsageError, match="not the name of a module"):
        manifests.target(None, module)


@pytest.mark.parametrize("word", [None, "--lr", "-x"])
def test_nothing_to_launch_is_said(word):
    """A flag is not a program."""
    with pytest.raises(UsageError, match="say what to launch"):
        manifests.target(word, None)


@pytest.fixture(name="plug_in")
def _plug_in(tmp_path, monkeypatch):
    """Installs somebody else's trainer, as pip would."""

    def plug_in(manifest, *, package="toytrainer"):
        (tmp_path / "toytrainer").mkdir()
        (tmp_path / "toytrainer" / "__init__.py").write_text("raise SystemExit('imported')")
        if manifest is not None:
            (tmp_path / "toytrainer" / "trainer.yaml").write_text(manifest)
        info = tmp_path / "toytrainer-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toytrainer\nVersion: 1\n")
        (info / "entry_points.txt").write_text(f"[gpuops.trainers]\ntoy = {package}\n")
        monkeypatch.syspath_prepend(str(tmp_path))

    return plug_in


TOY = "name: toy\nsummary: a toy\ntrain: toytrainer.train\nanswers: {config: toytrainer.config}\n"


def test_other_peoples_trainers_plug_in(plug_in):
    """An entry point and a manifest are all it takes."""
    plug_in(TOY)

    assert {"rvq", "toy"} <= set(manifests.names())
    assert "toytrainer.train" == manifests.target("toy", None)[0].entry


@pytest.mark.parametrize(
    ("manifest", "package", "sentence"),
    [
        (None, "toytrainer", "cannot be read: No such file"),
        ("name: [", "toytrainer", "line "),
        ("name: toy\n", "toytrainer", "is not a valid trainer manifest: summary: "),
        (TOY, "gone_package", "is not where its entry point says"),
        (TOY, "__main__", "is not where its entry point says"),
        (
            TOY.replace("a toy", '"\\e[2J"'),
            "toytrainer",
            "is not a valid trainer manifest: summary: ",
        ),
    ],
)
def test_a_broken_trainer_is_a_sentence(plug_in, manifest, package, sentence):
    """Whoever installed it learns which file is wrong; the others still work."""
    plug_in(manifest, package=package)

    with pytest.raises(UsageError, match=sentence):
        manifests.load("toy")
    assert "rvq" == manifests.load("rvq").name
    assert "rvq" in [manifest.name for manifest in manifests.load_all()]
