"""A poster's folder: what is read of it, and a sentence for all that cannot be used."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from made_posters import image, poster
from PIL import Image
from pydantic import ValidationError

from trainers.engine.check_data import UnusableError
from trainers.layout.layouts import posters
from trainers.layout.layouts.posters import read_image, read_poster, write_poster

BOX = {"x": 0, "y": 0, "w": 10, "h": 10}


def test_the_guides_folder(tmp_path):
    """Elements are sorted by layer; images are found by the last part of their path."""
    found = read_poster(poster(tmp_path / "Poster_1"), 25)

    assert (found.layout.name, found.layout.canvas) == ("Poster_1", (400, 600))
    assert found.layout.categories == ("picture", "text", "title")
    np.testing.assert_array_equal(
        found.layout.boxes, [[0, 0, 400, 300], [40, 400, 200, 100], [40, 320, 200, 60]]
    )
    assert found.layout.order.tolist() == [0, 1, 2]
    assert found.pictured == (True, True, True)
    for element, number in enumerate((0, 2, 1)):
        stored = Image.open(tmp_path / f"Poster_1/parse/{number}.png")
        np.testing.assert_array_equal(found.read(element), np.asarray(stored))
    assert (found.surplus, found.hidden, found.trimmed) == (0, 0, 0)


def test_what_is_written_is_read_as_it_was(tmp_path):
    """Boxes, categories, names, images, and elements that have none."""
    given = read_poster(poster(tmp_path / "a", canvas=[400, 600]), 25)
    images = [given.read(0), None, given.read(2)]
    write_poster(tmp_path / "b" / "a", given.layout, images)
    found = read_poster(tmp_path / "b" / "a", 25)

    np.testing.assert_array_equal(found.layout.boxes, given.layout.boxes)
    assert found.layout.categories == given.layout.categories
    assert found.layout.ids == given.layout.ids
    assert found.layout.canvas == given.layout.canvas
    assert found.pictured == (True, False, True)
    np.testing.assert_array_equal(found.read(2), images[2])


def test_the_canvas_has_a_default_and_two_spellings(tmp_path):
    """The guide's default is an A4 page at 300 dpi."""
    assert read_poster(poster(tmp_path / "a", canvas=None), 25).layout.canvas == (2480, 3508)
    assert read_poster(poster(tmp_path / "b", canvas=[500, 700]), 25).layout.canvas == (500, 700)


def test_the_elements_at_the_back_are_kept(tmp_path):
    """Of 26, the one in front is left out, and counted."""
    layers = [BOX | {"order": 30 - number} for number in range(26)]
    found = read_poster(poster(tmp_path / "a", layers), 25)

    assert (len(found.layout), found.surplus) == (25, 1)
    np.testing.assert_array_equal(
        found.read(0), np.asarray(Image.open(tmp_path / "a/parse/25.png"))
    )


def test_boxes_beyond_the_canvas(tmp_path):
    """They are cut at its edge; those that have no area on it are left out; both are counted."""
    layers = [
        {"x": -20, "y": 10, "w": 50, "h": 30},
        {"x": 390.0, "y": 590, "w": 50, "h": 30},
        {"x": 400, "y": 0, "w": 50, "h": 30},
        {"x": 10, "y": 10, "w": 0, "h": 30},
        {"x": 0, "y": 0, "w": 400.4, "h": 600},
    ]
    found = read_poster(poster(tmp_path / "a", layers), 25)

    wanted = [[0, 10, 30, 30], [390, 590, 10, 10], [0, 0, 400, 600]]
    np.testing.assert_array_equal(found.layout.boxes, wanted)
    assert (found.hidden, found.trimmed) == (2, 2)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"layers": []}, r"^it has no element$"),
        ({"layers": [BOX | {"x": 900}]}, r"^it has no element on the canvas$"),
        ({"layers": [BOX | {"w": -5}]}, r"layers\.0\.w: .* greater than or equal to 0"),
        ({"layers": [BOX, BOX | {"y": float("nan")}]}, r"layers\.1\.y: .* finite number"),
        ({"layers": [BOX | {"h": float("inf")}]}, r"layers\.0\.h: .* finite number"),
        ({"layers": [BOX | {"x": "left"}]}, r"layers\.0\.x: .* valid number"),
        ({"layers": [{"x": 1, "y": 1, "w": 4}]}, r"layers\.0\.h: Field required"),
        ({"layers": {"a": BOX}}, r"layers: .* valid list"),
        ({"layers": None}, r"layers: Field required"),
        ({"canvas_size": [0, 600]}, r"canvas_size\.0: .* greater than or equal to 1"),
        ({"canvas_size": {"width": 400}}, r"canvas_size\.1: "),
        ({"canvas_size": [400, 1e9]}, r"canvas_size\.1: .* less than or equal to 100000"),
        ({"canvas_size": "400x600"}, r"canvas_size: "),
        ({"layers": [BOX | {"src": "x/gone.png"}]}, r"it has no parse/gone\.png"),
        ({"layers": [BOX | {"src": "../.."}]}, r"it has no parse/\.\."),
    ],
)
def test_what_cannot_be_used(tmp_path, changes, sentence):
    """A sentence that names the part of the file."""
    folder = poster(tmp_path / "a", pictured=False)
    path = folder / "json" / "a_parse_data.json"
    document = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({k: v for k, v in document.items() if v is not None}))

    with pytest.raises(UnusableError, match=sentence):
        read_poster(folder, 25)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("{", r"^a_parse_data\.json is damaged: it is not JSON"),
        ("[1, 2]", r"^a_parse_data\.json: "),
        ("null", r"^a_parse_data\.json: "),
        ("[" * 100_000, r"^a_parse_data\.json is damaged"),
        (b"\xff\xfe\x00", r"^a_parse_data\.json is damaged"),
    ],
)
def test_json_of_another_kind(tmp_path, text, sentence):
    """Named, whatever it is."""
    path = poster(tmp_path / "a") / "json/a_parse_data.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(UnusableError, match=sentence):
        read_poster(tmp_path / "a", 25)


