"""Why a job ended, from texts as torchrun writes them."""

from __future__ import annotations

import signal

import pytest

from gpuops.core.diagnosis.torchrun_failure import last_lines, root_cause, signal_name

# As torch 2.13 formats a ChildFailedError (torch.distributed.elastic.multiprocessing.errors).
KILLED = """\
W1121 06:12:01.345000 4711 torch/distributed/elastic/multiprocessing/api.py:1010] Sending process \
4713 closing signal SIGTERM
E1121 06:12:01.500000 4711 torch/distributed/elastic/multiprocessing/api.py:984] failed \
(exitcode: -9) local_rank: 3 (pid: 4715) of binary: /venv/bin/python
Traceback (most recent call last):
  File "<frozen runpy>", line 198, in _run_module_as_main
  File "/venv/torch/distributed/run.py", line 1000, in <module>
    main()
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
=========================================================
trainers.rvq.train FAILED
---------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-21_06:12:03
  host      : host
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 4713)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
---------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_06:12:01
  host      : host
  rank      : 3 (local_rank: 3)
  exitcode  : -9 (pid: 4715)  (SIGKILL)
  error_file: <N/A>
  traceback : Signal 9 (SIGKILL) received by PID 4715
=========================================================
"""


def test_the_root_cause_is_the_first_failure_not_the_first_named():
    """torchrun lists the other failures before; the first that it observed counts."""
    found = root_cause(KILLED)

    assert found is not None
    assert (found.rank, found.exitcode, found.killed_by) == (3, -9, signal.SIGKILL)


def test_an_exit_code_is_no_signal():
    """A rank that ended by itself was not ended by a signal."""
    text = KILLED.replace("exitcode  : -9 (pid: 4715)  (SIGKILL)", "exitcode  : 7 (pid: 4715) ")

    found = root_cause(text)

    assert found is not None
    assert (found.rank, found.exitcode, found.killed_by) == (3, 7, None)


@pytest.mark.parametrize(
    "log",
    ["", "no such file: /venv/bin/python\n", KILLED.partition("Root Cause")[0], "Root Cause", "\0"],
)
def test_a_log_that_names_no_rank_gives_no_failure(log):
    """If torchrun died before it could report, no rank is named."""
    assert root_cause(log) is None


def test_a_log_cut_within_the_cause_gives_no_failure():
    """Half a block names no exit code."""
    assert root_cause(KILLED.partition("  exitcode  : -9")[0]) is None


def test_what_a_worker_says_of_a_root_cause_is_not_torchruns_word():
    """A traceback may hold the same words; torchrun's own block is the last."""
    other = "  traceback : RuntimeError: Root Cause (first observed failure): rank : 5 exitcode : 2"
    text = KILLED.replace("  traceback : To enable traceback see", f"{other}\n  rank : 5\n  see", 1)

    found = root_cause(text)

    assert found is not None
    assert (3, -9) == (found.rank, found.exitcode)


@pytest.mark.parametrize(
    ("code", "name"),
    [
        (0, None),
        (1, None),
        (137, None),
        (-9, "SIGKILL"),
        (-signal.SIGTERM, "SIGTERM"),
        (-signal.SIGSEGV, "SIGSEGV"),
        (-250, "signal 250"),
    ],
)
def test_a_negative_code_is_a_signals_name(code, name):
    """Names a person knows; a number where there is no name."""
    assert name == signal_name(code)


def test_last_words_are_the_last_lines_that_say_something():
    """Blank lines are not words."""
    assert ["b", "c"] == last_lines("a\n\nb  \n\n  \nc\n\n", lines=2)
    assert [] == last_lines("")
