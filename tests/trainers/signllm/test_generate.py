"""`generate` and `visualize`: texts and sentences as a user types them."""

from __future__ import annotations

import io
import json

import numpy as np
import pytest
import torch
from PIL import Image
from signers import corpus, untrained, untrained_run, write_data

from trainers.engine.errors import ConfigError, TrainerError
from trainers.signllm import generate, visualize
from trainers.signllm.samples import draw_samples
from trainers.signllm.signed import sign


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A run of two languages; its data set lies beside it."""
    folder = tmp_path_factory.mktemp("signllm")
    data = {"data": str(write_data(folder / "data")), "val_split": "dev"}
    return untrained_run(folder / "run", dataset=data)


def answered(run, capsys, *flags):
    """What --json prints."""
    assert generate.main(["--checkpoint", str(run), *flags, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def signed_by(model, data, *wanted, **given):
    named = {"vocabulary": data.vocabulary, "tokenize": data.tokenize, "fps": 25.0}
    return sign(model, wanted, **named, **given)


@pytest.mark.parametrize("mode", ["mlsf", "prompt2langgloss"])
@pytest.mark.parametrize("decoding", ["parallel", "autoregressive"])
def test_a_text_is_signed_the_same_alone_and_among_others(mode, decoding):
    """Its length is its own, and its poses are in the units of the data."""
    model, data = untrained(model={"mode": mode, "decoding": decoding})
    texts = [("hi", "ASL"), ("a longer sentence", "DGS"), ("你好", "ASL")]
    together = signed_by(model, data, *texts)
    for text, found in zip(texts, together, strict=True):
        (alone,) = signed_by(model, data, text)
        assert alone.poses.shape == found.poses.shape
        assert np.allclose(alone.poses, found.poses, atol=1e-5)
        assert (found.text, found.language) == text
        assert found.poses.dtype == np.float32
        assert 2 <= len(found.poses) <= 60
        assert (found.gloss is not None) == (mode == "prompt2langgloss")
    given = signed_by(model, data, *texts, frames=7)
    assert [len(one.poses) for one in given] == [7, 7, 7]


def test_poses_are_in_the_units_of_the_data():
    """A model that gives zeros gives the mean pose."""
    model, data = untrained()
    torch.nn.init.zeros_(model.decoder.head.weight)
    torch.nn.init.zeros_(model.decoder.head.bias)
    (found,) = signed_by(model, data, ("hi", "ASL"))
    assert np.allclose(found.poses, model.mean.numpy(), atol=1e-6)


def test_the_language_is_the_first_unless_it_is_given(run, capsys):
    """With a note that there are others; one that the model does not know is refused."""
    found = answered(run, capsys, "--text", "hello")
    assert [one["language"] for one in found["signed"]] == ["ASL"]
    assert found["notes"] == ["signed in ASL; the model also knows DGS: see --language"]
    found = answered(run, capsys, "--text", "hello", "--language", "DGS")
    assert found["signed"][0]["language"] == "DGS"
    assert found["notes"] == []
    with pytest.raises(TrainerError, match="does not know the language LSF") as caught:
        answered(run, capsys, "--text", "hello", "--language", "LSF")
    assert caught.value.hint == "it knows ASL, DGS"


def test_a_model_of_one_language_needs_no_note(tmp_path):
    """There is nothing to choose."""
    run = untrained_run(tmp_path, corpus={"languages": ("ASL",)})
    assert generate.generate(run, ["hi"]).notes == []


def test_without_a_file_it_says_what_it_would_make(run, capsys):
    """Frames and seconds of each text, in a table."""
    assert generate.main(["--model_path", str(run), "--text", "one", "--frames", "50"]) == 0
    said = capsys.readouterr()
    assert said.out.split()[4:] == ["one", "ASL", "50", "2.0"]
    assert said.err.startswith("note: signed in ASL")


def test_glosses_are_shown_if_the_model_has_them(tmp_path, capsys):
    """In the table and as JSON."""
    run = untrained_run(tmp_path, model={"mode": "prompt2langgloss"})
    found = answered(run, capsys, "--text", "one")
    assert isinstance(found["signed"][0]["gloss"], list)
    generate.main(["--checkpoint", str(run), "--text", "one"])
    assert "gloss" in capsys.readouterr().out


def test_the_frame_rate_is_that_of_the_data(tmp_path):
    """So are seconds counted and films drawn."""
    run = untrained_run(tmp_path, corpus={"fps": 50.0})
    answer = generate.generate(run, ["hi"], seconds=0.5)
    assert len(answer.signed[0].poses) == 25
    assert answer.signed[0].seconds == 0.5


def test_texts_come_from_flags_files_and_stdin(run, tmp_path, capsys, monkeypatch):
    """A text a line; empty lines are none."""
    file = tmp_path / "texts"
    file.write_text("two\n\n  three \n")
    found = answered(run, capsys, "--text", "one", "--texts", str(file))
    assert [one["text"] for one in found["signed"]] == ["one", "two", "three"]

    class Typed(io.StringIO):
        buffer = io.BytesIO(b"from a pipe\n")

    monkeypatch.setattr("sys.stdin", Typed())
    assert answered(run, capsys)["signed"][0]["text"] == "from a pipe"


def test_a_text_that_is_too_long_is_cut_and_said(run, capsys):
    """The encoder takes 20 bytes here; exactly 20 are not too long."""
    assert len(answered(run, capsys, "--text", "x" * 20, "--language", "ASL")["notes"]) == 0
    (note,) = answered(run, capsys, "--text", "y" * 21, "--language", "ASL")["notes"]
    assert note == f"the text encoder takes 20 tokens, and the end of a text is cut: {'y' * 21}…"


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--text", ""], "a text is empty"),
        (["--text", " \n"], "a text is empty"),
        (["--texts", "/dev/null"], "there is no text to sign"),
        (["--texts", "gone"], "gone cannot be read: No such file"),
        (["--texts", "."], "cannot be read: Is a directory"),
        (["--text", "\udcff"], "is not UTF-8"),
        (["--text", "a", "--frames", "61"], "61 frames are not 2 to 60"),
        (["--text", "a", "--frames", "0"], "0 frames are not 2 to 60"),
        (["--text", "a", "--seconds", "60"], "1500 frames are not 2 to 60"),
        (["--text", "a", "--seconds", "nan"], "--seconds cannot be nan"),
        (["--text", "a", "--seconds", "inf"], "--seconds cannot be inf"),
        (["--text", "a", "--seconds", "1e308"], r"--seconds cannot be 1e\+308"),
        (["--text", "a", "--out", "hello.avi"], "has no ending that says what to write"),
    ],
)
def test_what_cannot_be_signed_is_a_sentence(run, flags, sentence):
    """Before anything is written."""
    with pytest.raises(TrainerError, match=sentence):
        generate.main(["--checkpoint", str(run), *flags])


def test_a_file_that_is_not_utf8_names_the_line(run, tmp_path):
    """Of the first byte that is none."""
    (tmp_path / "texts").write_bytes(b"good\nb\xff\n")
    with pytest.raises(TrainerError, match="texts line 2: it is not UTF-8"):
        generate.main(["--checkpoint", str(run), "--texts", str(tmp_path / "texts")])


def test_texts_are_read_as_those_of_a_data_set(tmp_path):
    """A line feed alone ends a text, and a byte order mark is none of it."""
    path = tmp_path / "texts"
    path.write_bytes("\ufeffone\u2028 more\r\n\n  two\x0bwords\n".encode())
    assert generate.read_texts(str(path)) == ["one more", "two words"]


def test_what_is_generated_is_a_data_set(run, tmp_path, capsys):
    """.skels with its text can be visualized, and trained on."""
    out = tmp_path / "made" / "dev.skels"
    found = answered(run, capsys, "--text", "one", "--text", "two", "--out", str(out))
    assert found["files"] == [str(out), str(out.with_suffix(".text"))]
    film = tmp_path / "a.png"
    visualize.main(["--data", str(out.parent), "--sentence", "2", "--out", str(film)])
    assert capsys.readouterr().out == f"{film}: two\n"


def test_of_a_run_generated_is_drawn_beside_real(run, tmp_path, capsys):
    """Sentences by name or number, of the split that it was validated on."""
    film = tmp_path / "a.gif"
    flags = ["--checkpoint", str(run), "--sentence", "3", "--out", str(film)]
    assert visualize.main([*flags, "--mode", "animation"]) == 0
    assert capsys.readouterr().out == f"{film}: sentence 1\n"  # ASL has 0 and 2, DGS has 1
    with Image.open(film) as drawn:
        assert drawn.size == (720, 486)  # two panels


def test_of_a_data_set_real_poses_are_drawn(run, tmp_path, capsys):
    """Without torch: the first sentences of the split, or of the one that is named."""
    film, data = tmp_path / "a.png", str(run.parent / "data")
    assert visualize.main(["--data", data, "--count", "9", "--out", str(film)]) == 0
    assert capsys.readouterr().out.count("sentence") == 3
    with pytest.raises(TrainerError, match="has no split test"):
        visualize.main(["--data", data, "--split", "test", "--out", str(film)])


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        (["--out", "a.gif"], "there is nothing to draw"),
        (["--data", "d", "--out", "a.npz"], "not a .gif, .mp4 or .png"),
        (["--data", "d", "--out", "a.gif", "--count", "0"], "--count cannot be 0"),
    ],
)
def test_what_cannot_be_drawn_is_a_sentence(flags, error):
    """With what would do."""
    with pytest.raises(ConfigError, match=error):
        visualize.main(flags)


def test_a_sentence_is_found_by_name_or_by_number():
    """A name that is a number is a name; the nearest one is named."""
    found = corpus()
    assert visualize.rows_of(found, ["s2", "1", "DGS/s1"], 5) == [2, 0, 1]
    assert visualize.rows_of(found, [], 2) == [0, 1]
    assert visualize.rows_of(found, [], 9) == [0, 1, 2]
    with pytest.raises(TrainerError, match=r"no sentence s7; the nearest is (ASL|DGS)/s"):
        visualize.rows_of(found, ["s7"], 1)
    with pytest.raises(TrainerError, match="has no sentence 4"):
        visualize.rows_of(found, ["4"], 1)


def test_samples_are_two_sentences_beside_the_real_ones(tmp_path, caplog):
    """And it is said where they are; of a single sentence there is one."""
    model, data = untrained(corpus((6, 5, 4)))
    caplog.set_level("INFO", logger="trainers")
    draw_samples(model, data, tmp_path / "samples" / "a.gif")
    assert f"generated beside real: {tmp_path}/samples/a.gif" in caplog.text
    assert [path.name for path in (tmp_path / "samples").iterdir()] == ["a.gif"]
    model, data = untrained(corpus((6,)))
    draw_samples(model, data, tmp_path / "b.gif")
