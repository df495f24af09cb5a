"""Who supervises a run is read from its lock, whatever stands in there."""

from __future__ import annotations

import fcntl
import json
import os

import pytest

from gpuops import reaper
from gpuops.system.runs import supervisor_lock


@pytest.mark.parametrize(
    "text", ["", "[" * 4000, "[" * 200_000, "null", "[1]", '{"pid": 1}', "\0\x80"]
)
def test_a_held_lock_that_names_nobody_names_nobody(tmp_path, text):
    """No traceback; the lock itself still keeps a second supervisor away."""
    with (tmp_path / "supervisor.lock").open("w", encoding="latin-1") as file:
        file.write(text)
        file.flush()
        fcntl.flock(file, fcntl.LOCK_EX)

        assert supervisor_lock.holder(tmp_path) is None
        with pytest.raises(supervisor_lock.SupervisedError):
            supervisor_lock.only_one(tmp_path).__enter__()


def test_a_fifo_is_not_waited_for(tmp_path):
    """Nobody holds what is not a regular file."""
    os.mkfifo(tmp_path / "supervisor.lock")

    assert supervisor_lock.holder(tmp_path) is None


def test_the_holder_is_found(tmp_path):
    """By its identity in this boot."""
    with supervisor_lock.only_one(tmp_path):
        found = supervisor_lock.holder(tmp_path)

    assert found is not None
    assert os.getpid() == found.pid
    assert reaper.identity(os.getpid()) == json.loads((tmp_path / "supervisor.lock").read_text())
