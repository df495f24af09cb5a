"""Who holds the others up: on stacks recorded from real jobs, and on any others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hung_stacks import (
    ALL_GATHER,
    ALL_REDUCE,
    ASLEEP,
    ASLEEP_IN_C,
    BACKWARD,
    BARRIER,
    BROADCAST,
    DATA,
    DOWNLOAD,
    ITEM,
    SPIN,
    SPIN_AGAIN,
    STOPPED,
    WORKER,
    assessment,
    beat,
    stack,
    vitals,
)

from gpuops.core.diagnosis.culprit import find_culprit

CASES = {
    "stopped": (
        assessment(BACKWARD, STOPPED, states="ST"),
        (1, True, "rank stopped", "train.py:66"),
    ),
    "stopped where the others wait": (
        assessment(BACKWARD, BACKWARD, BACKWARD, states="STS"),
        (1, True, "rank stopped", "train.py:52"),
    ),
    "held by a debugger": (
        assessment(BACKWARD, BACKWARD, states="tS"),
        (0, True, "rank stopped", "train.py:52"),
    ),
    "spinning": (
        assessment(BACKWARD, SPIN, again=[BACKWARD, SPIN_AGAIN], states="SR", computing=[1]),
        (1, True, "python spin", "train.py:25"),
    ),
    "spinning, without the interpreter at the second look": (
        assessment(BACKWARD, SPIN, BACKWARD, states="SRS", computing=[1]),
        (1, True, "python spin", "train.py:26"),
    ),
    "asleep": (assessment(BACKWARD, ASLEEP), (1, True, "unknown", "train.py:49")),
    "asleep in C": (assessment(ALL_REDUCE, ASLEEP_IN_C), (1, True, "unknown", "train.py:69")),
    "asleep in a line that cannot be read": (
        assessment(ALL_REDUCE, ASLEEP.replace(" time.sleep(1000)", "")),
        (1, False, "unknown", "train.py:49"),
    ),
    "asleep in its data": (
        assessment(BACKWARD, DATA),
        (1, True, "data loader starved", "train.py:17"),
    ),
    "asleep in a loader's worker": (
        assessment(BACKWARD, WORKER, BACKWARD),
        (1, True, "data loader starved", "train.py:45"),
    ),
    "on the network": (assessment(BACKWARD, DOWNLOAD), (1, True, "stuck in I/O", "train.py:61")),
    "in the kernel": (
        assessment(BACKWARD, DATA, BACKWARD, states="SDS"),
        (1, True, "stuck in I/O", "train.py:17"),
    ),
    "in the kernel, another elsewhere": (
        assessment(BACKWARD, DATA, ASLEEP, states="SDS"),
        (1, False, "stuck in I/O", "train.py:17"),
    ),
    "an all_gather among all_reduces": (
        assessment(ALL_REDUCE, ALL_GATHER, ALL_REDUCE),
        (1, True, "collective mismatch", "train.py:34"),
    ),
    "an all_gather against an all_reduce": (
        assessment(ALL_REDUCE, ALL_GATHER),
        (0, False, "collective mismatch", "train.py:29"),
    ),
    "one collective skipped, of two ranks": (
        assessment(ALL_REDUCE, BARRIER),
        (1, False, "collective mismatch", "train.py:64"),
    ),
    "one collective skipped, a step ahead": (
        assessment(BARRIER, BACKWARD, steps=[3, 4]),
        (1, False, "collective mismatch", "train.py:52"),
    ),
    "one collective skipped, of three ranks": (
        assessment(BARRIER, BACKWARD, BARRIER, steps=[3, 4, 3]),
        (1, True, "collective mismatch", "train.py:52"),
    ),
    "a broadcast of its own": (
        assessment(*[BACKWARD] * 3, BROADCAST),
        (3, True, "collective mismatch", "train.py:71"),
    ),
    "two against two": (
        assessment(BACKWARD, ALL_REDUCE, BACKWARD, ALL_REDUCE),
        (None, False, "unknown", None),
    ),
    "all at one place": (assessment(*[BACKWARD] * 4), (None, False, "unknown", None)),
    "all at one place, one computing": (
        assessment(*[BACKWARD] * 4, computing=[2], gil=[]),
        (2, False, "unknown", "train.py:52"),
    ),
    "all at one place, one unread": (
        assessment(BACKWARD, "", BACKWARD),
        (1, False, "unknown", None),
    ),
    "one elsewhere, one unread": (
        assessment(BACKWARD, "", ASLEEP),
        (2, False, "unknown", "train.py:49"),
    ),
    "two elsewhere, one of them behind": (
        assessment(*[BACKWARD] * 5, ASLEEP, ASLEEP_IN_C, steps=[4, 4, 4, 4, 4, 4, 3]),
        (6, False, "unknown", "train.py:69"),
    ),
    "two elsewhere, one of them on its way": (
        assessment(*[BACKWARD] * 5, DATA, ASLEEP, again=[*[BACKWARD] * 5, BARRIER, ASLEEP]),
        (6, False, "unknown", "train.py:49"),
    ),
    "two elsewhere, one of them for its data": (
        assessment(*[BACKWARD] * 5, ASLEEP, WORKER),
        (6, False, "data loader starved", "train.py:45"),
    ),
    "most of them elsewhere": (
        assessment(BARRIER, ASLEEP, ASLEEP_IN_C, ASLEEP),
        (None, False, "unknown", None),
    ),
    "one still on its way": (
        assessment(BACKWARD, ALL_REDUCE, again=[BACKWARD, ASLEEP]),
        (1, False, "unknown", "train.py:49"),
    ),
    "the others still on their way": (
        assessment(BACKWARD, ASLEEP, again=[ALL_REDUCE, ASLEEP]),
        (None, False, "unknown", None),
    ),
    "all for their GPUs but one": (
        assessment(ITEM, ITEM, SPIN, states="RRR", computing=[0, 1, 2], gil=[2]),
        (2, True, "python spin", "train.py:26"),
    ),
    "all for their GPUs but one, of unreadable source": (
        assessment(
            *[ITEM.replace(" total += loss.item()", "")] * 3, SPIN, computing=range(4), gil=[3]
        ),
        (3, True, "python spin", "train.py:26"),
    ),
    "for the GPU, and in a barrier": (
        assessment(ITEM, BARRIER),
        (1, False, "unknown", "train.py:64"),
    ),
    "all for their data": (assessment(*[WORKER] * 4), (None, True, "data loader starved", None)),
    "all stopped": (assessment(BACKWARD, STOPPED, states="TT"), (None, True, "rank stopped", None)),
    "two stopped": (
        assessment(BACKWARD, BACKWARD, BACKWARD, states="TTS"),
        (None, True, "rank stopped", None),
    ),
    "gone": (assessment(BACKWARD, "", states="SZ"), (1, True, "peer died", None)),
    "gone in good order, while another spins": (
        assessment("", SPIN, states="XR", computing=[1]),
        (1, True, "python spin", "train.py:26"),
    ),
    "alone, spinning": (
        assessment(SPIN, states="R", computing=[0]),
        (0, True, "python spin", "train.py:26"),
    ),
    "alone, waiting for data": (
        assessment(WORKER),
        (0, True, "data loader starved", "train.py:45"),
    ),
    "alone, nobody knows": (assessment(BACKWARD), (None, False, "unknown", None)),
    "nobody": (find_culprit([], []), (None, False, "unknown", None)),
}


@pytest.mark.parametrize(("attribution", "expected"), CASES.values(), ids=CASES)
def test_the_culprit_is_named_with_its_line(attribution, expected):
    """Who, how sure, what kind of fault, which line of the person's own code."""
    culprit = attribution.culprit
    rank, sure, kind, line = expected

    assert (rank, sure, kind) == (culprit.rank, culprit.sure, culprit.kind)
    assert (culprit.place is None) == (line is None)
    assert line is None or line in culprit.place


