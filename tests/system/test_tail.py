"""Following a file that grows."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.system.tail import Tail


@pytest.fixture(name="log")
def _log(tmp_path):
    """A log, and a way to write to it."""
    path = tmp_path / "stdout.log"

    def write(data, mode="ab"):
        with path.open(mode) as file:
            file.write(data)

    write.path = path
    return write


def test_a_file_that_is_not_there_yet_has_no_lines(log):
    """It may come later."""
    tail = Tail(log.path)
    assert [] == tail.lines()

    log(b"first\n")

    assert ["first"] == tail.lines()


def test_each_line_comes_once(log):
    """Every look shows what is new."""
    tail = Tail(log.path)
    log(b"a\nb\n")
    assert ["a", "b"] == tail.lines()
    assert [] == tail.lines()
    log(b"c\n\n")
    assert ["c", ""] == tail.lines()


def test_half_a_line_waits_for_its_end(log):
    """A line is shown when it is whole, even where a character was cut."""
    tail = Tail(log.path)
    log(b"caf\xc3")
    assert [] == tail.lines()
    log(b"\xa9\nx")
    assert ["café"] == tail.lines()


def test_a_flush_shows_an_unfinished_last_line(log):
    """A program that has ended will not finish it."""
    tail = Tail(log.path)
    log(b"a\nhalf")

    assert ["a", "half"] == tail.lines(flush=True)
    assert [] == tail.lines(flush=True)


def test_a_progress_bar_is_what_a_terminal_would_show(log):
    """Only the text after the last carriage return stays."""
    tail = Tail(log.path)
    log(b"  0%|\r 50%|##\r100%|####\r\nwindows\r\n")

    assert ["100%|####", "windows"] == tail.lines()


def test_from_the_end_only_what_is_new_is_shown(log):
    """A resumed run's old figures are not shown again."""
    log(b"old\n")
    tail = Tail(log.path, from_end=True)
    log(b"new\n")

    assert ["new"] == tail.lines()


def test_from_the_end_of_nothing_is_from_the_beginning(log):
    """What is not there yet is all new."""
    tail = Tail(log.path, from_end=True)
    log(b"new\n")

    assert ["new"] == tail.lines()


def test_a_file_cut_short_is_read_anew(log):
    """A log that was emptied and written again is not silent until it is as long as before."""
    tail = Tail(log.path)
    log(b"a long first line\nand half a")
    tail.lines()

    log(b"new\n", mode="wb")

    assert ["new"] == tail.lines()


def test_bytes_that_are_no_text_are_shown_somehow(log):
    """Garbage in a log stops no one."""
    tail = Tail(log.path)
    log(b"\xff\xfe\x00\n")

    assert 1 == len(tail.lines())


def test_a_folder_has_no_lines(tmp_path):
    """And is no error."""
    assert [] == Tail(tmp_path).lines()


@settings(max_examples=60)
@given(chunks=st.lists(st.binary(max_size=12), max_size=8))
def test_however_it_is_cut_the_lines_are_the_same(tmp_path_factory, chunks):
    """What is seen does not depend on when it was looked at."""
    path = tmp_path_factory.mktemp("tail") / "log"
    path.touch()
    tail, seen = Tail(path), []
    for chunk in chunks:
        with path.open("ab") as file:
            file.write(chunk)
        seen += tail.lines()
    seen += tail.lines(flush=True)

    assert Tail(path).lines(flush=True) == seen
