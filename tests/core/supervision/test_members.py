"""Which processes belong to an attempt, told from those of a host."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_processes import RUN, init, pids, process, rank

from gpuops.core.supervision.members import ProcessId, descendants, find_remaining

BEATS = RUN["GPUOPS_BEAT_DIR"]
LOADER = ("/venv/bin/python3", "-c", "from multiprocessing import ...")


def known(*processes):
    return frozenset(ProcessId(one.pid, one.start_ticks) for one in processes)


def marked(pid, parent, number=0, **changes):
    """A process with the environment of a rank of the attempt."""
    return rank(pid, parent, number, environment=RUN, **changes)


def remaining(*processes, known=frozenset(), user="mei"):
    return pids(find_remaining([init(), *processes], known, BEATS, user))


def test_what_was_seen_is_known_by_pid_and_start():
    """A pid that is used again is another process."""
    one, other = process(11, 1), process(12, 1)

    assert [11] == remaining(one, other, known=known(one, replace(other, start_ticks=7)))


def test_what_a_known_process_started_since_belongs():
    """Whatever its environment is, and what that started in turn."""
    ranked = marked(11, 1)
    tool, below = process(12, 11), process(13, 12, environment=None)

    assert [11, 12, 13] == remaining(ranked, tool, below, known=known(ranked))


def test_ranks_that_nobody_saw_are_known_by_what_torchrun_gave_them():
    """The supervisor may have been killed before its first look."""
    assert [11, 12] == sorted(remaining(marked(11, 1), marked(12, 1, 1)))


def test_what_a_dead_rank_started_since_is_known_by_its_session():
    """It has its environment too; pid 1 has adopted it, and it is no Python."""
    dead = marked(11, 1)
    child = marked(14, 1, session=11, argv=("ffmpeg",))

    assert [14] == remaining(child, known=known(dead))
    assert [] == remaining(replace(child, environment={}), known=known(dead))


@pytest.mark.parametrize("shell", [("-bash",), ("/bin/bash", "debug.sh"), ("tmux",)])
def test_a_copy_of_the_environment_in_a_shell_is_no_member(shell):
    """Somebody looks for a mistake in a rank, while its run is stopped."""
    copy = marked(31, 30, session=30)

    assert [] == remaining(process(30, 1, *shell), copy)
    assert [] == remaining(process(30, 1, *shell), replace(copy, session=31))


@pytest.mark.parametrize(
    "other",
    [
        {"user": "ana"},
        {"environment": RUN | {"GPUOPS_BEAT_DIR": BEATS.replace("attempt-2", "attempt-1")}},
        {"environment": RUN | {"GPUOPS_BEAT_DIR": "/elsewhere" + BEATS}},
        {"environment": {}},
    ],
)
def test_another_attempt_or_user_is_not_meant(other):
    """An environment can be copied by anybody."""
    stranger = rank(11, 1, **{"environment": RUN, **other})

    assert [] == remaining(stranger)


def test_a_younger_parent_has_a_pid_again():
    """Its pid was that of the process which had started this one."""
    parent = process(20, 1)
    child = process(11, 20)

    assert (parent,) == descendants(known(parent), [parent, child])


anybody = st.builds(
    lambda pid, parent, start: process(pid, parent, start_ticks=start),
    st.integers(1, 9),
    st.integers(0, 9),
    st.integers(0, 4),
)


@settings(max_examples=300, database=None)
@given(
    st.lists(anybody, max_size=9, unique_by=lambda one: one.pid),
    st.sets(st.builds(ProcessId, st.integers(1, 9), st.integers(0, 4))),
)
def test_only_the_known_and_what_they_started_are_found(processes, some):
    """Whoever is whose parent, rings included; each once."""
    found = descendants(frozenset(some), processes)
    by_pid = {one.pid: one for one in found}

    assert len(by_pid) == len(found)
    for one in found:
        parent = by_pid.get(one.parent_pid)
        started = parent is not None and parent.start_ticks <= one.start_ticks
        assert started or (one.pid, one.start_ticks) in some