def test_the_sentence_says_it_all():
    """The culprit's line, and what the others wait for."""
    culprit = assessment(BACKWARD, SPIN, BACKWARD, ALL_REDUCE, states="SRSS", computing=[1]).culprit

    assert culprit.why == (
        "rank 1 computes without end at spin (train.py:26), "
        "while ranks 0, 2 wait in backward at train (train.py:52), "
        "rank 3 waits in all_reduce at average (train.py:29)"
    )
    assert (3, 3, 4701) == (culprit.agree, culprit.of, culprit.pid)


@pytest.mark.parametrize(
    ("attribution", "why"),
    [
        (CASES["stopped"][0], "rank 1 is stopped (state T) at train (train.py:66), while rank 0"),
        (CASES["two stopped"][0], "ranks 0-1 are stopped (state T) at train"),
        (CASES["gone"][0], "rank 1 has ended, while rank 0 waits in backward at train"),
        (CASES["all for their data"][0], "ranks 0-3 all wait for the data loader at train"),
        (CASES["asleep"][0], "rank 1 stands still at train (train.py:49), while rank 0 waits"),
        (CASES["two against two"][0], "undecided, no rank stands out: ranks 0, 2 wait in backward"),
        (CASES["nobody"][0], "no rank's stack could be read"),
    ],
)
def test_every_attribution_is_a_sentence(attribution, why):
    """In plain words, with plurals."""
    assert attribution.culprit.why.startswith(why)


def test_groups_show_who_stands_together():
    """The largest first, with the way there: the outermost call first, the person's line last."""
    first, second = assessment(BACKWARD, ALL_GATHER, BACKWARD).groups

    assert ((0, 2), "backward") == (first.ranks, first.waits_for)
    assert first.frames_key == (
        "/home/ada/train.py:80 in <module>",
        "/home/ada/train.py:52 in train",
    )
    assert ((1,), "all_gather") == (second.ranks, second.waits_for)
    assert "/home/ada/train.py:34 in gather" == second.place == second.frames_key[-1]


def test_the_call_that_was_made_is_named():
    """broadcast_object_list, and not the broadcast that it makes."""
    assert "broadcast_object_list" == assessment(BROADCAST).groups[0].waits_for


def test_evidence_has_a_line_for_each_rank():
    """What the kernel and the beats say of it; why a stack is missing."""
    attribution = find_culprit(
        [],
        [stack(0, BACKWARD), stack(1, "", gap="py-spy may not")],
        [],
        [vitals(0), vitals(1, "R")],
        [beat(0, 3)],
    )

    assert attribution.evidence == (
        "rank 0: PID 4700, state S, step 3",
        "rank 1: PID 4701, state R, no stack: py-spy may not",
    )


def test_ranks_that_moved_are_told():
    """A job of which ranks get on between the looks may only be slow."""
    attribution = assessment(BACKWARD, SPIN, again=[ALL_REDUCE, SPIN_AGAIN])

    assert (0,) == attribution.moved
    assert not attribution.standstill


def test_one_look_is_enough_for_a_guess():
    """Without the first look, and without vitals, the stacks alone accuse."""
    culprit = find_culprit([], [stack(0, BACKWARD), stack(1, SPIN, active=True, gil=True)]).culprit

    assert (1, True, "python spin") == (culprit.rank, culprit.sure, culprit.kind)


def test_what_a_rank_wrote_itself_is_as_good():
    """faulthandler says neither who runs nor who holds the interpreter: the kernel's state does."""
    stacks = [stack(0, BACKWARD), stack(1, SPIN)]
    blind = [
        replace(s, threads=tuple(replace(t, active=None, has_gil=None) for t in s.threads))
        for s in stacks
    ]
    felt, feel = [vitals(0), vitals(1, "R")], [vitals(0), vitals(1, "R", 10.9)]

    assert "python spin" == find_culprit(blind, blind, felt, feel).culprit.kind


def test_a_loop_that_calls_others_is_one_place():
    """Between the looks it has come to another function: the loop is what does not end."""
    deeper = SPIN.replace("spin /", "check /home/ada/train.py 21 return ready\nspin /", 1)
    attribution = assessment(
        BACKWARD, deeper, again=[BACKWARD, SPIN_AGAIN], states="SR", computing=[1]
    )
    culprit = attribution.culprit

    assert ("python spin", True) == (culprit.kind, culprit.sure)
    assert ((1,), True) == (attribution.moved, attribution.standstill)
    assert "train.py:25 in spin" in culprit.place


def test_installed_trainers_have_lines_too():
    """Where all code is installed, the line is the trainer's and not torch's."""
    text = ALL_REDUCE.replace("/home/ada/", "/venv/lib/python3.11/site-packages/trainers/")

    assert "trainers/train.py:29 in average" in assessment(text, text).groups[0].place
