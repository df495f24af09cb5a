"""A diagnosis as JSON, and as a page."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from gpuops.core.diagnosis.culprit import Attribution, Culprit, Group
from gpuops.core.diagnosis.diagnosis import (
    ADVICE,
    KINDS,
    Diagnosis,
    diagnose_hang,
    format_page,
    format_title,
    from_json,
)

SPIN = Attribution(
    culprit=Culprit(
        kind="python spin",
        rank=1,
        sure=True,
        why="rank 1 computes at spin (train.py:26), while rank 0 waits in backward",
        pid=4701,
        place="/home/ada/train.py:26 in spin",
        agree=1,
        of=1,
    ),
    groups=(
        Group(
            frames_key=("/home/ada/train.py:80 in <module>", "/home/ada/train.py:52 in train"),
            ranks=(0,),
            place="/home/ada/train.py:52 in train",
            waits_for="backward",
        ),
        Group(
            frames_key=("/home/ada/train.py:26 in spin",),
            ranks=(1,),
            place="/home/ada/train.py:26 in spin",
            waits_for=None,
        ),
    ),
    moved=(),
    evidence=("rank 0: state S", "rank 1: state R"),
)
PAGE = """\
# Python spin: rank 1 (GPU 5, PID 4701)

Rank 1 computes at spin (train.py:26), while rank 0 waits in backward.

What to do: Look at the loop at that line: it does not end, or takes far too long.

Place: `/home/ada/train.py:26 in spin`

## Where the ranks are

Rank 0, waiting: backward

    /home/ada/train.py:80 in <module>
    /home/ada/train.py:52 in train

Rank 1

    /home/ada/train.py:26 in spin

## Evidence

    1 of 1 other ranks wait for it
    no beat for 6.0 s
    rank 0: state S
    rank 1: state R
"""


@pytest.fixture(name="diagnosis")
def _diagnosis():
    return diagnose_hang(SPIN, {0: 4, 1: 5}, ["no beat for 6.0 s"])


def test_a_page_is_for_people(diagnosis):
    """What, why, what to do; where everybody stands; what speaks for it."""
    assert PAGE == format_page(diagnosis)


def test_a_page_says_where_it_is_a_guess(diagnosis):
    """In the title, and in a sentence."""
    text = format_page(replace(diagnosis, sure=False))

    assert text.startswith("# Python spin: rank 1 (GPU 5, PID 4701), unsure\n")
    assert "\nThis is not sure: the evidence below fits other causes as well.\n" in text


def test_a_page_leaves_out_what_is_not_known():
    """No empty headings, no None."""
    text = format_page(
        Diagnosis(kind="unknown", rank=None, why="nobody knows", advice="Ask.", sure=False)
    )

    assert "None" not in text
    assert "##" not in text
    assert text.startswith("# Unknown, unsure\n\nNobody knows.\n")


@pytest.mark.parametrize(
    ("rank", "gpu", "pid", "shown"),
    [
        (1, 5, 47, "Signal: rank 1 (GPU 5, PID 47)"),
        (1, None, 47, "Signal: rank 1 (PID 47)"),
        (1, None, None, "Signal: rank 1"),
        (None, 5, None, "Signal (GPU 5)"),
        (None, None, None, "Signal"),
    ],
)
def test_a_title_is_short(rank, gpu, pid, shown):
    """What happened to whom, where it is known."""
    found = Diagnosis(kind="signal", rank=rank, gpu=gpu, pid=pid, why="", advice="", sure=True)

    assert shown == format_title(found)


def test_advice_for_a_stopped_rank_can_be_typed():
    """With its pid."""
    stopped = replace(SPIN, culprit=replace(SPIN.culprit, kind="rank stopped"))

    assert "`kill -CONT 4701`" in diagnose_hang(stopped).advice


def test_a_hang_without_a_culprit_has_a_diagnosis():
    """Undecided is an answer."""
    nobody = Attribution(
        culprit=Culprit(kind="unknown", rank=None, sure=False, why="undecided", of=3),
        groups=(),
        moved=(),
        evidence=(),
    )
    found = diagnose_hang(nobody, {0: 1})

    assert (None, None, None, ()) == (found.rank, found.gpu, found.pid, found.evidence)


def test_json_gives_it_back(diagnosis):
    """Through a file, and whole."""
    assert diagnosis == from_json(json.loads(json.dumps(asdict(diagnosis))))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"kind": "boredom", "why": "", "advice": ""},
        {"kind": ["nan"], "why": "", "advice": ""},
        {"kind": "nan", "why": None, "advice": ""},
        {"kind": "nan", "why": ""},
    ],
)
def test_what_is_no_diagnosis_is_none(fields):
    """A file of another day, or of another hand."""
    assert from_json(fields) is None


def test_a_diagnosis_may_be_half_there():
    """What is not understood is not known."""
    fields = {"kind": "nan", "why": "w", "advice": "a", "rank": "1", "pid": True, "sure": "yes"}
    fields |= {"groups": [3, {"ranks": [1, "x"], "frames_key": None}], "evidence": "abc"}

    assert from_json(fields) == Diagnosis(
        kind="nan",
        rank=None,
        why="w",
        advice="a",
        sure=False,
        groups=(Group(frames_key=(), ranks=(1,), place="", waits_for=None),),
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_advice(kind):
    """One sentence."""
    assert ADVICE[kind].endswith(".")
    assert "\n" not in ADVICE[kind]
