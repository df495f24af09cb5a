"""How a run stands, from its events and what is left of its attempts."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuops.core.run.record import Attempt, describe_stopped, status


def attempt(number=1, *, returncode=None, alive=False):
    """One life of a run."""
    return Attempt(number=number, started_at=1.0, ended_at=None, returncode=returncode, alive=alive)


def ended(outcome, number=1):
    """The event with which a supervisor closes an attempt."""
    return {"event": "attempt_ended", "attempt": number, "outcome": outcome}


def test_a_run_is_running_while_its_newest_attempt_lives():
    """What happened to earlier attempts does not matter then."""
    assert "running" == status([ended("failed")], [attempt(returncode=1), attempt(2, alive=True)])


@pytest.mark.parametrize("outcome", ["finished", "failed", "stopped"])
def test_a_run_ends_as_its_supervisor_said(outcome):
    """A stopped run is no failed one, though torchrun exits with 1."""
    assert outcome == status([ended(outcome)], [attempt(returncode=1)])


def test_only_the_newest_attempts_end_counts():
    """An old attempt's end is not this one's."""
    attempts = [attempt(returncode=0), attempt(2, returncode=1)]

    assert "failed" == status([ended("finished")], attempts)


@pytest.mark.parametrize(
    ("returncode", "expected"), [(0, "finished"), (1, "failed"), (-9, "failed")]
)
def test_without_a_supervisors_word_the_exit_record_counts(returncode, expected):
    """A supervisor that died left nothing to say; the reaper's record does."""
    assert expected == status([], [attempt(returncode=returncode)])


def test_without_any_record_a_run_is_lost():
    """Not alive, and nobody knows how it ended: not finished, and not failed either."""
    assert "lost" == status([], [attempt()])
    assert "lost" == status([], [])


@pytest.mark.parametrize("outcome", [None, "exploded", 3, ["failed"], {"a": 1}])
def test_an_outcome_that_nobody_knows_is_not_believed(outcome):
    """Events are read from a file that anybody may have touched."""
    assert "lost" == status([ended(outcome)], [attempt()])


def test_a_run_of_another_host_is_elsewhere_unless_it_has_ended():
    """Only that host can tell whether it runs; what it recorded counts here too."""
    there = replace(attempt(), elsewhere="n2")

    assert "elsewhere" == status([], [there])
    assert "stopped" == status([ended("stopped")], [there])
    assert "failed" == status([], [replace(there, returncode=1)])


@pytest.mark.parametrize("outcome", ["failed", "stopped"])
def test_the_end_of_a_run_is_its_last_word(outcome):
    """It was stopped in a pause, or no further attempt could be prepared."""
    happened = [ended("failed"), {"event": "restart", "attempt": 1}]
    over = {"event": "run_ended", "attempt": 1, "outcome": outcome}

    assert outcome == status([*happened, over], [attempt(returncode=1)])
    assert outcome == status([*happened, over], [attempt(returncode=1), attempt(2)])


def test_a_run_that_was_started_again_has_not_ended():
    """What was said before belongs to the attempts before."""
    over = {"event": "run_ended", "attempt": 1, "outcome": "stopped"}
    again = {"event": "attempt_started", "attempt": 2}

    assert "lost" == status([over, again], [attempt(returncode=1), attempt(2)])


def test_a_stopped_supervisor_is_told_with_the_command_that_continues_it():
    """Nothing is told of one that runs."""
    assert "unsupervised: its supervisor is stopped (kill -CONT 7)" == describe_stopped(7)
    assert "" == describe_stopped(None)


def test_a_run_whose_processes_proc_hides_is_not_called_lost():
    """Unless its end is recorded."""
    unseen = replace(attempt(), hidden=True)

    assert "hidden" == status([], [unseen])
    assert "finished" == status([], [replace(unseen, returncode=0)])
