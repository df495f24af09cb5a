"""Which trainer's data set a folder is, without a word from its user."""

from __future__ import annotations

import json

import pytest

from gpuops.cli import verbs
from gpuops.errors import UsageError
from gpuops.system.trainers import manifests

CLIP, SENTENCE, LINES = "train/a/pose.npy", "ASL/dev/a/text.txt", "train.skels"


@pytest.fixture(name="told")
def _told(tmp_path):
    """The trainer that is told by some files."""

    def told(*paths, **imported):
        for path in paths:
            (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / path).touch()
        if imported:
            (tmp_path / "import.json").write_text(json.dumps(imported))
        return manifests.choose(None, "count", lambda one: one.data, data=tmp_path)[0].name

    return told


@pytest.mark.parametrize(
    ("path", "trainer"),
    [
        (CLIP, "rvq"),
        ("dev/a/pose.npy", "rvq"),
        (SENTENCE, "signllm"),
        (LINES, "signllm"),
        ("ASL/dev.skels", "signllm"),
        ("poster1/json/1_parse_data.json", "layout"),
        ("val/poster1/json/1_parse_data.json", "layout"),
    ],
)
def test_a_layout_of_one_trainer_is_told(told, path, trainer):
    """By its first files."""
    assert told(path) == trainer


@pytest.mark.parametrize("trainer", ["rvq", "signllm"])
def test_an_import_says_for_whom_it_was_made(told, trainer):
    """Whatever the files look like."""
    assert told(CLIP, LINES, trainer=trainer) == trainer


@pytest.mark.parametrize(
    ("paths", "imported"),
    [
        ([], {}),
        (["x/y/z"], {}),
        ([CLIP, LINES], {}),
        ([], {"trainer": "gone"}),
        ([], {"trainer": 1}),
    ],
)
def test_what_does_not_tell_asks_for_the_flag(told, paths, imported):
    """All trainers are named."""
    with pytest.raises(UsageError, match=r"several trainers count: .*rvq, signllm") as asked:
        told(*paths, **imported)
    assert asked.value.hint.startswith("Say which one, with `--trainer ")


def test_a_verb_of_data_sets_is_told_too(told, tmp_path, monkeypatch):
    """Several trainers draw theirs."""
    handed = []
    monkeypatch.setattr(verbs, "_hand_over", lambda manifest, *_: handed.append(manifest.name))
    told(LINES)
    verbs._perform("visualize", [str(tmp_path)], trainer=None, python=None, runs_dir=tmp_path)

    assert handed == ["signllm"]


def test_of_a_folder_of_millions_only_the_first_entries_are_looked_at(told, tmp_path, monkeypatch):
    """What they do not tell, the user does."""
    monkeypatch.setattr("gpuops.system.trainers.layouts.FIRST", 3)
    for number in range(9):
        (tmp_path / "train" / str(number)).mkdir(parents=True)

    with pytest.raises(UsageError, match="several trainers"):
        told()
