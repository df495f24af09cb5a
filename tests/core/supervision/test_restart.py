"""Started again, differently, or not at all: tables of endings."""

from __future__ import annotations

from dataclasses import replace

import pytest
from endings import CHANCE, KEY, LASTING, NOW_S, POLICY, ended, numbered

from gpuops.core.supervision.restart import GiveUp, Replan, Restart, decide


def decision(*attempts, policy=POLICY, now_s=None):
    """What follows the last of them, at the moment it ended unless told otherwise."""
    now_s = attempts[-1].ended_s if now_s is None else now_s
    return decide(numbered(*attempts), policy, now_s)


def silent(exitcode, *, duration_s=3600.0):
    """An attempt that crashed and reported no step; a script may have trained for an hour."""
    end = ended("signal", exitcode=exitcode, last_step=None, first_step=None)
    return replace(end, duration_s=duration_s)


@pytest.mark.parametrize("kind", [*CHANCE, "python spin", "collective mismatch", "unknown", "nan"])
def test_what_may_not_come_back_is_tried_again(kind):
    """After the first pause; and it is said which try that is."""
    found = decision(ended(kind))

    assert Restart(after_s=1, why="restart 1 of 3 without a newer checkpoint") == found


def test_pauses_grow_and_the_budget_ends():
    """The last pause stays; past the budget the reason names count, time and cause."""
    ends = [ended(at_s=100 * n, last_step=50 + n) for n in range(4)]
    policy = replace(POLICY, backoff_s=(1, 2))
    pauses = [decision(*ends[: n + 1], policy=policy).after_s for n in range(3)]
    last = decision(*ends, policy=policy)

    assert [1, 2, 2] == pauses
    assert isinstance(last, GiveUp)
    assert (
        "it ended 4 times within 60 min without a newer checkpoint: rank 1 was killed" == last.why
    )
    assert "Look at it." == last.advice


def test_the_budget_is_one_of_a_window():
    """Failures that lie further back than the window are forgiven."""
    early = [ended(at_s=-4000, last_step=n) for n in range(3)]

    assert 1 == decision(*early, ended()).after_s


def test_failures_far_apart_end_too():
    """A job that never leaves a checkpoint is not repeated for ever, however slowly it fails."""
    ends = [ended(at_s=4000 * n, last_step=n) for n in range(9)]

    assert isinstance(decision(*ends[:8]), Restart)
    assert decision(*ends).why.startswith("it ended 9 times in a row without a newer checkpoint")


def test_a_larger_budget_is_not_cut_by_the_other():
    """Who allows 100 restarts gets 100."""
    ends = [ended(last_step=n) for n in range(100)]

    assert isinstance(decision(*ends, policy=replace(POLICY, max_restarts=100)), Restart)


def test_a_newer_checkpoint_clears_the_count():
    """The attempt that left it is followed at once; the one after it waits the first pause."""
    ends = [*(ended(last_step=n) for n in range(3)), ended(checkpoint_step=40)]

    assert Restart(after_s=0, why="from the checkpoint of step 40") == decision(*ends)
    assert 1 == decision(*ends, ended(checkpoint_step=40, last_step=60)).after_s


@pytest.mark.parametrize(
    ("first_step", "checkpoint_step"),
    [(501, 500), (500, 500), (None, 500), (1, None), (None, None)],
)
def test_a_checkpoint_that_was_there_is_no_progress(first_step, checkpoint_step):
    """The one it went on from; or one of which nobody knows when it was made."""
    end = ended(first_step=first_step, last_step=510, checkpoint_step=checkpoint_step)

    assert 1 == decision(end).after_s


def test_work_done_twice_is_no_progress():
    """A broken checkpoint was set aside: what counts is more than there ever was."""
    ends = [
        ended(first_step=1, checkpoint_step=500, last_step=510),
        ended(first_step=511, checkpoint_step=400, last_step=520),
        ended(first_step=401, checkpoint_step=500, last_step=530),
    ]

    assert 2 == decision(*ends).after_s
    assert 0 == decision(*ends, ended(first_step=501, checkpoint_step=600)).after_s


def test_a_first_look_that_came_late_takes_no_progress_away():
    """What was there before is known from the attempt before; likewise where none says a step."""
    before = ended(first_step=1, last_step=22, checkpoint_step=20)
    late = ended(first_step=26, last_step=27, checkpoint_step=25)
    silent = ended(first_step=None, last_step=None, checkpoint_step=20)

    assert 0 == decision(before, late).after_s
    assert 0 == decision(silent, replace(silent, checkpoint_step=25)).after_s
    assert 2 == decision(silent, silent).after_s


def test_a_pause_that_has_passed_is_not_waited_again():
    """The decision came late: the supervisor was away, or stacks were collected."""
    end = ended()

    assert 0.25 == decision(end, now_s=NOW_S + 0.75).after_s
    assert 0 == decision(end, now_s=NOW_S + 30).after_s
    assert 1 == decision(end, now_s=NOW_S - 500).after_s


@pytest.mark.parametrize("progress", [None, 40])
def test_no_restarts_means_none(progress):
    """Not even after a checkpoint."""
    found = decision(ended(checkpoint_step=progress), policy=replace(POLICY, max_restarts=0))

    assert "restarts are switched off: rank 1 was killed" == found.why


@pytest.mark.parametrize(
    "end",
    [
        ended("exception", traceback_key=KEY),
        ended("exception", traceback_key=KEY, last_step=None, first_step=None),
        ended("unknown", traceback_key=KEY),
        ended("nan"),
        ended("nan", traceback_key=KEY),
        ended("collective mismatch"),
        ended("python spin"),
        ended("exception", exitcode=1),
        ended("unknown", exitcode=1),
        ended("signal", exitcode=-11),
        ended("signal", exitcode=-11, last_step=None, first_step=None),
        ended("signal", exitcode=-6, last_step=None, first_step=None),
    ],
)
def test_a_defect_is_recognised_the_second_time(end):
    """It failed there before, and nobody has got past it since."""
    found = decision(end, end)

    assert isinstance(decision(end), Restart)
    assert isinstance(found, GiveUp)
    where = "before its first step" if end.last_step is None else "at step 50"
    assert f"the same failure {where} in attempts 1 and 2" in found.why
    assert "Look at it." == found.advice


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (
            ended("exception", traceback_key=KEY),
            ended("exception", traceback_key=KEY, last_step=51),
        ),
        (ended("exception", traceback_key=KEY), ended("exception", traceback_key=f"{KEY} more")),
        (ended("exception", traceback_key=KEY), ended("nan")),
        (ended("nan"), ended("python spin")),
        (ended("signal", exitcode=-9), ended("signal", exitcode=-9)),
        (ended("signal", exitcode=-11), ended("signal", exitcode=-6)),
        (silent(-11), silent(-11)),
        (silent(-6, duration_s=60), silent(-11, duration_s=60)),
        (
            ended("signal", exitcode=-15, traceback_key=KEY),
            ended("signal", exitcode=-15, traceback_key=KEY),
        ),
        (ended("peer died", traceback_key=KEY), ended("peer died", traceback_key=KEY)),
        (
            ended("exception", traceback_key="torch.distributed.DistNetworkError /job/t.py:1:f"),
            ended("exception", traceback_key="torch.distributed.DistNetworkError /job/t.py:1:f"),
        ),
        (ended("unknown"), ended("unknown")),
        (
            ended("python spin", last_step=None, first_step=None),
            ended("python spin", last_step=None, first_step=None),
        ),
    ],
)
def test_what_chance_may_repeat_is_no_defect(first, second):
    """Another place or traceback, a signal from outside, a network, an end that tells nothing."""
    assert isinstance(decision(first, second), Restart)


def test_a_defect_is_recognised_across_other_failures():
    """Something else happened in between, and it did not get further."""
    end, other = ended("exception", traceback_key=KEY), ended("signal", last_step=20)

    assert "attempts 1 and 3" in decision(end, other, end).why


def test_who_got_past_it_shows_that_it_was_chance():
    """The step at which it failed was trained all the same."""
    end, further = ended("exception", traceback_key=KEY), ended("signal", last_step=80)

    assert isinstance(decision(end, further, end), Restart)


@pytest.mark.parametrize(
    "end",
    [
        ended("exception", traceback_key="ModuleNotFoundError /job/train.py:1:<module>"),
        ended("exception", traceback_key="SyntaxError /job/train.py:1"),
        ended("exception", traceback_key="KeyError /job/train.py:1:<module> /job/m.py:9:<module>"),
        ended("exception", exitcode=2),
        ended("unknown", exitcode=2),
    ],
)
def test_a_program_that_cannot_begin_is_left_at_once(end):
    """Unless it trained before: then something happened to the machine, which may pass."""
    never = replace(end, first_step=None, last_step=None)
    trained = ended(last_step=20)

    assert decision(never).why.startswith("it cannot start: ")
    assert "Look at it." == decision(never).advice
    assert isinstance(decision(trained, never), Restart)
    assert isinstance(decision(end), Restart)


def of_torchrun(raised, why="torchrun raised it"):
    """An attempt that torchrun itself ended by an exception, before there was any rank."""
    end = ended("exception", traceback_key=f"{raised} /venv/torch/run.py:9:<module>")
    cause = replace(end.diagnosis, rank=None, why=why)
    return replace(end, first_step=None, last_step=None, diagnosis=cause)


@pytest.mark.parametrize("raised", ["ImportError", "AttributeError", "ValueError", ""])
def test_what_torchrun_raises_itself_it_raises_every_time(raised):
    """It is left at once, whatever the exception: also one whose traceback is not whole."""
    assert decision(of_torchrun(raised)).why == "it cannot start: torchrun raised it"


def test_a_network_that_is_missed_while_a_module_is_imported_may_come_back():
    """A module may ask a server when it is imported."""
    key = "ConnectionError /job/t.py:1:<module> /job/m.py:9:<module>"

    assert isinstance(decision(ended("exception", traceback_key=key, last_step=None)), Restart)


@pytest.mark.parametrize("raised", ["DistNetworkError", "RendezvousTimeoutError", "OSError"])
def test_a_network_that_torchrun_misses_may_come_back(raised):
    """So it is started again, unless a library is missing."""
    missing = "torchrun raised OSError: libcudart.so.12: cannot open shared object file"

    assert isinstance(decision(of_torchrun(raised)), Restart)
    assert isinstance(decision(of_torchrun(raised, missing)), GiveUp)


@pytest.mark.parametrize("kind", LASTING)
def test_what_a_restart_cannot_mend_is_left_with_advice(kind):
    """Though it made progress; why and advice are the diagnosis'."""
    found = decision(ended(kind, checkpoint_step=40))

    assert GiveUp(why="rank 1 was killed", advice="Look at it.") == found


def test_gpu_memory_that_ran_out_halves_the_batch_twice():
    """Then it is left, unless it gets on all the same."""
    end = ended("out of memory (gpu)")
    first, second, third = (decision(*[end] * n) for n in (1, 2, 3))
    got_on = [end, end, replace(end, checkpoint_step=40)]

    assert isinstance(first, Replan)
    assert isinstance(second, Replan)
    assert first.halve_batch
    assert second.halve_batch
    assert "with half the micro-batch; restart 1 of 3 without a newer checkpoint" == first.why
    assert isinstance(third, GiveUp)
    assert third.why.startswith("even with the micro-batch halved 2 times it does not fit")
    assert "smaller model" in third.advice
    assert isinstance(decision(*got_on), Restart)


def test_a_lost_gpu_is_left_alone_from_then_on():
    """Each plan names all that were lost, as ``--exclude-gpu`` takes them."""
    ends = [ended("gpu lost", gpu=3), ended(), ended("gpu lost", gpu=0)]

    assert ("3",) == decision(ends[0]).without_gpus
    assert "without GPU 3; restart 1 of 3 without a newer checkpoint" == decision(ends[0]).why
    assert ("3", "0") == decision(*ends).without_gpus
    assert ("3",) == decision(ends[0], ended("out of memory (gpu)")).without_gpus
    assert ("3",) == decision(ends[0], ended("port taken")).without_gpus
    assert not decision(*ends).halve_batch


def test_a_gpu_that_nobody_can_name_is_looked_for():
    """The driver said that one was lost, not which: plan for those that answer."""
    found = decision(ended("gpu lost", gpu=None))

    assert isinstance(found, Replan)
    assert () == found.without_gpus
    assert found.why.startswith("on the GPUs that answer")


def test_a_gpu_with_an_unkillable_process_is_left_alone():
    """Whatever made it hang."""
    assert ("2",) == decision(ended("stuck in I/O", held_gpus=(2,))).without_gpus


def test_a_port_that_was_taken_is_planned_anew():
    """The same plan would meet the same port."""
    found = decision(ended("port taken", first_step=None, last_step=None))

    assert isinstance(found, Replan)
    assert (False, ()) == (found.halve_batch, found.without_gpus)


def test_beside_what_could_not_be_ended_nothing_is_started():
    """Two attempts would write the same checkpoints; it is named."""
    found = decision(ended(left="rank 0 (pid 12)"))

    assert isinstance(found, GiveUp)
    assert "rank 0 (pid 12) of attempt 1 cannot be ended" in found.why
