"""What two tracebacks of one defect share, in what ranks really say."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.diagnosis.traceback_key import refusal_key, traceback_key

KEY = "ValueError /job/train.py:10:<module> /job/data.py:33:load"
PLAIN = """\
Traceback (most recent call last):
  File "/job/train.py", line 10, in <module>
    load(0)
  File "/job/data.py", line 33, in load
    raise ValueError(f"bad {thing!r}")
          ^^^^^^^^^^^^^^^^^^^^^^^^^^^
ValueError: bad <object object at 0x7f61611a4180>
"""
LOADER = """\
ValueError: Caught ValueError in DataLoader worker process 0.
Original Traceback (most recent call last):
  File "/job/data.py", line 7, in __getitem__
    raise ValueError("bad")
ValueError: bad
"""
GROUP = """\
  + Exception Group Traceback (most recent call last):
  |   File "/job/train.py", line 5, in <module>
  |     raise ExceptionGroup("g", [e])
  | ExceptionGroup: g (1 sub-exception)
  +-+---------------- 1 ----------------
    | Traceback (most recent call last):
    |   File "/job/train.py", line 2, in f
    |     def f(x): raise KeyError(x)
    | KeyError: 3
    +------------------------------------
"""
LATE = """\
Exception ignored in: <function X.__del__ at 0x7f520e415620>
Traceback (most recent call last):
  File "/job/train.py", line 3, in __del__
OSError: no
"""
THREAD = """\
Exception in thread Thread-1 (die):
Traceback (most recent call last):
  File "/job/train.py", line 4, in die
    raise KeyError(1)
KeyError: 1
"""
SYNTAX = """\
Traceback (most recent call last):
  File "/job/train.py", line 1, in <module>
    import broken
  File "/job/broken.py", line 3
    def f(:
          ^
SyntaxError: invalid syntax
"""
LOCAL = """\
Traceback (most recent call last):
  File "/job/train.py", line 11, in local
    raise In("v")
local.<locals>.In
"""
CUT = PLAIN.rpartition("ValueError")[0]


@pytest.mark.parametrize(
    ("stderr", "key"),
    [
        (PLAIN, KEY),
        ("starting\n" + PLAIN + "\nmore words: of others\n", KEY),
        ("\r 45%|####   | 45/100 [00:01<00:01, 40.1it/s]" + PLAIN, KEY),
        (" 45%|####   | 45/100 " + "".join(f"[rank0]: {x}\n" for x in PLAIN.splitlines()), KEY),
        (PLAIN.replace("0x7f61611a4180", "0x1").replace("bad", "worse"), KEY),
        ("".join(f"[rank0]: {line}\n" for line in PLAIN.splitlines()), KEY),
        ("".join(f"12:30:01 E {line}\n" for line in PLAIN.splitlines()), KEY),
        (PLAIN.replace('"/job/data.py"', '\x1b[35m"/job/data.py"\x1b[0m'), KEY),
        (LOCAL + "\nThe above exception was the direct cause of the following:\n\n" + PLAIN, KEY),
        (PLAIN + LATE, KEY),
        (PLAIN + THREAD, KEY),
        (THREAD + PLAIN, KEY),
        (THREAD, "KeyError /job/train.py:4:die"),
        (CUT + PLAIN, KEY),
        (PLAIN + CUT, KEY),
        (CUT + LATE, "OSError /job/train.py:3:__del__"),
        (LOADER, "ValueError /job/data.py:7:__getitem__"),
        (CUT + LOADER, "ValueError /job/data.py:7:__getitem__"),
        (GROUP, "KeyError /job/train.py:2:f"),
        (SYNTAX, "SyntaxError /job/train.py:1:<module> /job/broken.py:3"),
        (LOCAL, "local.<locals>.In /job/train.py:11:local"),
        (CUT, None),
        (PLAIN.partition("\n")[2], None),
        ("", None),
        ("Traceback (most recent call last):", None),
        ("Segmentation fault (core dumped)\n", None),
    ],
)
def test_a_traceback_has_a_key(stderr, key):
    """Type, files, lines and functions of the last one that ended something."""
    assert key == traceback_key(stderr)


@settings(max_examples=100, database=None)
@given(
    st.lists(
        st.sampled_from(
            [*"\n\t :", *PLAIN.splitlines(keepends=True), *LOADER.splitlines(keepends=True)]
        )
    )
)
def test_any_words_have_a_key_or_none(words):
    """Torn and mixed as the lines of several processes may be."""
    found = traceback_key("".join(words))

    assert found is None or "/job/" in found


def test_a_sentence_of_the_program_itself_is_a_key_too():
    """It will say the same the next time; of ranks that could not meet it may not."""
    assert "error a.npy cannot be read" == refusal_key("x\nerror: a.npy cannot be read\nhint: y\n")
    assert "error it is full" == refusal_key("error (rank 1): it is full")
    assert refusal_key("error: rank 0 of 2 cannot reach the other ranks: timeout") is None
    assert refusal_key("an error: of somebody else") is None


@pytest.mark.parametrize(
    "last",
    [
        "SyntaxError: invalid syntax",
        "IndentationError: unexpected indent",
        "/venv/bin/python3.11: No module named my.train",
        "python: Error while finding module specification for 'a.b' (ModuleNotFoundError: ...)",
        "/usr/bin/python: 'my' is a package and cannot be directly executed",
    ],
)
def test_what_python_refuses_to_run_has_a_key(last):
    """It ends with a line of its own, and without a traceback."""
    assert f"error {last}" == refusal_key(f'  File "t.py", line 3\n{last}\n')
    assert refusal_key(f"{last}\nstep 1") is None
