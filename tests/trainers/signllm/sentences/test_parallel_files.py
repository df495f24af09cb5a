"""Parallel text files of ProgressiveTransformers."""

from __future__ import annotations

import numpy as np
import pytest
from sign_data import NAMES, TEXTS, poses, skels_line, write_parallel

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.signllm.sentences.parallel_files import open_part, split_names


def test_a_line_is_a_sentence(tmp_path):
    """Text, gloss, name and poses are those of the same line; the counter is no pose."""
    write_parallel(tmp_path, "dev")

    part = open_part(tmp_path, "dev", "DGS")

    assert split_names(tmp_path) == ("dev",)
    assert [one.name for one in part.sentences] == list(NAMES)
    assert [one.text for one in part.sentences] == list(TEXTS)
    assert part.sentences[2].gloss == ("PARIS", "REGEN")
    assert [one.frames for one in part.sentences] == [4, 5, 6]
    assert part.places[1] == f"{tmp_path / 'dev.skels'} line 2"
    np.testing.assert_allclose(part.read(1), poses(5, 5), atol=1e-5)
    assert (part.unusable, part.incomplete, part.notes) == ({}, {}, ())


def test_files_without_a_counter_are_read_and_named(tmp_path):
    """150 values a frame, as most lines divide; a note says so."""
    write_parallel(tmp_path, "dev", counter=False)

    part = open_part(tmp_path, "dev", "DGS")

    np.testing.assert_allclose(part.read(2), poses(6, 6), atol=1e-5)
    assert "has no counter" in part.notes[0]


@pytest.mark.parametrize("counter", [True, False])
def test_a_line_that_both_widths_divide(tmp_path, counter):
    """150 frames of 151 are 151 of 150: the values of the counter decide."""
    write_parallel(tmp_path, "dev", frames=(150 if counter else 151,) * 3, counter=counter)

    part = open_part(tmp_path, "dev", "DGS")

    assert [one.frames for one in part.sentences] == [150 if counter else 151] * 3


def test_gloss_and_names_may_be_absent(tmp_path):
    """Then lines are named by number, and no gloss is known; an empty line has none either."""
    write_parallel(tmp_path, "dev")
    (tmp_path / "dev.files").unlink()
    (tmp_path / "dev.gloss").write_text("WEATHER\n\nPARIS\n")

    part = open_part(tmp_path, "dev", "DGS")

    assert [one.name for one in part.sentences] == ["000001", "000002", "000003"]
    assert [one.gloss for one in part.sentences] == [("WEATHER",), None, ("PARIS",)]


def test_other_spacing_and_line_ends(tmp_path):
    """Tabs, double spaces, CR LF, a byte order mark, no line feed at the end."""
    write_parallel(tmp_path, "dev")
    for kind, of in {"text": "\ufeff", "skels": ""}.items():
        path = tmp_path / f"dev.{kind}"
        text = of + path.read_text().rstrip("\n").replace("\n", " \r\n").replace(" 0.", "  0.", 3)
        path.write_bytes(text.encode())

    part = open_part(tmp_path, "dev", "DGS")

    assert part.sentences[0].text == TEXTS[0]
    assert [one.frames for one in part.sentences] == [4, 5, 6]


@pytest.mark.parametrize(
    ("kind", "line", "content", "place", "why"),
    [
        ("text", 2, b" ", "dev.text line 2", "the text is empty"),
        ("text", 3, b"sch\xf6n", "dev.text line 3", "not UTF-8: byte 0xf6 in place 3"),
        ("gloss", 1, b"\xff", "dev.gloss line 1", "not UTF-8"),
        ("skels", 1, b"", "dev.skels line 1", "it has 0 frames"),
        ("skels", 2, b"0.1 " * 384, "dev.skels line 2", "384 numbers, which do not make frames"),
    ],
)
def test_a_bad_line_is_named(tmp_path, kind, line, content, place, why):
    """The others stay usable."""
    write_parallel(tmp_path, "dev")
    path = tmp_path / f"dev.{kind}"
    lines = path.read_bytes().split(b"\n")
    lines[line - 1] = content
    path.write_bytes(b"\n".join(lines))

    part = open_part(tmp_path, "dev", "DGS")

    assert list(part.unusable) == [f"{tmp_path}/{place}"]
    assert why in part.unusable[f"{tmp_path}/{place}"]
    assert len(part.sentences) == (3 if kind == "gloss" else 2)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.concatenate([poses(3), [[0.0], [0.5], [1.4]]], axis=1), "counter of frame 2 is 1.4"),
        (np.concatenate([poses(3), [[0.0], [np.nan], [1.0]]], axis=1), "counter of frame 1 is nan"),
    ],
)
def test_a_counter_out_of_range(tmp_path, values, why):
    """It is found when the sentence is read."""
    write_parallel(tmp_path, "dev")
    lines = (tmp_path / "dev.skels").read_text().split("\n")
    lines[1] = skels_line(values, counter=False)
    (tmp_path / "dev.skels").write_text("\n".join(lines))
    part = open_part(tmp_path, "dev", "DGS")

    with pytest.raises(UnusableError, match=why):
        part.read(1)
    part.read(0)


def test_what_is_not_a_number(tmp_path):
    """A word among the numbers, and a file that has become shorter since."""
    write_parallel(tmp_path, "dev")
    path = tmp_path / "dev.skels"
    path.write_text("ten" + path.read_text()[3:])
    part = open_part(tmp_path, "dev", "DGS")

    with pytest.raises(UnusableError, match="not a number"):
        part.read(0)
    path.write_text("0.1 0.2")
    with pytest.raises(UnusableError, match="has changed since"):
        part.read(2)


def test_files_that_do_not_match(tmp_path):
    """Both files are named, with the first line that lacks its counterpart."""
    write_parallel(tmp_path, "dev")
    (tmp_path / "dev.gloss").write_text("A\nB\n")
    with pytest.raises(TrainerError, match=r"dev\.gloss has 2 lines, dev\.skels has 3") as caught:
        open_part(tmp_path, "dev", "DGS")
    assert "line 3 is the first" in caught.value.hint
    (tmp_path / "dev.text").unlink()
    with pytest.raises(TrainerError, match=r"has dev\.skels but no dev\.text"):
        open_part(tmp_path, "dev", "DGS")
