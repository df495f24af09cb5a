"""NCCL's own report of a job, and what it says beside the stacks."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.diagnosis.culprit import Attribution, Culprit
from gpuops.core.diagnosis.nccl_ras import Behind, Peer, RasReport, apply_ras, parse_report

# In the form of NCCL's user guide; no machine with several GPUs wrote them.
HEAD = """\
NCCL version 2.27.7 compiled with CUDA 12.9
CUDA runtime version 12090, driver version 13000

Job summary
===========

  Nodes  Processes         GPUs  Processes     GPUs
(total)   per node  per process    (total)  (total)
      1          4            1          4        4

Communicators... (0.00s)
=============

Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
    #  in group  per comm  per node  per comm  in group
    0         1         1         4         4         4   RUNNING  {}
    1         2         1         2         2         4   RUNNING      OK

Errors
======

"""
WELL = HEAD.format("     OK") + "Warnings\n========\n\n"
BEHIND = (
    HEAD.format("MISMATCH")
    + """\
Warnings
========

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different AllReduce operation counts
  3 ranks have launched up to operation 64
  Rank 3 has launched up to operation 60 -- GPU 0 (NVML 3) managed by process 4703 on node 10.0.0.7

"""
)
OLD_BEHIND = (
    HEAD.format("MISMATCH")
    + """\
Warnings
========

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different collective operation counts
  2 ranks have launched up to operation 6650
  2 ranks have not launched any operations
  Rank 0 -- GPU 0 managed by process 4700 on node 10.0.0.7
  Rank 2 -- GPU 2 managed by process 4702 on node 10.0.0.7
"""
)
AHEAD = (
    HEAD.format("MISMATCH")
    + """\
Warnings
========

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different status
  3 ranks have status RUNNING
  Rank 2 has status FINALIZE -- GPU 2 managed by process 4702 on node 10.0.0.7
  Communicator ranks have different Broadcast operation counts
  3 ranks have launched up to operation 7
  Rank 1 has launched up to operation 8 -- GPU 1 managed by process 4701 on node 10.0.0.7

  Communicator ranks have different AllReduce operation counts
  3 ranks have launched up to operation 9
  Rank 1 has not launched any operations -- [process information not found]
"""
)
MISSING = (
    HEAD.format("INCOMPLETE")
    + """\
INCOMPLETE
  Missing communicator data from 1 job process
  Process 4702 on node 10.0.0.7 managing GPU 2

#0-0 (cf264af53edbe986) INCOMPLETE
  Missing communicator data from 1 rank
  Rank 2 -- GPU 2 managed by process 4702 on node 10.0.0.7

#0-0 (cf264af53edbe986) ERROR
  Asynchronous error on 1 rank
  Rank 1 reported Remote process error -- GPU 1 managed by process 4701 on node 10.0.0.7

Warnings
========

TIMEOUT
  Encountered 2 communication timeouts while gathering communicator data
"""
)
OLD_MISSING = (
    HEAD.format("INCOMPLETE")
    + """\
DEAD
  1 job process is considered dead (unreachable via the RAS network)
  Process 4702 on node 10.0.0.7 managing GPU 2

#0-0 (cf264af53edbe986) INCOMPLETE
  Missing communicator data from 1 rank
  The missing rank: 2
