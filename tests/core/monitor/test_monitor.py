"""What a monitor makes of one look after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from job_processes import rank, torchrun
from machines import gpu, inventory
from monitor_scene import BOB, DAY_S, RUN_DIR, Scene, states, words

from gpuops.core.machine.targets import Targets
from gpuops.core.monitor.frame import current_frame, filter_frame
from gpuops.core.monitor.jobs import TrainingJob
from gpuops.core.monitor.monitor import Monitor, update_monitor
from gpuops.core.monitor.sample import JobSample, Sample
from gpuops.errors import UsageError


def test_nothing_seen_is_nothing_to_show():
    """A board needs a look."""
    with pytest.raises(ValueError, match="no sample"):
        current_frame(Monitor())


def test_a_job_at_work_is_fine():
    """Its ranks say where they are, how fast, and for how long still."""
    seen = Scene().trains(8)
    job = seen.jobs[0]
    first = job.ranks[0]

    assert ("fine", "healthy", None) == (seen.health, job.health, job.why)
    assert (8, 1000, "train", 0.5) == (first.step, first.total_steps, first.phase, first.loss)
    assert first.steps_per_s == pytest.approx(0.5)
    assert first.usual_steps_per_s == pytest.approx(0.5)
    assert first.eta_s == pytest.approx(2 * 992)
    assert ["ok", "ok"] == states(seen)
    assert "20261121-061230-rvq rank 1" == seen.gpus[1].holder
    assert (97,) * 8 == seen.gpus[0].history


def test_a_job_that_stands_still_is_suspected_with_its_evidence():
    """Which rank, since when, what is usual, how the GPUs look, and what they took before."""
    scene = Scene(ranks=4)
    scene.trains(8)
    scene.gpus = {index: scene.held(index, power_w=70.0) for index in range(4)}
    scene.clock_s += 2
    scene.beat(0, 1, 2)
    for _ in range(15):
        seen = scene.look()
    job = seen.jobs[0]

    assert ("degraded", "suspect") == (seen.health, job.health)
    start = "rank 3: step 8 unchanged for 32 s, 3 of 3 others are further; no beat for 30 s"
    assert job.why.startswith(f"{start} (a step takes 2 s); it counts as hung after 30 min")
    assert job.why.endswith("4 of 4 GPUs at 97 % and 70 W, 290 W while it moved")
    assert [False, False, False, True] == [rank.culprit for rank in job.ranks]
    assert words(seen)[-1].startswith(f"{job.name} may hang: rank 3: step 8 unchanged for ")


def test_a_beat_is_no_progress():
    """Both ages are told apart: the rank lives, its step does not change."""
    scene = Scene()
    scene.trains(8)
    for _ in range(10):
        scene.clock_s += 2
        scene.beat(step=8)
        seen = scene.look(0.0)
    first = seen.jobs[0].ranks[0]

    assert (first.progress_age_s, first.beat_age_s) == (20.0, 0.0)
    assert first.steps_per_s == pytest.approx(1 / 20)
    assert first.usual_steps_per_s == pytest.approx(1 / 2)


def test_a_job_that_hangs_since_yesterday_is_known_at_the_first_look():
    """Its beats carry their time; nobody has to wait for it again."""
    scene = Scene()
    scene.beat()
    seen = scene.look(86_400.0)

    assert ("hung", "hung") == (seen.health, seen.jobs[0].health)
    assert "step 1 unchanged for 86400 s" in seen.jobs[0].why


def test_a_machine_that_slept_hangs_nothing():
    """Between two looks of a watch, no more time passes than they are apart."""
    scene = Scene()
    scene.trains(8)
    seen = scene.look(30_000.0)

    assert seen.jobs[0].health == "healthy"


def test_the_supervisors_word_holds_until_a_rank_beats_again():
    """Who just came takes over what is known already, and drops it when it is over."""
    scene = Scene()
    scene.trains(2)
    scene.notes(
        "diagnosis", attempt=1, what="suspected", kind="python spin", sure=True, rank=1,
        why="rank 1 computes without end at step (train.py:52)",
    )  # fmt: skip
    suspected = scene.look(1.0)
    moved = scene.trains(1)

    assert "suspect" == suspected.jobs[0].health
    assert "python spin: rank 1 computes" in suspected.jobs[0].diagnosis
    assert [False, True] == [rank.culprit for rank in suspected.jobs[0].ranks]
    assert ("healthy", None) == (moved.jobs[0].health, moved.jobs[0].diagnosis)
    assert "20261121-061230-rvq makes progress again" == words(moved)[-1]


def test_what_a_supervisor_said_of_an_earlier_attempt_is_over():
    """Another attempt is another job."""
    scene = Scene()
    scene.attempt = 2
    scene.notes("diagnosis", attempt=1, what="hung", kind="rank stopped", sure=True, why="so")
    scene.trains(1)

    assert scene.look().jobs[0].diagnosis is None


def test_a_run_starts_is_started_again_and_ends():
    """Each is told with its time, and not twice; its GPUs are its own all the time."""
    scene = Scene()
    scene.jobs = []
    scene.look()
    scene.jobs = [0]
    scene.trains(2)
    scene.notes("restart", attempt=1, why="from the checkpoint of step 2")
    scene.jobs, scene.between = [], {RUN_DIR}
    scene.look()
    scene.attempt, scene.beats, scene.jobs, scene.between = 2, {}, [0], ()
    scene.trains(2)
    scene.jobs, scene.ended = [], {RUN_DIR: "finished"}
    seen = scene.look()
    name = "20261121-061230-rvq"

    assert words(seen) == [
        f"{name} started",
        f"{name} restarts: from the checkpoint of step 2",
        f"{name} was started again, attempt 2",
        f"{name} finished",
    ]
    assert [change.level for change in seen.changes] == [
        "info", "warning", "warning", "good",
    ]  # fmt: skip


def test_a_run_between_two_attempts_has_not_gone():
    """Its processes have; its supervisor is there, and may start it again or give it up."""
    scene = Scene()
    scene.trains(2)
    scene.jobs, scene.between = [], {RUN_DIR}
    assert [] == words(scene.look())

    scene.notes("giveup", attempt=1, why="the same failure twice")
    scene.look()
    scene.between, scene.ended = (), {RUN_DIR: "failed"}
    name = "20261121-061230-rvq"
    assert [f"{name} is given up: the same failure twice", f"{name} failed"] == words(scene.look())


def test_two_attempts_at_once_are_two_jobs():
    """A rank that even SIGKILL cannot end outlasts its attempt; nothing is told at every look."""
    scene = Scene()
    scene.attempt = 2
    scene.trains(2)
    old, new = replace(scene.sample().jobs[0].job, attempt=1), scene.sample().jobs[0].job
    for _ in range(3):
        scene.clock_s += 2
        sample = scene.sample()
        both = tuple(replace(sample.jobs[0], job=job) for job in (old, new))
        scene.monitor = update_monitor(scene.monitor, replace(sample, jobs=both))
    seen = current_frame(scene.monitor)

    assert ([1, 2], ["20261121-061230-rvq started"]) == (
        [job.attempt for job in seen.jobs],
        words(seen),
    )


def test_a_single_look_at_slow_steps_suspects_nothing():
    """Two beats tell how long a step takes: eight seconds are not long where it takes twelve."""
    scene = Scene()
    scene.beat(step=7)
    scene.beats = {n: replace(b, step_before=6, step_s=12.0) for n, b in scene.beats.items()}
    seen = scene.look(8.0)

    assert ("healthy", "fine") == (seen.jobs[0].health, seen.health)


def test_the_supervisors_word_on_a_silent_script_ends_when_its_log_grows():
    """It never beats; that it was suspected once is not held against it for ever."""
    scene = Scene()
    scene.log_bytes = 100
    scene.look()
    scene.notes("diagnosis", attempt=1, what="suspected", kind="unknown", sure=False, why="silent")
    suspected = scene.look()
    scene.log_bytes = 200
    moved = scene.look()

    assert ("suspect", None) == (suspected.jobs[0].health, moved.jobs[0].diagnosis)


def test_an_abandoned_job_and_an_unsupervised_one_are_told():
    """Nobody will end the one, nobody will start the other again."""
    scene = Scene()
    scene.supervised = False
    unsupervised = scene.trains(8)
    scene.changes = {"launcher": "lost", "agent": None}
    abandoned = scene.look()
    scene.supervised = True
    ending = scene.look()

    assert ("degraded", "healthy") == (unsupervised.health, unsupervised.jobs[0].health)
    died = "torchrun has died and left its ranks"
    assert f"{died}: nothing will end them" in abandoned.jobs[0].why
    assert f"{died}: its supervisor ends them" in ending.jobs[0].why


def test_somebody_elses_job_is_left_alone():
    """It is listed; nobody looks into it."""
    job = TrainingJob(
        user="bob", ours=False, launcher="torchrun",
        ranks=(rank(50, 49, ours=False, user="bob"),), agent=torchrun(49, ours=False, user="bob"),
    )  # fmt: skip
    sample = Sample(at_s=DAY_S, clock_s=1.0, inventory=inventory(), jobs=(JobSample(job=job),))
    row = current_frame(update_monitor(Monitor(), sample)).jobs[0]

    assert ("left alone", "bob", 50, None) == (
        row.health, row.user, row.ranks[0].pid, row.ranks[0].step,
    )  # fmt: skip


def test_advice_comes_with_its_number():
    """Idle GPUs, waiting ranks, unused and scarce memory, heat."""
    scene = Scene()
    scene.gpus = {
        0: scene.held(0, utilization_pct=31, temperature_c=84),
        1: scene.held(1, utilization_pct=31, memory_used_bytes=79 * 1024**3),
    }
    seen = scene.trains(20, data_wait=0.45)
    idle = scene.trains(20, data_wait=0.01)
    waits = "31 % utilisation, under 50, its ranks wait up to"

    assert [one.words for one in seen.advice] == [
        f"{waits} 45% of a step for data: look at data loading",
        "99% of a GPU's memory used, over 90%: it may run out",
        "84 °C, over 80: look at fans, filters and the room's air",
    ]
    assert idle.advice[0].words.endswith("wait up to 1% of a step for data: try a larger batch")


def test_advice_goes_by_the_targets_of_the_jobs_profile():
    """Other figures than usual; a GPU without a job is judged by the usual ones."""
    wanted = Targets(utilization_pct=98, memory_least=0.9, memory_most=0.95, temperature_c=70)
    scene = Scene(targets=wanted)
    scene.gpus = {
        0: scene.held(0, temperature_c=75),
        1: scene.held(1, temperature_c=69),
        2: scene.held(2, temperature_c=75, processes=()),
    }
    seen = scene.trains(20)

    assert [(one.about, one.words) for one in seen.advice] == [
        (seen.jobs[0].name, "97 % utilisation, under 98: look at data loading"),
        (seen.jobs[0].name, "80% of its memory used, under 90%: try a larger batch"),
        ("GPU 0", "75 °C, over 70: look at fans, filters and the room's air"),
    ]


def test_advice_needs_enough_looks():
    """A moment's reading says nothing."""
    scene = Scene()
    scene.gpus = {0: scene.held(0, utilization_pct=0), 1: scene.held(1)}

    assert () == scene.trains(3).advice


