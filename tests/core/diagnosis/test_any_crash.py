"""Whatever torchrun and the ranks wrote, or half of it, is explained."""

from __future__ import annotations

import pytest
from crash_logs import (
    MISMATCH,
    NAN,
    NCCL_REMOTE,
    PEER_CLOSED,
    PORT,
    RAISED,
    REPORT,
    WATCHDOG,
    raised,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.diagnosis.crash import Crash, diagnose_crash
from gpuops.core.diagnosis.diagnosis import KINDS
from gpuops.core.diagnosis.torchrun_failure import RankEnd, parse_rank_ends
from gpuops.core.machine.device import Xid
from gpuops.core.machine.oom_kills import OomKills


def test_the_ends_of_the_ranks_are_read_off_torchruns_report():
    """Its first observed failure first; with exit code, pid and time; then who is not in it."""
    found = parse_rank_ends(REPORT, {0: PEER_CLOSED, 1: RAISED, 2: "hm"}, {1: 6})

    assert [(1, 1, 27049), (0, -15, 27048), (2, None, None)] == [
        (rank.rank, rank.exitcode, rank.pid) for rank in found
    ]
    assert found[0].ended_at == found[1].ended_at
    assert (RAISED, 6, None) == (found[0].stderr_tail, found[0].gpu, found[1].gpu)
    diagnosis = diagnose_crash(Crash(returncode=1, ranks=found, agent_tail=REPORT))
    assert ("exception", 1, 27049) == (diagnosis.kind, diagnosis.rank, diagnosis.pid)


@pytest.mark.parametrize("log", ["", "Root Cause (first observed failure):", REPORT[:-420], "\0"])
def test_a_report_that_is_not_there_tells_of_nobody(log):
    """What the ranks said is kept all the same."""
    assert [(0, None, "a")] == [
        (e.rank, e.exitcode, e.stderr_tail) for e in parse_rank_ends(log, {0: "a"})
    ]


words = st.sampled_from(
    [
        RAISED,
        PEER_CLOSED,
        MISMATCH,
        WATCHDOG,
        NCCL_REMOTE,
        NAN,
        PORT,
        REPORT,
        "",
        raised("KeyError"),
    ]
)
texts = st.lists(words | st.text(max_size=30), max_size=3).map("".join)
codes = st.none() | st.integers(-70, 255)
any_end = st.builds(
    RankEnd,
    rank=st.integers(0, 3),
    exitcode=codes,
    stderr_tail=texts,
    ended_at=st.none() | st.floats(0, 9),
    gpu=st.none() | st.integers(0, 3),
)
any_xid = st.builds(Xid, code=st.integers(1, 160), at_s=st.just(1.0), text=st.text(max_size=3))


@settings(max_examples=100)
@given(
    st.builds(
        Crash,
        returncode=st.integers(-70, 255),
        ranks=st.lists(any_end, max_size=4).map(tuple),
        xids=st.dictionaries(st.integers(0, 3), st.lists(any_xid, max_size=2).map(tuple)),
        oom=st.builds(OomKills, log_complete=st.booleans(), counted=st.none() | st.integers(0, 2)),
        agent_tail=texts,
    )
)
def test_whatever_is_left_is_explained(what):
    """Nothing raises; there is a kind, a sentence and advice."""
    found = diagnose_crash(what)

    assert found.kind in KINDS
    assert found.why
    assert found.advice


@settings(max_examples=100)
@given(st.text(max_size=80) | st.lists(st.sampled_from(REPORT.splitlines())).map("\n".join))
def test_any_log_has_ends(log):
    """Whatever torchrun wrote, or half of it."""
    assert all(isinstance(found, RankEnd) for found in parse_rank_ends(log, {}))