Warnings
========
"""
)
PIDS = {rank: 4700 + rank for rank in range(4)}


def test_a_report_without_errors_is_read():
    """How many communicators there are, and that nothing is the matter."""
    assert RasReport(communicators=3) == parse_report(WELL)


@pytest.mark.parametrize(
    ("text", "behind"),
    [
        (BEHIND, [(3, 4703, "AllReduce", 60, 64)]),
        (OLD_BEHIND, [(0, 4700, "collective", 0, 6650), (2, 4702, "collective", 0, 6650)]),
        (AHEAD, [(1, None, "AllReduce", 0, 9)]),
    ],
)
def test_who_has_launched_less_is_read(text, behind):
    """In the words of several versions; who is ahead of the others is not behind."""
    assert [
        Behind(peer=Peer(rank=rank, ranks=4, pid=pid), operation=kind, launched=count, others=most)
        for rank, pid, kind, count, most in behind
    ] == list(parse_report(text).behind)


@pytest.mark.parametrize("text", [MISSING, OLD_MISSING])
def test_who_does_not_answer_is_read(text):
    """By process and by rank, which are one."""
    process, rank = parse_report(text).missing

    assert Peer(pid=4702) == process
    assert (2, 4) == (rank.rank, rank.ranks)


def attributed(rank=None, *, sure=False, moved=()):
    culprit = Culprit(kind="unknown", rank=rank, sure=sure, why="undecided", of=3)
    return Attribution(culprit=culprit, groups=(), moved=moved, evidence=("rank 0: state S",))


@pytest.mark.parametrize(
    ("text", "rank", "why"),
    [
        (BEHIND, 3, "rank 3 has launched up to AllReduce operation 60, others up to 64"),
        (AHEAD, 1, "rank 1 has launched no AllReduce operation, others up to 9"),
        (MISSING, 2, "rank 2 does not answer NCCL's RAS"),
        (OLD_MISSING, 2, "rank 2 does not answer NCCL's RAS"),
    ],
)
def test_where_the_stacks_do_not_tell_nccl_names_the_rank(text, rank, why):
    """As a guess; what the stacks said is kept."""
    found = apply_ras(attributed(), parse_report(text), PIDS)

    assert (rank, 4700 + rank, False) == (
        found.culprit.rank,
        found.culprit.pid,
        found.culprit.sure,
    )
    assert found.culprit.why.startswith(why)
    assert "by the stacks: undecided" in found.evidence


@pytest.mark.parametrize(
    ("attribution", "text"),
    [
        (attributed(0, sure=True), BEHIND),  # never against a sure culprit
        (attributed(3), BEHIND),  # of one mind
        (attributed(moved=(0,)), BEHIND),  # counts of a job that moves differ all the time
        (attributed(), OLD_BEHIND),  # two are none
        (attributed(), WELL),
        (attributed(), "SERVER"),
    ],
)
def test_else_the_stacks_have_the_word(attribution, text):
    """What NCCL says is evidence, if anything."""
    found = apply_ras(attribution, parse_report(text), PIDS)

    assert attribution.culprit == found.culprit
    assert attribution.evidence == found.evidence[:1]


def test_what_nccl_says_is_evidence():
    """Who is late, what errors it knows; or that there is nothing to be said."""
    said = apply_ras(attributed(), parse_report(MISSING), PIDS).evidence[2:]

    assert said[:2] == ("rank 2 does not answer NCCL's RAS", "NCCL: Asynchronous error on 1 rank")
    assert said[2].startswith("NCCL: Rank 1 reported Remote process error -- GPU 1 managed by")
    assert len(said) == 3
    assert "all ranks answer" in apply_ras(attributed(), parse_report(WELL), PIDS).evidence[1]


def test_ranks_of_smaller_communicators_are_told_by_their_process_alone():
    """Rank 1 of two is somebody else in the job."""
    late = Behind(peer=Peer(rank=1, ranks=2), operation="AllReduce", launched=1, others=2)
    other = Behind(peer=Peer(rank=1, ranks=2, pid=4702), operation="x", launched=1, others=2)

    assert (
        apply_ras(attributed(), RasReport(communicators=1, behind=(late,)), PIDS).culprit.rank
        is None
    )
    assert (
        apply_ras(attributed(), RasReport(communicators=1, behind=(other,)), PIDS).culprit.rank == 2
    )


LINES = [line for text in (BEHIND, OLD_BEHIND, AHEAD, MISSING) for line in text.splitlines()]


@settings(max_examples=100)
@given(st.text(max_size=80) | st.lists(st.sampled_from(LINES)).map("\n".join))
def test_whatever_is_answered_is_read(text):
    """Half a report, another program's greeting: nothing raises."""
    apply_ras(attributed(), parse_report(text), PIDS)
