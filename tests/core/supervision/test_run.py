"""What follows what in a run of several attempts, without a process or a clock."""

from __future__ import annotations

from dataclasses import replace
from signal import SIGTERM

import pytest
from endings import KINDS, NOW_S, POLICY, ended
from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.supervision.progress import Progress
from gpuops.core.supervision.restart import GiveUp, Replan, Restart
from gpuops.core.supervision.run import (
    Ended,
    Finish,
    Interrupted,
    Outcome,
    RunState,
    Unprepared,
    next_move,
)


def outcome(ending="failed", diagnosis=None):
    """How an attempt ended."""
    return Outcome(
        ending=ending,
        returncode=0 if ending == "finished" else 1,
        stop_signal=SIGTERM if ending == "stopped" else None,
        failure=None,
        diagnosis=diagnosis,
        progress=Progress(),
        first_step=None,
        duration_s=1.0,
    )


def failure(kind="signal", **changes):
    """An attempt ended by a failure of this kind."""
    attempt = ended(kind, **changes)
    return Ended(outcome(diagnosis=attempt.diagnosis), attempt, attempt.ended_s)


class Run:
    """A run, event by event."""

    def __init__(self, policy=POLICY):
        self.state = RunState(policy=policy)

    def happens(self, *events):
        """The move that follows the last of some events."""
        for event in events:
            self.state, move = next_move(self.state, event)
        return move

    def fails(self, kind="signal", **changes):
        """The move after one more attempt that failed."""
        number = len(self.state.failed) + 1
        return self.happens(failure(kind, number=number, **changes))


@pytest.mark.parametrize("ending", ["finished", "stopped", "failed"])
def test_an_end_without_a_known_failure_is_the_end_of_the_run(ending):
    last = outcome(ending)

    assert Finish(last) == Run().happens(Ended(last, None, NOW_S))


def test_a_crash_is_followed_by_the_same_plan_after_a_pause():
    move = Run().fails()

    assert isinstance(move, Restart)
    assert 1 == move.after_s


def test_a_lost_gpu_is_left_out_from_then_on():
    run = Run()
    first, second = run.fails("gpu lost", gpu=3), run.fails("gpu lost", gpu=5)

    assert isinstance(first, Replan)
    assert isinstance(second, Replan)
    assert (("3",), ("3", "5")) == (first.without_gpus, second.without_gpus)
    assert (False, False) == (first.halve_batch, second.halve_batch)


def test_a_taken_port_is_planned_for_again():
    move = Run().fails("port taken")

    assert isinstance(move, Replan)
    assert ((), False) == (move.without_gpus, move.halve_batch)


def test_the_batch_is_halved_once_for_each_time_that_memory_ran_out():
    """A plan keeps what was halved for it."""
    run, halved = Run(), []
    for number, kind in enumerate(["out of memory (gpu)", "signal", "out of memory (gpu)"]):
        move = run.fails(kind, last_step=50 + number)
        halved.append(isinstance(move, Replan) and move.halve_batch)

    assert [True, False, True] == halved


def test_a_run_that_is_given_up_ends_as_its_last_attempt():
    move = Run(replace(POLICY, max_restarts=0)).fails()

    assert isinstance(move, Finish)
    assert "failed" == move.outcome.ending
    assert isinstance(move.given_up, GiveUp)


def test_a_stop_signal_in_the_pause_stops_the_run():
    run = Run()
    run.fails()
    move = run.happens(Interrupted(SIGTERM))

    assert ("stopped", SIGTERM) == (move.outcome.ending, move.outcome.stop_signal)
    assert move.given_up is None
    assert move.outcome.diagnosis is not None


def test_a_next_attempt_that_cannot_be_prepared_ends_the_run():
    """Its GPUs may have gone; the outcome is that of the attempt that ran."""
    run = Run()
    run.fails()
    move = run.happens(Unprepared("2 of the GPUs are missing", "Wait for them."))

    assert GiveUp(why="2 of the GPUs are missing", advice="Wait for them.") == move.given_up
    assert "failed" == move.outcome.ending


@pytest.mark.parametrize("event", [Interrupted(SIGTERM), Unprepared("why", "advice")])
def test_nothing_can_follow_an_attempt_before_one_has_ended(event):
    """The first attempt that cannot be prepared is an error of the launch."""
    with pytest.raises(ValueError, match="before any attempt has failed"):
        Run().happens(event)


@given(st.lists(st.sampled_from(KINDS), max_size=30), st.integers(0, 4))
def test_every_run_that_keeps_failing_ends(kinds, restarts):
    """As often as its policy allows at most; every pause is finite and leads to another start."""
    run = Run(replace(POLICY, max_restarts=restarts, max_fruitless=5))
    for tries, kind in enumerate(kinds, start=1):
        move = run.fails(kind, last_step=50 + tries)
        if isinstance(move, Finish):
            assert isinstance(move.given_up, GiveUp)
            return
        assert isinstance(move, (Restart, Replan))
        assert 0 <= move.after_s <= max(POLICY.backoff_s)
        assert tries == len(run.state.failed) <= restarts
    assert len(kinds) <= restarts


@given(st.lists(st.sampled_from(KINDS), min_size=1, max_size=10))
def test_gpus_that_were_lost_never_come_back(kinds):
    """Each plan that is made again leaves out all that were left out before."""
    run, before = Run(replace(POLICY, max_restarts=100)), set()
    for gpu, kind in enumerate(kinds):
        move = run.fails(kind, gpu=gpu, last_step=50 + gpu)
        if isinstance(move, Finish):
            return
        if isinstance(move, Replan):
            assert before <= set(move.without_gpus)
            before = set(move.without_gpus)
