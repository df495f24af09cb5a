"""Files are written whole or not at all."""

from __future__ import annotations

import json
import os
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops import heartbeat
from gpuops.errors import GpuopsError
from gpuops.system import files
from gpuops.system.tail import Tail


def names(folder):
    """All that lies in a folder, hidden or not."""
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_written_and_replaced(tmp_path):
    """The new text stands where the old one stood, and nothing beside it."""
    path = tmp_path / "plan.json"
    files.write_text(path, "old")
    files.write_text(path, "neu: ü\n")

    assert "neu: ü\n" == path.read_text(encoding="utf-8")
    assert ["plan.json"] == names(tmp_path)


def test_what_is_not_a_regular_file_is_not_read(tmp_path):
    """A FIFO without a writer would wait for ever, and a device has no end."""
    fifo, endless = tmp_path / "fifo", tmp_path / "endless"
    os.mkfifo(fifo)
    endless.symlink_to("/dev/zero")

    for path in (fifo, endless, tmp_path, tmp_path / "missing"):
        assert files.read_json(path) is None
        assert [] == files.read_json_lines(path)
        assert "" == files.tail(path)
        assert [] == Tail(path).lines()
        assert heartbeat.read(path) is None


def test_a_failing_write_leaves_the_old_file(tmp_path):
    """What cannot be written changes nothing, and leaves no temporary file."""
    path = tmp_path / "plan.json"
    files.write_text(path, "old")

    with pytest.raises(TypeError):
        files.write_bytes(path, "no bytes")

    assert "old" == path.read_text()
    assert ["plan.json"] == names(tmp_path)


def test_a_value_that_is_no_json_leaves_the_old_file(tmp_path):
    """A mistake in the program is no half-written file either."""
    path = tmp_path / "plan.json"
    files.write_json(path, {"a": 1})

    with pytest.raises(TypeError):
        files.write_json(path, {"a": object()})

    assert {"a": 1} == files.read_json(path)
    assert ["plan.json"] == names(tmp_path)


def test_a_folder_in_the_files_place_is_a_sentence(tmp_path):
    """The error names the file and what to do, and no temporary file stays."""
    (tmp_path / "plan.json").mkdir()

    with pytest.raises(
        GpuopsError, match=r"plan\.json cannot be written: Is a directory"
    ) as caught:
        files.write_text(tmp_path / "plan.json", "new")

    assert caught.value.hint
    assert ["plan.json"] == names(tmp_path)


@pytest.mark.parametrize("parts", [("nowhere", "x"), ("file", "x"), ("n" * 300,)])
def test_a_place_that_cannot_be_written_is_a_sentence(tmp_path, parts):
    """A missing folder, a file for a folder, a name too long."""
    (tmp_path / "file").touch()

    with pytest.raises(GpuopsError, match="cannot be written"):
        files.write_text(tmp_path.joinpath(*parts), "new")

    assert ["file"] == names(tmp_path)


def test_a_reader_never_sees_half_a_file(tmp_path):
    """While a file is replaced again and again, every look finds a whole one."""
    path = tmp_path / "state.json"
    files.write_json(path, {"count": -1, "again": -1})
    done = threading.Event()

    def write():
        for count in range(200):
            files.write_json(path, {"count": count, "fill": "x" * 20_000, "again": count})
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    looks = 0
    while not done.is_set():
        seen = json.loads(path.read_text())
        assert seen["count"] == seen["again"]
        looks += 1
    writer.join()

    assert 0 < looks
    assert ["state.json"] == names(tmp_path)


def test_an_argument_that_is_no_utf8_comes_back(tmp_path):
    """What a shell hands over as bytes survives in a plan."""
    path = tmp_path / "plan.json"
    files.write_json(path, {"argument": "caf\udce9"})

    assert {"argument": "caf\udce9"} == files.read_json(path)


@settings(max_examples=50)
@given(
    value=st.dictionaries(st.text(), st.text() | st.integers() | st.lists(st.text()), max_size=4)
)
def test_what_is_written_is_read(tmp_path_factory, value):
    """Any text in keys and values comes back as it was."""
    path = tmp_path_factory.mktemp("json") / "value.json"
    files.write_json(path, value)

    assert value == files.read_json(path)


@pytest.mark.parametrize(
    "content", [b"", b"{", b'{"a": 1', b"[1]", b"null", b"\xff\xfe", b"[" * 100_000, b"\0"]
)
def test_what_is_no_json_object_is_none(tmp_path, content):
    """Half a file, another kind of value, bytes, a bomb: not there (yet)."""
    path = tmp_path / "exit.json"
    path.write_bytes(content)

    assert files.read_json(path) is None


def test_a_link_does_not_replace_what_is_there(tmp_path):
    """A file, a link, and even a broken link stay as they are."""
    (tmp_path / "file").write_text("mine")
    (tmp_path / "broken").symlink_to("nowhere")
    for name in ("file", "broken", "new"):
        files.link(tmp_path / name, "target")

    assert "mine" == (tmp_path / "file").read_text()
    assert "nowhere" == os.fspath((tmp_path / "broken").readlink())
    assert "target" == os.fspath((tmp_path / "new").readlink())


@pytest.mark.parametrize("name", ["n" * 300, "a/" * 3000, "no\0name", "file/x"])
def test_a_name_that_cannot_be_is_not_there(tmp_path, name):
    """Names too long or odd are no files, and no tracebacks."""
    (tmp_path / "file").touch()

    assert not files.is_file(tmp_path / name)
    assert not files.exists(tmp_path / name)


def test_lines_that_are_no_objects_are_passed_over():
    """Blank lines, other values, half objects, bombs."""
    lines = ["", "{}", "3", "[1]", '{"a": 1}', '{"a":', "nonsense", "[" * 100_000, "null"]

    assert [{}, {"a": 1}] == files.parse_json_lines(lines)


def test_a_line_is_only_ended_by_a_newline(tmp_path):
    """JSON may hold other line separators as they are."""
    (tmp_path / "m.jsonl").write_text('{"a": "x\u2028y\x85z"}\n{"b": 1}', encoding="utf-8")

    assert [{"a": "x\u2028y\x85z"}, {"b": 1}] == files.read_json_lines(tmp_path / "m.jsonl")
