"""What people type once a run is there: generate, visualize, the guide's predict, estimate."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from trainers.engine.config.config import resolve
from trainers.engine.errors import ConfigError, TrainerError
from trainers.engine.memory.rehearsal import Question
from trainers.layout import evaluate, generate, train, visualize
from trainers.layout.config import PRESETS, Config
from trainers.layout.estimate import estimate
from trainers.layout.layouts.synthetic import main as write_posters
from trainers.layout.model.denoiser import Denoiser

pytest.importorskip("diffusers")
SMALL = """
    --preset demo --max-samples 6 --width 16 --heads 2 --layers 1 --batch-size 4 --visual-iter 1
    --visual-dim 8 --image-size 16 --num-inference-steps 2 --total-iter 2 --eval-iter 2
    --save-iter 2 --num-train-timesteps 999
"""


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A run that has learned nothing to speak of."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert train.main([*SMALL.split(), "--out-dir", str(folder), "--sample-iter", "2"]) == 0
    return folder


def predicted(folder):
    return json.loads((folder / "prediction.json").read_text())


def test_posters_are_placed(run, tmp_path, capsys):
    """In the schema of the guide, with a picture each; the same again by one seed."""
    flags = ["--checkpoint", str(run), "--num-samples", "3", "--out"]
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        assert generate.main([*flags, str(tmp_path / name / "prediction.json")]) == 0
    (tmp_path / "three").mkdir()
    generate.main([*flags, str(tmp_path / "three" / "prediction.json"), "--seed", "5"])
    found = predicted(tmp_path / "one")

    assert "3 posters" in capsys.readouterr().out
    assert found == predicted(tmp_path / "two")
    assert found != predicted(tmp_path / "three")
    for poster in found:
        wide, high = poster["canvas_size"]["width"], poster["canvas_size"]["height"]
        boxes = [element["bounding_box"] for element in poster["elements"]]
        assert all(0 <= box["x"] <= box["x"] + box["width"] <= wide for box in boxes)
        assert all(0 <= box["y"] <= box["y"] + box["height"] <= high for box in boxes)
        orders = [element["layer_order"] for element in poster["elements"]]
        assert sorted(orders) == list(range(poster["total_elements"]))
        name = poster["prediction_info"]["poster_name"]
        with Image.open(tmp_path / "one" / "prediction" / f"{name}.png") as picture:
            assert picture.width / picture.height == pytest.approx(wide / high, rel=0.02)
    assert (tmp_path / "one" / "prediction" / "sheet.png").is_file()
    assert list((run / "samples").iterdir())


def test_sizes_given_and_layouts_refined(run, tmp_path):
    """Known sizes come out as they went in; without noise a layout stays."""
    data = tmp_path / "posters"
    write_posters(["--out", str(data), "--posters", "4"])
    flags = ["--checkpoint", str(run), "--data", str(data)]
    out = str(tmp_path / "prediction.json")
    generate.main([*flags, "--out", out, "--given", "size"])
    (about,) = {one["prediction_info"]["given"] for one in predicted(tmp_path)}

    true = {
        path.parent.parent.name: {
            (layer["w"], layer["h"]) for layer in json.loads(path.read_text())["layers"]
        }
        for path in data.glob("**/*_parse_data.json")
    }
    assert about == "size"
    assert len(true) == len(predicted(tmp_path)) == 4
    for one in predicted(tmp_path):
        boxes = [element["bounding_box"] for element in one["elements"]]
        sizes = {(box["width"], box["height"]) for box in boxes}
        assert sizes == true[one["prediction_info"]["poster_name"]]


def test_the_guides_predict(run, tmp_path, monkeypatch, capsys):
    """Its own words, from the folder that holds checkpoints/."""
    monkeypatch.chdir(run)
    words = f"--config config.json --mode predict --checkpoint checkpoints/best_model.pth \
        --num_samples 2 --output_dir {tmp_path}"
    assert train.main(words.split()) == 0

    assert len(predicted(tmp_path)) == 2
    assert "2 posters" in capsys.readouterr().out
    with pytest.raises(ConfigError, match="needs a checkpoint"):
        train.main(["--mode=predict"])
    (tmp_path / "config.yaml").write_text("mode: predict")
    with pytest.raises(ConfigError, match="a file cannot give mode predict"):
        train.main(["--config", str(tmp_path / "config.yaml")])


def test_a_run_goes_on_with_other_posters(run, tmp_path, capsys):
    """It says so, and sees the images of those."""
    folder = shutil.copytree(run, tmp_path / "run", symlinks=True)
    words = f"--max-samples 5 --total-iter 3 --eval-iter 9 --resume auto --out-dir {folder}"
    assert train.main([*SMALL.split(), *words.split()]) == 0

    said = capsys.readouterr().out
    assert "synthetic has changed since this run began: 6 posters of" in said
    assert "only in the cache: poster_" in said


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ("--out prediction.txt", "not a .json file"),
        ("--out p.json --steps 0", "--steps cannot be 0"),
        ("--out p.json --steps 1000", "--steps is 1,000, and the noise has 999 timesteps"),
        ("--out p.json --refine 1.5", "--refine cannot be 1.5"),
        ("--out p.json --num-samples 0", "--num-samples cannot be 0"),
        ("--out p.json --data nowhere", "there is no data set at nowhere"),
        ("--out p.json --split test", "has no split test"),
    ],
)
def test_what_cannot_be_is_a_sentence(run, tmp_path, monkeypatch, flags, words):
    """And nothing is written."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(TrainerError, match=words):
        generate.main(["--checkpoint", str(run), *flags.split()])
    assert not list(tmp_path.iterdir())


