"""Nothing but text reaches a terminal, in any encoding, and whatever the streams are."""

from __future__ import annotations

import io
import json
import os
import pty
import re
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.text import Text

from gpuops.cli import main, streams
from gpuops.text import REPLACE, coloured, visible
from gpuops.ui.console import TextConsole
from gpuops.ui.monitor.tty import Terminal

ORDERS = "\x1b]0;owned\x07\x1b[2J\x9b2J\x90q\x9c\u202e\u2066\u2028\r\x08\x00\x7f"
NAME = "20260101-000000-a"


@pytest.fixture(name="hostile")
def _hostile(tmp_path):
    """A run whose name, target, profile, events and logs hold orders to a terminal."""
    root = tmp_path / "runs" / f"{NAME}{ORDERS.translate({0: None})}"
    state, logs = root / "state" / "attempt-1", root / "logs" / "attempt-1" / "rank-0"
    for folder in (state, logs):
        folder.mkdir(parents=True)
    target = {"name": f"toy{ORDERS}", "kind": "script"}
    plan = {"run_id": f"{NAME}{ORDERS}", "target": target, "profile": f"cpu{ORDERS}"}
    event = {"time": 1.7e9, "event": f"odd{ORDERS}", "attempt": 1, f"key{ORDERS}": f"x{ORDERS}"}
    (root / "plan.json").write_text(json.dumps(plan))
    (root / "events.jsonl").write_text(json.dumps(event) + "\n")
    (root / "metrics.jsonl").write_text(json.dumps({"step": 1, f"loss{ORDERS}": 0.5}) + "\n")
    (state / "process.json").write_text(json.dumps({"started_at": 1.7e9}))
    (logs / "stdout.log").write_bytes(b"\x1b[32mgood\x1b[2J\xff\n\x1b]0;owned\x07bad\n")
    return root


@pytest.fixture(name="gpuops_on")
def _gpuops_on(monkeypatch):
    """Run ``gpuops WORDS`` in this process on a stream of a kind; return its exit code."""

    def run(stream, *words):
        monkeypatch.setattr(sys, "argv", ["gpuops", *map(str, words)])
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        with pytest.raises(SystemExit) as ended:
            main()
        stream.flush()
        return ended.value.code

    return run


@pytest.fixture(name="terminal")
def _terminal():
    """A terminal as a stream, and a function that reads what it got."""
    ours, theirs = pty.openpty()
    stream = os.fdopen(theirs, "w", encoding="utf-8", newline="\n")

    def read():
        return os.read(ours, 100_000).decode().replace("\r\n", "\n")

    yield stream, read
    stream.close()
    os.close(ours)


def without_colours(text):
    """What is left beside the colours."""
    return re.sub("\x1b\\[[0-9;:]*m", "", text)


@settings(max_examples=100)
@given(text=st.text() | st.text(alphabet=ORDERS + "a\n\t \xa0é中"))
def test_only_text_is_visible(text):
    """Each character stays, or is one sign; nothing is left that a terminal would act upon."""
    shown = visible(text)

    assert len(text) == len(shown)
    assert all(
        letter in "\n\t" or unicodedata.category(letter) not in {"Cc", "Cf", "Zl", "Zp"}
        for letter in shown
    )
    assert shown == visible(shown)
    assert "Ünïcode, 中文\u3000\xa0ok\n" == visible("Ünïcode, 中文\u3000\xa0ok\n")


@settings(max_examples=100)
@given(line=st.text(alphabet="\x1b[]0123;:mJHx\x07\x9b"))
def test_a_program_keeps_its_colours_alone(line):
    """No other sequence is left, and no colour goes on into the next line."""
    shown = coloured(line)

    assert visible(without_colours(shown)) == without_colours(shown)
    assert "\x1b" not in shown or shown.endswith("\x1b[0m")


