"""The life of an attempt, with a clock that is advanced by hand."""

from __future__ import annotations

import signal
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.supervision.attempt import (
    KILL_AGAIN_S,
    OUTLAST_S,
    Abandoned,
    AskWorkers,
    Begun,
    Exited,
    Kill,
    Phase,
    StopPolicy,
    StopRequested,
    Supervision,
    TerminateAgent,
    Tick,
    step,
)

POLICY = StopPolicy(save_s=60, terminate_s=10)


class Attempt:
    """An attempt and a clock: what happens to it, and what was done about it."""

    def __init__(self):
        self.state = Supervision(policy=POLICY)
        self.now_s = 1000.0
        self.actions = []

    def happens(self, *events):
        for event in events:
            self.state, actions = step(self.state, event)
            self.actions += actions
        return self

    def advance(self, seconds):
        self.now_s += seconds
        return self.happens(Tick(self.now_s))

    def is_abandoned(self, code=-9, *, led=False):
        return self.happens(Abandoned(code, self.now_s, led))

    def stop(self, number=signal.SIGINT):
        return self.happens(StopRequested(number, self.now_s))


@pytest.fixture(name="training")
def _training():
    return Attempt().happens(Begun())


def test_an_attempt_runs_from_its_first_beat():
    """Starting until a worker says that it trains."""
    attempt = Attempt()
    assert Phase.STARTING is attempt.state.phase

    assert Phase.RUNNING is attempt.happens(Begun()).state.phase


def test_time_alone_does_nothing(training):
    """Nothing is due while nobody asked for anything."""
    assert [] == training.advance(1e9).actions


def test_a_stop_asks_the_workers_first(training):
    """They may save and leave; nothing is killed."""
    training.stop(signal.SIGTERM)

    assert [AskWorkers()] == training.actions
    assert Phase.STOPPING is training.state.phase
    assert signal.SIGTERM == training.state.stop_signal


def test_the_ladder_is_climbed_rung_by_rung(training):
    """Ask, wait for the save, SIGTERM to torchrun, wait, SIGKILL."""
    training.stop()

    assert [AskWorkers()] == training.advance(59.9).actions
    assert [AskWorkers(), TerminateAgent()] == training.advance(0.2).actions
    assert 2 == len(training.advance(9.8).actions)
    assert Kill() == training.advance(0.3).actions[-1]


def test_a_kill_is_repeated_until_it_is_heard(training):
    """A job that was not there yet to be killed is killed later."""
    training.stop().stop()

    for _ in range(3):
        training.advance(KILL_AGAIN_S)

    assert [AskWorkers(), Kill(), Kill(), Kill(), Kill()] == training.actions


def test_a_second_request_kills_at_once(training):
    """Ctrl-C twice does not wait."""
    assert [AskWorkers(), Kill()] == training.stop().stop().actions


def test_the_first_request_names_the_signal(training):
    """The exit code is that of the first signal."""
    training.stop(signal.SIGTERM).stop(signal.SIGINT)

    assert signal.SIGTERM == training.state.stop_signal


def test_a_job_can_be_stopped_before_it_trains():
    """A stop while starting climbs the same ladder to its end."""
    attempt = Attempt().stop()

    attempt.advance(60).advance(10)

    assert [AskWorkers(), TerminateAgent(), Kill()] == attempt.actions


def test_a_late_first_beat_does_not_unstop():
    """A worker that begins to train while being stopped is stopped all the same."""
    attempt = Attempt().stop().happens(Begun())

    assert Phase.STOPPING is attempt.state.phase
    assert TerminateAgent() in attempt.advance(61).actions


@pytest.mark.parametrize("before", [[], [Begun()], [StopRequested(2, 0)]])
def test_it_may_end_at_any_time(before):
    """However far it was, an exit ends it and leaves nothing due."""
    attempt = Attempt().happens(*before, Exited(-9))

    assert Phase.DONE is attempt.state.phase
    assert -9 == attempt.state.returncode
    assert attempt.state.rung_due_s is None


def test_an_exit_after_a_stop_remembers_the_stop(training):
    """That a person stopped it is known after its end."""
    assert signal.SIGINT == training.stop().happens(Exited(1)).state.stop_signal


def test_a_tick_that_comes_late_climbs_one_rung_only(training):
    """A supervisor that was suspended for an hour still gives each rung its time."""
    training.stop().advance(3600)

    assert [AskWorkers(), TerminateAgent()] == training.actions
    assert 2 == len(training.advance(9).actions)


moments = st.floats(0, 1e6, allow_nan=False)
events = st.one_of(
    st.just(Begun()),
    st.builds(StopRequested, st.sampled_from([1, 2, 15]), moments),
    st.builds(Tick, moments),
    st.builds(Exited, st.integers(-64, 255)),
)


@settings(max_examples=100)
@given(st.lists(events, max_size=30))
def test_no_order_of_events_breaks_the_rules(sequence):
    """Nothing is done after the end, nobody is signalled unasked, and a stop is not forgotten."""
    state, asked, ended = Supervision(policy=POLICY), False, None
    for event in sequence:
        before = state
        state, actions = step(state, event)
        asked = asked or (isinstance(event, StopRequested) and ended is None)
        if ended is not None:
            assert (before, []) == (state, actions)
        if isinstance(event, Exited) and ended is None:
            ended = event.returncode
        assert asked or not actions
        assert 1 >= len(actions)
        assert (state.phase is Phase.DONE) == (ended is not None)
        assert ended == state.returncode
        if state.phase is Phase.STOPPING:
            assert state.rung_due_s is not None


@settings(max_examples=100)
@given(st.lists(st.floats(0.01, 20), min_size=1, max_size=80), st.booleans())
def test_a_stop_comes_to_a_kill_in_bounded_time(waits, trains):
    """However the ticks fall, SIGKILL comes by the sum of the rungs and a tick for each."""
    attempt = Attempt().happens(*([Begun()] if trains else [])).stop()
    begin = attempt.now_s
    for wait in waits:
        attempt.advance(wait)
        if Kill() in attempt.actions:
            break

    late = attempt.now_s - begin > POLICY.save_s + POLICY.terminate_s + 2 * max(waits)
    assert Kill() in attempt.actions or not late
    assert [AskWorkers(), TerminateAgent(), Kill()][: len(attempt.actions)] == attempt.actions


def test_a_state_is_never_changed_in_place(training):
    """``step`` returns a new state, and leaves the old one as it was."""
    before = replace(training.state)
    step(training.state, StopRequested(2, 0.0))

    assert before == training.state


def test_what_a_dead_reaper_left_is_asked_terminated_killed(training):
    """Each rung after its time: a rank may be saving."""
    training.is_abandoned().is_abandoned()
    assert (Phase.STOPPING, [AskWorkers()]) == (training.state.phase, training.actions)

    training.advance(POLICY.save_s).is_abandoned()
    training.advance(POLICY.terminate_s).is_abandoned()
    assert [AskWorkers(), TerminateAgent(), Kill()] == training.actions
    assert (None, None) == (training.state.stop_signal, training.state.returncode)

    training.happens(Exited(-9))
    assert (Phase.DONE, -9) == (training.state.phase, training.state.returncode)


def test_ranks_are_asked_once_torchrun_has_gone_as_well(training):
    """It ends them, unless it is ended first: SIGKILL may take a moment."""
    training.is_abandoned(led=True).is_abandoned(led=True)
    assert (Phase.STOPPING, []) == (training.state.phase, training.actions)

    training.is_abandoned().is_abandoned()
    assert [AskWorkers()] == training.actions


def test_what_outlasts_its_end_is_waited_for_in_bounds(training):
    """It was killed again and again, and stays: somebody must look."""
    training.is_abandoned().advance(POLICY.save_s).advance(POLICY.terminate_s)
    for _ in range(int(OUTLAST_S / KILL_AGAIN_S)):
        training.advance(KILL_AGAIN_S).is_abandoned()
        assert Phase.STOPPING is training.state.phase
    training.advance(KILL_AGAIN_S).is_abandoned()

    assert (Phase.DONE, -9) == (training.state.phase, training.state.returncode)


def test_what_outlasts_the_reaper_was_asked_and_killed_before(training):
    """It recorded its exit: nobody waits for a save, nor long."""
    training.happens(Abandoned(0, training.now_s, recorded=True))
    assert [Kill()] == training.actions

    training.advance(OUTLAST_S + KILL_AGAIN_S).happens(Abandoned(0, training.now_s, recorded=True))
    assert (Phase.DONE, 0) == (training.state.phase, training.state.returncode)


def test_a_stop_while_the_rest_is_ended_does_not_cut_the_save(training):
    """The run is not started again; only a second request kills."""
    training.is_abandoned().stop(signal.SIGTERM)
    assert ([AskWorkers()], signal.SIGTERM) == (training.actions, training.state.stop_signal)

    training.stop(signal.SIGTERM)
    assert [AskWorkers(), Kill()] == training.actions


def test_a_reaper_that_dies_during_a_stop_changes_nothing_of_it(training):
    """The ladder goes on."""
    training.stop().is_abandoned()

    assert ([AskWorkers()], signal.SIGINT) == (training.actions, training.state.stop_signal)