def test_a_folder_of_something_else_stays(run, tmp_path):
    """Pictures replace pictures alone."""
    folder = tmp_path / "prediction"
    folder.mkdir()
    (folder / "thesis.tex").write_text("mine")
    (folder / "sheet.png").write_text("mine too")
    with pytest.raises(TrainerError, match="prediction holds more than pictures"):
        generate.main(["--checkpoint", str(run), "--out", str(tmp_path / "prediction.json")])

    assert list(tmp_path.iterdir()) == [folder]
    assert (folder / "thesis.tex").read_text() == "mine"


def test_posters_are_drawn(run, tmp_path, capsys):
    """Of a data set, and of a run beside the real ones."""
    for number, flags in enumerate((["--data", "synthetic"], ["--checkpoint", str(run)])):
        path = tmp_path / f"{number}.png"
        assert visualize.main([*flags, "--count", "2", "--out", str(path)]) == 0
        with Image.open(path) as picture:
            assert len(np.unique(np.asarray(picture))) > 10
    with pytest.raises(TrainerError, match="no poster nobody"):
        visualize.main(["--data", "synthetic", "--poster", "nobody", "--out", str(path)])
    assert "pictures" in capsys.readouterr().out


def test_an_evaluation_names_what_it_is_beside(run, capsys):
    """The truth, answers without a model, and the images of other elements."""
    evaluate.main(["--checkpoint", str(run), "--json"])
    found = json.loads(capsys.readouterr().out.splitlines()[-1])

    assert found["beside"].keys() == {
        "truth",
        "nearest training poster",
        "mean box of the category",
        "random box of the category",
        "images of other elements",
    }
    assert found["beside"]["truth"]["miou"] == pytest.approx(1)
    assert 0 <= found["miou"] < 0.9
    assert json.loads((run / "evaluation.json").read_text())["step"] == 2


def test_the_models_of_the_guide_have_its_size():
    """2.2 billion parameters, with images of 1280 features."""
    config = resolve(Config, ["--preset", "h20"], name="layout", presets=PRESETS)
    with torch.device("meta"):
        model = Denoiser(config.model, 0, 1280)

    assert sum(p.numel() for p in model.parameters()) == pytest.approx(2.19e9, rel=0.02)


def test_memory_is_estimated():
    """Of the built-in posters, by their images, on a GPU."""
    config = resolve(Config, ["--width", "64", "--layers", "2"], name="layout", presets=PRESETS)
    found = estimate(config, Question(one_size=True))

    assert "32 posters of 8 elements" in json.dumps(found)
