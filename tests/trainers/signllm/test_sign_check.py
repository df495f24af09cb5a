"""What signllm says of its data before it trains: counts, findings, and a reading of it all."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from sign_data import poses, skels_line, write_folder, write_parallel

from trainers.engine.config.config import resolve
from trainers.signllm import check_data
from trainers.signllm.check import check
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.count import main as count

OTHER = ("heavy rain", "viel Regen", "beaucoup de pluie")


@pytest.fixture(name="data")
def _data(tmp_path):
    """Two splits that share no sentence."""
    for split in ("train", "dev"):
        write_parallel(tmp_path / "data", split)
    (tmp_path / "data" / "dev.text").write_text("\n".join(OTHER))
    return tmp_path / "data"


@pytest.fixture(name="found")
def _found(data, tmp_path):
    """What the check finds for some flags: sentences by check, with their severity."""

    def found(*flags):
        argv = ["--out-dir", str(tmp_path / "run"), "--data", str(data), *flags]
        findings = check(resolve(Config, argv, name="signllm", presets=PRESETS))
        return {one.check: (one.severity, one.summary) for one in findings}

    return found


def test_sound_data(found):
    """One finding that counts."""
    assert found() == {"sentences": ("ok", "3 to train on, 3 to validate on")}


def test_training_on_what_is_validated(found):
    """As the guide's own settings do; it is said, and trained all the same."""
    severity, summary = found("--train-split", "dev")["sentences"]
    assert severity == "warning"
    assert "training and validation sentences are the same" in summary


def test_some_sentences_in_both_splits_are_named(found, data):
    """By language and name; a text that occurs again under another name is no warning."""
    both = (data / "train.text").read_text().split("\n")[:1] + list(OTHER[1:])
    (data / "dev.text").write_text("\n".join(both))
    assert found()["sentences"] == (
        "warning",
        "3 to train on, 3 to validate on; in both splits: unknown/one",
    )
    (data / "dev.files").write_text("x\ny\nz")
    severity, summary = found()["sentences"]
    assert (severity, summary[33:]) == ("ok", "of a text that is trained on: unknown/x")


def test_gloss_in_one_split_alone(found, data):
    """Said, for it is learned or measured in that one only."""
    (data / "dev.gloss").unlink()
    wanted = "split train has glosses, split dev has none"
    assert found()["gloss"] == ("warning", wanted)
    (data / "train.gloss").unlink()
    assert "gloss" not in found()
    assert "no gloss to learn from" in found("--mode", "prompt2langgloss")["gloss"][1]


def test_texts_that_are_cut(found):
    """Bytes are counted, not characters; another encoder's tokens are not known here."""
    severity, summary = found("--max-length", "16")["text"]
    assert severity == "warning"
    assert summary.startswith("texts of more than 16 bytes are cut: unknown/one, unknown/two, ")
    assert "text" not in found("--text-encoder", "a-folder", "--max-length", "17")


def test_what_training_would_stop_at(found, data):
    """A bad line, and a language that is validated on alone."""
    write_parallel(data / "a" / "DGS", "train")
    write_parallel(data / "a" / "DGS", "dev")
    write_parallel(data / "a" / "ASL", "dev")
    severity, summary = found("--data", str(data / "a"))["languages"]
    assert severity == "error"
    assert "nothing to train on in ASL" in summary
    (data / "dev.text").write_text("one\n\nthree")
    severity, summary = found()["sentences"]
    assert severity == "error"
    assert "dev.text line 2: the text is empty" in summary


def test_count(data, capsys):
    """By role, with the place of each; broken and incomplete ones by name."""
    (data / "train.text").write_text("one\n\nthree")
    count(["--data", str(data)])
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["places"]) == ({"train": 2, "val": 3}, {"val": "dev"})
    assert told["unreadable"] == [f"{data}/train.text line 2: the text is empty"]
    assert "dev.skels" in told["folders"]

    write_folder(data.parent / "b" / "ASL" / "dev" / "x", poses(3))
    folder = write_folder(data.parent / "b" / "ASL" / "dev" / "y", poses(3))
    (folder / "text.txt").unlink()
    count(["--data", str(data.parent / "b")])
    told = json.loads(capsys.readouterr().out)
    assert (told["samples"], told["incomplete"]) == ({"train": 0, "val": 1}, [str(folder)])
    count([])
    assert json.loads(capsys.readouterr().out)["samples"] == {"train": 600, "val": 60}


def test_reading_it_all(data, capsys):
    """Ranges, joints that were not seen, and nothing wrong."""
    assert check_data.main([str(data), "--language", "DGS"]) == 0
    shown = capsys.readouterr().out
    assert "DGS, train: 3 sentences, 15 frames" in shown
    assert "shoulder width 1.0" in shown
    assert "right hand     100%" in shown

    assert check_data.main([str(data), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["usable"]
    assert [part["split"] for part in told["parts"]] == ["dev", "train"]
    assert told["parts"][0]["groups"][1]["never_seen"] == []


def test_reading_finds_what_is_wrong(data, capsys):
    """With file and line; what was never seen; glosses in one split alone."""
    unseen = poses(4)
    unseen[:, 24:87] = 0
    wrong = np.concatenate([poses(3), np.full((3, 1), 2.0)], axis=1)
    nothing = np.zeros((3, 150))
    lines = [skels_line(unseen), skels_line(wrong, counter=False), skels_line(nothing)]
    (data / "dev.skels").write_text("\n".join(lines))
    (data / "dev.gloss").unlink()

    assert check_data.main([str(data)]) == 1

    shown = capsys.readouterr()
    assert f"{data}/dev.skels line 2: the counter of frame 0 is 2" in shown.out
    assert f"{data}/dev.skels line 3: no joint was seen in any frame" in shown.out
    assert "never seen: left palm, left thumb 1" in shown.out
    assert shown.err == "unknown has glosses in train, not in dev\n"
    assert check_data.main([str(data), "--split", "train"]) == 0


def test_no_module_of_these_loads_torch():
    """gpuops asks them before every launch."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'trainers.signllm.{name}')\n"
        "    if 'torch' in sys.modules: sys.exit(name)\n"
    )
    modules = ["check", "check_data", "count", "importers.skels", "importers.openpose"]
    modules += ["importers.pose", "sentences.synthetic"]
    done = subprocess.run(
        [sys.executable, "-c", code, *modules], check=False, timeout=60, capture_output=True
    )
    assert (done.returncode, done.stderr) == (0, b"")
