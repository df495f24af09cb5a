"""What a trainer's commands print."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PRINTS = """
import sys
from rich.console import Console
from trainers.engine.errors import TrainerError, run_main
name = "clip\\x1b]0;owned\\x07\\x1b[2J\\x9b2J\\u202e\\r\\udc80 \\u2713"
def main(argv):
    print(f"\\x1b[31m{name}\\x1b[0m")
    Console(markup=False).print(name)
    raise TrainerError(f"{name} is damaged")
run_main(main)
"""


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_no_name_controls_a_terminal_or_ends_in_a_traceback(encoding):
    """In any encoding; colours are let through."""
    found = subprocess.run(
        [sys.executable, "-c", PRINTS],
        capture_output=True,
        check=False,
        env={**os.environ, "PYTHONIOENCODING": encoding, "TERM": "xterm"},
    )
    out, err = found.stdout.decode(), found.stderr.decode()

    assert found.returncode == 1
    assert err.startswith("error: clip?]0;owned?")
    assert "Traceback" not in err
    assert out.replace("\x1b[31m", "", 1).replace("\x1b[0m", "", 1).count("\x1b") == 0
    assert not set("\x07\x9b\u202e\r") & {*out, *err}


def test_a_missing_stream_is_no_stream():
    """Closed by a shell: `>&-`."""
    found = subprocess.run(
        ["sh", "-c", '"$0" -c "$1" >&- 2>&-', sys.executable, PRINTS], check=False
    )
    assert found.returncode == 1
