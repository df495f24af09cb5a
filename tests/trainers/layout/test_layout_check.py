"""What layout says of its data before it trains: counts, findings, and a reading of it all."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import util

import pytest
from made_posters import LAYERS, image, poster, posters

from trainers.engine.config.config import resolve
from trainers.engine.errors import TrainerError
from trainers.layout import check as module
from trainers.layout import check_data
from trainers.layout.check import check
from trainers.layout.config import PRESETS, Config
from trainers.layout.count import main as count


@pytest.fixture(name="data")
def _data(tmp_path):
    """Two splits that share no poster."""
    posters(tmp_path / "data" / "train", "a", "b", "c")
    posters(tmp_path / "data" / "dev", "d")
    return tmp_path / "data"


@pytest.fixture(name="found")
def _found(data, tmp_path):
    """What the check finds for some flags: sentences by check, with their severity."""

    def found(*flags, of=data):
        argv = ["--out-dir", str(tmp_path / "run"), "--data", str(of), *flags]
        findings = check(resolve(Config, argv, name="layout", presets=PRESETS))
        return {one.check: (one.severity, one.summary) for one in findings}

    return found


def test_sound_data(found):
    """One finding that counts."""
    assert found() == {"posters": ("ok", "3 to train on, 1 to validate on")}
    assert found(of="synthetic") == {}


def test_the_library_that_draws_is_missing(found, monkeypatch):
    """Said before anything starts, with what to type; no flag overrides it."""
    monkeypatch.setattr(module, "find_spec", lambda name: None if name == "diffusers" else name)
    severity, summary = found(of="synthetic")["diffusers"]
    assert (severity, "diffusers, which is not installed" in summary) == ("error", True)
    findings = check(Config())
    assert findings[0].hint == "pip install 'gpuops[layout]'"
    assert not findings[0].forcible


def test_a_poster_of_one_name_in_both_splits(found, data):
    """It may be remembered instead of learned."""
    posters(data / "dev", "b")
    severity, summary = found()["posters"]
    assert severity == "warning"
    assert summary.endswith("2 to validate on; posters of one name in both splits: b")


def test_what_is_left_out_or_cut(found, data):
    """As training says it, split by split."""
    poster(data / "dev" / "e", [LAYERS[1]] * 30)
    poster(data / "train" / "e", [LAYERS[1] | {"x": -9}])
    assert "more than 25 elements" in found()["posters of dev"][1]
    assert "cut at the edge of the canvas" in found()["posters of train"][1]
    assert "posters of dev" not in found("--max-elements", "30")


def test_what_training_would_stop_at(found, data):
    """A poster that cannot be used, a split that is not there, a folder of no posters."""
    posters(data / "dev", "e", layers=[])
    assert found()["posters"] == ("error", f"{data}/dev/e: it has no element")
    (data / "dev").rename(data / "other")
    assert found()["posters"] == ("error", f"{data} has no split val or dev; it has: train")


def test_elements_lack_what_is_wanted(found, data, tmp_path):
    """Images or categories, in training or in validation posters."""
    bare = [{key: value for key, value in one.items() if key != "category"} for one in LAYERS]
    posters(data / "dev", "e", layers=[LAYERS[0] | {"category": "new"}])
    assert found()["categories"][1].endswith("validation posters alone: new")
    assert "categories" not in found("--look", "images")
    for name in ("d", "e"):
        (data / "dev" / name / "parse").rename(data / f"images of {name}")
    assert "it has no parse/0.png" in found()["posters"][1]

    other = tmp_path / "other"
    posters(other / "train", "a")
    posters(other / "val", "b", pictured=False)
    assert found(of=other)["look"] == (
        "error",
        f"the elements of {other}, split val, have no images",
    )
    assert "look" not in found("--look", "categories", of=other)
    posters(other / "train", "b", layers=bare)
    plain = tmp_path / "plain"
    for split, name in {"train": "a", "val": "b"}.items():
        posters(plain / split, name, layers=bare, pictured=False)
    assert found(of=plain)["look"][1].endswith("have no images and no categories")
    assert found("--look", "both", of=plain)["look"][1].endswith("have no images and no categories")


def test_the_vision_model(found, tmp_path):
    """A folder that is there, or not."""
    (tmp_path / "clip").mkdir()
    assert found("--visual-encoder", str(tmp_path / "clip"))["visual encoder"][0] == "ok"
    severity, summary = found("--visual-encoder", "gone")["visual encoder"]
    assert (severity, summary) == (
        "error",
        "there is no folder gone with a visual encoder, and none is downloaded",
    )


def test_no_torch_and_no_diffusers_is_loaded(data):
    """Counts, checks and imports are asked where nothing is trained."""
    code = (
        "import sys; from trainers.layout import check, check_data, count\n"
        "from trainers.layout.importers import coco, rico\n"
        "from trainers.layout.layouts import synthetic\n"
        "count.main(['--data', sys.argv[1]])\n"
        "print({'torch', 'diffusers'} & set(sys.modules))"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, str(data)], capture_output=True, text=True, check=True
    )
    assert ran.stdout.endswith("set()\n")
    assert util.find_spec("diffusers")


def test_a_count(data, capsys):
    """Of usable posters by split; what is no poster and what cannot be used is named."""
    posters(data / "dev", "e", layers=[])
    (data / "train" / "notes").mkdir()
    count(["--data", str(data)])
    assert json.loads(capsys.readouterr().out) == {
        "samples": {"train": 3, "val": 1},
        "folders": ["train", "dev"],
        "incomplete": [f"{data}/train/notes"],
        "unreadable": [f"{data}/dev/e: it has no element"],
        "places": {"val": "dev"},
    }
    count(["--data", "synthetic"])
    assert json.loads(capsys.readouterr().out)["samples"] == {"train": 779, "val": 221}
    with pytest.raises(TrainerError, match="there is no data set at"):
        count(["--data", "gone"])


def test_a_count_of_posters_that_are_split_by_name(tmp_path, capsys):
    """The share is that of the flags."""
    posters(tmp_path, *(f"p{number}" for number in range(8)))
    for share, held_out in {"0.000001": 0, "0.999999": 8}.items():
        count(["--data", str(tmp_path), "--val-share", share])
        found = json.loads(capsys.readouterr().out)
        assert found["samples"] == {"train": 8 - held_out, "val": held_out}
    assert len(found["folders"]) == 8


def test_a_reading_of_all(data, capsys):
    """Elements, categories and canvases are counted; the layouts are measured."""
    assert check_data.main([str(data), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["usable"]
    train, dev = found["parts"]
    assert (train["split"], train["posters"], train["elements"]) == ("train", 3, 9)
    assert (train["with_image"], dev["lengths"]) == (9, {"3": 1})
    assert train["categories"] == {"picture": 3, "text": 3, "title": 3}
    assert train["canvases"] == {"400 x 600": 3}
    assert (train["overlap"], train["alignment"]) == (0.0, 3.512)
    check_data.main([str(data)])
    assert "train: 3 posters, 9 elements, 9 with an image" in capsys.readouterr().out


def test_a_reading_names_all_that_is_wrong(data, capsys):
    """Broken images too; the exit code says it."""
    (data / "train" / "a" / "parse" / "1.png").write_text("not an image")
    posters(data / "train", "e", layers=[])
    posters(data / "dev", "b")
    image(data / "dev" / "b" / "parse" / "1.png", size=(3, 3))
    assert check_data.main([str(data)]) == 1
    out, err = capsys.readouterr()
    assert f"{data}/train/a: 1.png is not an image (PNG, JPEG, WEBP)" in out
    assert f"{data}/train/e: it has no element" in out
    assert err == "posters of one name in train and dev: b\n"
    assert check_data.main([str(data), "--split", "dev", "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["parts"]) == 1


def test_a_reading_of_too_little(tmp_path, capsys):
    """One poster is in one split alone."""
    posters(tmp_path / "data", "a")
    assert check_data.main([str(tmp_path / "data")]) == 1
    assert "there is no poster to " in capsys.readouterr().err
    with pytest.raises(TrainerError, match="there is no data set at"):
        check_data.main([str(tmp_path / "gone")])