def test_a_part_of_the_board():
    """Some GPUs, or a run with its GPUs; a GPU that is not there is said to be none."""
    scene = Scene()
    scene.gpus |= {2: gpu(2, processes=(BOB,)), 3: gpu(3)}
    whole = scene.look()

    assert [2, 3] == [row.index for row in filter_frame(whole, gpus=["2", "GPU-3"]).gpus]
    assert ([], 1) == (
        [row.index for row in filter_frame(whole, gpus=["3"]).strangers],
        len(filter_frame(whole, gpus=["2"]).strangers),
    )
    assert [0, 1] == [row.index for row in filter_frame(whole, run={RUN_DIR}).gpus]
    assert [0, 1] == [len(filter_frame(whole, gpus=[gpu]).jobs) for gpu in ("3", "1")]
    assert () == filter_frame(whole, run={"another"}).jobs
    with pytest.raises(UsageError, match="there is no GPU 9 here"):
        filter_frame(whole, gpus=["9"])


def test_what_is_remembered_has_an_end():
    """After a month of looking it is no larger than after an hour."""
    scene = Scene()
    for number in range(400):
        scene.gpus[0] = gpu(0, state="lost" if number % 2 else "ok", fault="gone")
        seen = scene.look()

    assert (200, 150) == (len(seen.changes), len(seen.gpus[0].history))


def test_a_job_that_never_beats_is_not_starting_for_ever():
    """At first it may be yet to; later it is said that nothing can be told of it."""
    scene = Scene()
    scene.starts(10.0)
    young = scene.look()
    scene.starts(600.0)
    old = scene.look()

    assert "starting" == young.jobs[0].health
    assert ("blind", "fine") == (old.jobs[0].health, old.health)
    assert "sends no heartbeats" in old.jobs[0].why
