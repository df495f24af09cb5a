"""A job that is struck again and again: benchmarks/chaos.py, in short."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from chaos_account import Left, account
from chaos_schedule import MOMENTS, Strike, schedule, steps_for

from gpuops.core.drill import FAULTS, Step

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.mark.long
@pytest.mark.timeout(900)
def test_seven_faults_cost_time_and_nothing_else(tmp_path):
    """Whatever is killed, taken or waited for, the weights are the same."""
    kinds = ("kill", "supervisor", "checkpoint", "orphans", "port", "waiter", "locks")
    only = [word for kind in kinds for word in ("--only", kind)]
    done = subprocess.run(
        [sys.executable, BENCHMARKS / "chaos.py", "--runs", "1", "--faults", "7", "--json", *only],
        cwd=tmp_path,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=880,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    [run] = json.loads(done.stdout)
    assert run["wrong"] == []
    assert {fate["strike"]["fault"]["name"] for fate in run["fates"]} == set(kinds)
    assert all(fate["attempt"] is not None for fate in run["fates"])
    assert list(tmp_path.glob("gpuops-chaos-*")) == []


# ------------------------------------------------------------------ on values alone


def test_the_same_seed_strikes_at_the_same_moments():
    """Each fault about as often as any other, at a moment at which it can come."""
    strikes = schedule("0", 100)
    times = [sum(strike.fault.name == name for strike in strikes) for name in FAULTS]

    assert strikes == schedule("0", 100) != schedule("1", 100)
    assert len({strike.word for strike in strikes}) == len(strikes)
    assert max(times) - min(times) <= 2
    assert {strike.moment for strike in strikes} == set(MOMENTS)
    assert all(strike.fault.name in MOMENTS[strike.moment] for strike in strikes)
    assert strikes[-1].step + 10 <= steps_for([strikes])


def strike(name, step, *, rank=0, moment="training", outside=False):
    return Strike(
        fault=FAULTS[name], moment=moment, rank=rank, step=step, outside=outside, delay_s=0
    )


def said(attempt, kind, rank=0, *, sure=True):
    return {"event": "diagnosis", "attempt": attempt, "kind": kind, "rank": rank, "sure": sure}


def left(struck, *events, attempts=2):
    return Left(
        marks={
            one.word: {"time": 100.0 + attempt, "attempt": f"attempt-{attempt}"}
            for one, attempt in struck.items()
        },
        begun=list(range(1, attempts + 1)),
        events=events,
        steps=[
            Step(at_s=attempt * 10 + number, attempt=f"attempt-{attempt}", number=number)
            for attempt in range(1, attempts + 1)
            for number in range(attempt * 5, attempt * 5 + 8)
        ],
    )


def test_a_strike_is_judged_by_the_attempt_that_it_met():
    """Kind, culprit, steps lost; where two met the same one, either is right."""
    kill, stop = strike("kill", 12), strike("stop", 12, rank=1, moment="together", outside=True)
    alone = account([kill], left({kill: 1}, said(1, "signal")))
    both = account([kill, stop], left({kill: 1, stop: 1}, said(1, "rank stopped", 1)))

    assert alone.wrong == both.wrong == ()
    assert (alone.fates[0].culprit, alone.fates[0].steps_lost) == ("right", 3)
    assert [fate.steps_lost for fate in both.fates] == [None, None]


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], "there is no diagnosis after 0:12:kill"),
        ([said(1, "exception")], "0:12:kill is taken for 'exception': None"),
        ([said(1, "signal", 1)], "0:12:kill: it is sure of rank 1"),
    ],
)
def test_what_is_not_right_is_told(events, words):
    """Nothing said, something else said, somebody else named."""
    kill = strike("kill", 12)

    assert account([kill], left({kill: 1}, *events)).wrong == (words,)


def test_what_nobody_saw_need_not_be_said():
    """Of an attempt that was stopped, or whose supervisor was killed as well."""
    kill, lone = strike("kill", 12), strike("supervisor", 12, moment="together", outside=True)
    stopped = {"event": "attempt_ended", "attempt": 1, "outcome": "stopped"}

    assert account([kill, lone], left({kill: 1, lone: 1})).wrong == ()
    assert account([kill], left({kill: 1}, stopped)).wrong == ()


@pytest.mark.parametrize("name", ["suspend", "waiter", "locks"])
def test_what_leaves_the_supervisor_alive_hides_nothing(name):
    """A rank that is killed while another launch waits has a diagnosis."""
    kill, spares = strike("kill", 12), strike(name, 12, moment="together", outside=True)
    found = account([kill, spares], left({kill: 1, spares: 1}))

    assert found.wrong == ("there is no diagnosis after 0:12:kill",)


def test_an_end_that_nothing_has_brought_about_is_wrong():
    """Also one of a job of which only the supervisor was killed; and a fault that never came."""
    lone, late = strike("supervisor", 12, outside=True), strike("kill", 40)
    found = account([lone, late], left({lone: 1}), wrong=["it was lost"])

    assert found.wrong == (
        "it was lost",
        "attempt 1 came to an end, and nothing had struck it: without a diagnosis",
        "0:40:kill did not happen",
    )