def test_a_million_wrong_layers_are_one_error():
    """Pydantic would collect them all, in gigabytes."""
    with pytest.raises(ValidationError) as refused:
        posters._Document.model_validate({"layers": [{}] * 1000})
    assert refused.value.error_count() == 4  # x, y, w and h of the first


@pytest.mark.filterwarnings("error")
def test_boxes_that_end_at_infinity(tmp_path):
    """They are cut like any other."""
    beyond = {"x": 1e308, "y": 0, "w": 1e308, "h": 10}
    wide = {"x": 5, "y": 0, "w": 1.7e308, "h": 10}
    found = read_poster(poster(tmp_path / "a", [beyond, wide]), 25)
    assert (found.hidden, found.trimmed) == (1, 1)


def test_none_or_several_json_files(tmp_path):
    """There must be one."""
    folder = poster(tmp_path / "a")
    path = folder / "json/a_parse_data.json"
    path.with_name("b_parse_data.json").write_text("{}")
    with pytest.raises(UnusableError, match=r"holds 2 files \*_parse_data\.json"):
        read_poster(folder, 25)
    path.with_name("b_parse_data.json").rename(path.with_name("._a_parse_data.json"))
    assert len(read_poster(folder, 25).layout) == 3  # what macOS puts into archives is left alone
    for one in (folder / "json").iterdir():
        one.rename(one.with_suffix(".txt"))
    with pytest.raises(UnusableError, match=r"holds no file \*_parse_data\.json"):
        read_poster(folder, 25)


def test_a_pickle_is_never_opened(tmp_path):
    """trajectories.pkl may lie there."""
    folder = poster(tmp_path / "a")
    os.mkfifo(folder / "trajectories.pkl")  # whatever opens it, waits for ever
    found = read_poster(folder, 25)
    assert found.read(0).shape == (6, 8, 4)


def test_images_of_other_kinds(tmp_path):
    """Grey, palette and JPEG are read as red, green, blue and opacity."""
    for name, mode in {"a.jpg": "RGB", "b.png": "LA"}.items():
        image(tmp_path / name, mode=mode)
        assert read_image(tmp_path / name).shape == (6, 8, 4)
    Image.new("P", (3, 2)).save(tmp_path / "c.png")
    assert read_image(tmp_path / "c.png").shape == (2, 3, 4)


def test_sixteen_bits_of_grey(tmp_path):
    """The upper eight are kept; Pillow alone would make all of it white."""
    Image.fromarray(np.array([[0, 255, 256, 0x8000, 0xFFFF]], np.uint16)).save(tmp_path / "a.png")
    found = read_image(tmp_path / "a.png")
    assert found[0].tolist() == [[grey] * 3 + [255] for grey in (0, 0, 1, 128, 255)]


def test_images_that_cannot_be_used(tmp_path, monkeypatch, recwarn):
    """A text, half an image, a pipe, nothing, and far too many pixels."""
    (tmp_path / "text.png").write_text("not an image")
    image(tmp_path / "whole.png", size=(64, 64))
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    os.mkfifo(tmp_path / "pipe.png")
    Image.new("RGB", (5, 5)).save(tmp_path / "x.tiff")
    (tmp_path / "x.tiff").rename(tmp_path / "tiff.png")
    for name, sentence in {
        "text.png": r"^text\.png is not an image \(PNG, JPEG, WEBP\)",
        "half.png": r"^half\.png cannot be read: ",
        "pipe.png": r"^pipe\.png cannot be read: ",
        "gone.png": r"^gone\.png cannot be read: No such file",
        "tiff.png": r"^tiff\.png is not an image",
    }.items():
        with pytest.raises(UnusableError, match=sentence):
            read_image(tmp_path / name)
    monkeypatch.setattr(posters, "MOST_PIXELS", 4000)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 4000)  # Pillow's own bound
    with pytest.raises(UnusableError, match=r"^whole\.png has 64 x 64 pixels, .*: 4,000 at most"):
        read_image(tmp_path / "whole.png")
    assert not recwarn.list