@pytest.mark.parametrize(
    "words", [("list",), ("show", "RUN"), ("list", "--json"), ("show", "RUN", "--json")]
)
def test_no_name_gives_an_order(hostile, gpuops_on, terminal, words):
    """On a terminal there are colours, and they are ours."""
    stream, read = terminal
    words = [hostile if word == "RUN" else word for word in words]

    assert 0 == gpuops_on(stream, "runs", *words, "--runs-dir", hostile.parent)

    shown = without_colours(read())
    assert NAME in shown
    assert shown == visible(shown)


def test_a_log_keeps_its_colours_on_a_terminal(hostile, gpuops_on, terminal):
    """And its bytes in a pipe."""
    stream, read = terminal
    pipe = io.TextIOWrapper(io.BytesIO(), "ascii")

    assert 0 == gpuops_on(stream, "logs", hostile)
    assert 0 == gpuops_on(pipe, "logs", hostile)

    assert "\x1b[32mgood?[2J\\udcff\x1b[0m\n?]0;owned?bad\n" == read()
    logged = hostile / "logs" / "attempt-1" / "rank-0" / "stdout.log"
    assert logged.read_bytes() == pipe.buffer.getvalue()


@pytest.mark.parametrize("encoding", ["ascii", "gbk", "iso8859-1", "utf-8"])
@pytest.mark.parametrize("words", [("runs", "list"), ("runs", "show", "last"), ("report", "last")])
def test_no_encoding_ends_a_command(hostile, gpuops_on, encoding, words):
    """What it lacks is replaced."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding)

    assert 0 == gpuops_on(stream, *words, "--runs-dir", hostile.parent)

    shown = stream.buffer.getvalue().decode(encoding)
    assert NAME in shown
    assert shown == visible(shown)


def test_our_signs_are_replaced_by_like_ones():
    """An error does not look like what is in order, and columns stay columns."""
    assert b"+ x ! -> 5" == "✓ x ! -> 5".encode("ascii", REPLACE)
    assert b"x > - . \\u4e2d" == "✗ → — … 中".encode("ascii", REPLACE)
    assert b"\\udcff" == "\udcff".encode("utf-8", REPLACE)


def test_the_live_screen_speaks_the_encoding_of_its_terminal():
    """UTF-8 has bytes that are orders to a terminal of another encoding."""
    reader, writer = os.pipe()
    Terminal(0, writer, "iso8859-1").paint([Text("→ — é")])
    os.close(writer)
    with os.fdopen(reader, "rb") as screen:
        shown = screen.read()

    assert b"> - \xe9" in shown


def test_a_console_knows_its_own_colours_from_those_of_a_text():
    """Rich may colour; a text that says so may not."""
    out = io.StringIO()
    TextConsole(file=out, force_terminal=True, color_system="standard").print(
        Text("a\x1b[31mb", "bold")
    )

    assert "\x1b[1ma?[31mb\x1b[0m\n" == out.getvalue()


def test_what_is_printed_or_raised_is_text(monkeypatch):
    """Also where nobody thought of it."""
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", streams.TextOnly(out))
    print(f"a{ORDERS}")
    sys.stdout.writelines(["b\x1b", "c\n"])

    assert visible(out.getvalue()) == out.getvalue()
    assert out.getvalue().endswith("b?c\n")


@pytest.mark.parametrize("missing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_missing_stream_is_no_stream(gpuops, hostile, missing):
    """Nothing is opened in its place, and the exit code is as usual."""
    assert 0 == shell(gpuops, f"runs list --runs-dir {hostile.parent} {missing}")[0]


def test_a_full_disk_is_a_sentence(gpuops, hostile):
    """An answer that is lost is a failure; a comment is not."""
    command = f"runs list --runs-dir {hostile.parent}"
    code, said = shell(gpuops, f"{command} >/dev/full")

    assert (1, "error: the answer cannot be written: No space left on device.\n") == (code, said)
    assert 2 == shell(gpuops, "runs show nothing 2>/dev/full")[0]


def shell(gpuops, words):
    """The exit code and the output of ``gpuops WORDS``, typed into a shell."""
    ran = subprocess.run(
        ["sh", "-c", f'exec "$0" -m gpuops {words}', sys.executable],
        cwd=gpuops.folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr
