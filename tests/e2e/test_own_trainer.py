"""The trainer of docs/trainers.md, added from outside: no file of gpuops knows it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "trainers.md").read_text()


@pytest.fixture(name="gpuops")
def _gpuops(tmp_path, own_port, gpuops):  # noqa: ARG001 - it is found as ./profiles/cpu.yaml
    """Install the package of the page, write some texts, and run gpuops beside them."""
    packages = tmp_path / "packages"
    info = packages / "pairs-1.dist-info"
    info.mkdir(parents=True)
    (packages / "pairs").mkdir()
    for name, text in re.findall(r"```\w+\n# (pairs/\S+)\n(.*?)```", PAGE, re.DOTALL):
        (packages / name).write_text(text)
    (entry,) = re.findall(r'\[project\.entry-points."gpuops\.trainers"\]\n *(.*)', PAGE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: pairs\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[gpuops.trainers]\n{entry.replace(chr(34), '')}\n")
    texts = tmp_path / "texts"
    texts.mkdir()
    for split, count in (("train", 3), ("dev", 2)):
        (texts / f"{split}.text").write_text("good day\n" * count)
        (texts / f"{split}.gloss").write_text("GOOD DAY\n" * count)

    def run(*words):
        ran = gpuops(*words, PYTHONPATH=str(packages))
        assert "Traceback" not in ran.stderr
        return ran

    return run


def launch(gpuops, python, *words):
    """Launch it under the stand-in of torchrun."""
    return gpuops("launch", "pairs", "-p", "cpu", "--python", python, "--data", "texts", *words)


def test_it_is_launched_and_its_verb_uses_the_run(gpuops, quick_python, tmp_path):
    """By another interpreter, which is told where the package lies."""
    checked = gpuops("preflight", "pairs", "-p", "cpu", "--python", quick_python, "--data=texts")
    assert "texts: 3 train, 2 dev" in " ".join(checked.stdout.split()), checked.stderr
    launched = launch(gpuops, quick_python)
    assert 0 == launched.returncode, launched.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert {"good": "GOOD", "day": "DAY"} == json.loads((run / "dictionary.json").read_text())

    translated = gpuops("translate", "last", "--text", "day good night")
    assert "DAY GOOD ?\n" == translated.stdout
    assert "two\nwords\n" == gpuops("cut", "two words").stdout


def test_it_is_listed_and_helped_like_the_others(gpuops):
    """Its verbs, their help, and what a misspelled one may mean."""
    shown = gpuops("trainers", "list").stdout
    assert re.search(r"^translate +run +turn a text into glosses +pairs", shown, re.MULTILINE)
    shown = gpuops("translate", "--help").stdout
    assert shown.startswith("Usage: gpuops translate RUN ")
    assert "--text TEXT" in shown
    assert "did you mean translate?" in gpuops("transalte", "last").stderr


def test_its_data_is_counted_by_itself(gpuops):
    """Parallel text files, of which gpuops knows nothing."""
    counted = gpuops("data", "count", "texts", "--trainer", "pairs", "--json")
    assert {"train": 3, "dev": 2} == json.loads(counted.stdout)["samples"]
    unsaid = gpuops("data", "count", "texts").stderr
    assert "several trainers count data sets: layout, pairs, rvq, signllm" in unsaid
    assert "--trainer" in unsaid
    gone = gpuops("data", "count", "gone", "--trainer", "pairs")
    assert 1 == gone.returncode
    assert "error: there is no data set at gone" in gone.stderr


def test_a_launch_stops_at_data_that_is_not_there(gpuops, quick_python, tmp_path):
    """An empty split is an error, a broken sample a warning."""
    (tmp_path / "texts" / "train.gloss").write_text("GOOD DAY\n")
    broken = launch(gpuops, quick_python, "--dry-run")
    assert 0 == broken.returncode
    assert "unreadable: train: 3 lines of text, 1 of gloss" in broken.stderr

    (tmp_path / "texts" / "dev.text").write_text("")
    empty = launch(gpuops, quick_python)
    assert 1 == empty.returncode
    said = " ".join(empty.stderr.split())
    assert "texts has no samples in its dev split" in said
    assert "The layout: <root>/{train,dev}.{text,gloss}" in said
    assert not (tmp_path / "runs").exists()
