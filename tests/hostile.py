"""What an enemy may put into a file, and gpuops run in this process to read it."""

from __future__ import annotations

import functools
import io
import json
import os
import sys

import typer
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from gpuops.cli import main
from gpuops.text import visible

EXAMPLES = int(os.environ.get("HOSTILE_EXAMPLES", "500"))
SOON_S = 2.0
many_examples = settings(
    derandomize="HOSTILE_EXAMPLES" not in os.environ,
    deadline=None,
    max_examples=EXAMPLES,
    suppress_health_check=list(HealthCheck),
    report_multiple_bugs=False,
)

DEEP = "@deep@"  # stands for a list in a list, 900 times
ORDERS = "\x1b]0;owned\x07\x1b[2J\x9b2J\x90q\x9c\u202e\u2066\u2028\r\x08\x00\x7f"
odd_numbers = st.sampled_from(
    [0, -1, 2**31, 2**63, 2**64, -(2**63), 10**399, 1e300, -1e300, 5e-324, float("nan"),
     float("inf"), -float("inf"), True]
)  # fmt: skip
odd_words = st.sampled_from(
    [ORDERS, "", "yesterday", "\ud800", "../../../etc/passwd", "/etc/passwd", "/dev/zero", "\0",
     "a\nb", "[bold]", "x" * 5000, DEEP, "-", "1e999", "train"]
)  # fmt: skip
odd_values = st.one_of(
    odd_numbers,
    odd_words,
    st.none(),
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.lists(odd_numbers | odd_words, max_size=3),
    st.dictionaries(st.text(max_size=3) | odd_words, odd_numbers | odd_words, max_size=3),
)
places = st.integers(0, 2**16)
changes = st.one_of(
    st.sampled_from(["fifo", "zero", "loop", "folder", "sparse", "gone", "socket"]),
    st.binary(max_size=60),
    st.just(ORDERS.encode() + b"\xff\xfe\n"),
    st.lists(st.tuples(places, odd_values), min_size=1, max_size=3),
)


def at_random(value, place):
    """A place in a JSON value: the object or list that holds it, and its key there."""
    found, left = [], [value]
    while left:
        one = left.pop()
        keys = one if isinstance(one, dict) else range(len(one))
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys if isinstance(one[key], (dict, list))]
    return found[place % len(found)] if found else None


def spoiled(content, changed):
    """A file's bytes with some of its values replaced."""
    if isinstance(content, bytes):
        return content
    lines = json.loads(json.dumps(content))
    for place, value in changed:
        if (at := at_random(lines, place)) is not None:
            at[0][at[1]] = value
    text = "\n".join(map(json.dumps, lines)) + "\n"
    return text.replace(f'"{DEEP}"', "[" * 900 + "]" * 900).encode()


def put(path, content, change=None):
    """Write a file of a run's folder, or what stands in its place."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if change == "fifo":
        os.mkfifo(path)
    elif change == "socket":
        os.mknod(path, 0o140600)
    elif change in ("zero", "loop"):
        path.symlink_to({"zero": "/dev/zero", "loop": path.name}[change])
    elif change == "folder":
        path.mkdir()
    elif change == "sparse":
        path.touch()
        os.truncate(path, 2 << 30)
    elif isinstance(change, bytes):
        path.write_bytes(change)
    elif change != "gone":
        path.write_bytes(spoiled(content, change or ()))


def found_below(folder):
    """The size of everything below a folder, by its path."""
    found, left = {}, [folder]
    while left:
        with os.scandir(left.pop()) as entries:
            for entry in entries:
                found[entry.path] = entry.stat(follow_symlinks=False).st_size
                left += [entry.path] * entry.is_dir(follow_symlinks=False)
    return found


# Typer parses the signatures of all functions each time, which takes longer than most commands.
command_of = functools.cache(typer.main.get_command)


def gpuops(*words):
    """The exit code, stdout and stderr of ``gpuops WORDS``, run in this process."""
    outputs = [io.TextIOWrapper(io.BytesIO(), "utf-8", write_through=True) for _ in range(2)]
    before = sys.argv, sys.stdout, sys.stderr, typer.main.get_command
    sys.argv, (sys.stdout, sys.stderr) = ["gpuops", *words], outputs
    typer.main.get_command = command_of
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code
    finally:
        sys.argv, sys.stdout, sys.stderr, typer.main.get_command = before
    return code, *(output.buffer.getvalue().decode() for output in outputs)


def is_text(text):
    """Whether a terminal would only show it."""
    return text == visible(text)
