"""Which jobs are ended, and why not the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_processes import REAPER, RUN, init, pids, process, rank, torchrun

from gpuops.core.hang.detector import Blind, Healthy, Hung, Suspect, Warming
from gpuops.core.machine.device import Device, GpuInventory, GpuProcess
from gpuops.core.monitor.hung_jobs import ProcessNow, decide, select_jobs, unreleased
from gpuops.core.monitor.jobs import find_jobs
from gpuops.errors import UsageError

GIB = 1024**3
SILENT = {"ranks": (0, 1), "phase": "train", "idle_s": 400.0, "why": "no beat for 400 s"}
HUNG, SUSPECT = Hung(**SILENT), Suspect(**SILENT)
STACKS = "3 of 4 ranks wait in all_reduce, rank 2 sleeps at data.py:33"


def job_of(*processes):
    (job,) = find_jobs([init(), *processes])
    return job


def seen(job, **changes):
    """All its processes as they were."""
    looks = {p.pid: ProcessNow(start_ticks=p.start_ticks, state=p.state) for p in job.processes}
    return {pid: replace(look, **changes) for pid, look in looks.items()}


JOB = job_of(torchrun(), rank(11, 10, 0), rank(12, 10, 1), rank(13, 12, 1))
LOST = job_of(rank(11, 1, 0), rank(12, 1, 1))


def test_a_hung_job_is_ended_whole():
    """Ranks first, torchrun last, and the evidence says why."""
    found = decide(JOB, HUNG, seen(JOB), STACKS)

    assert found.sure
    assert ("no beat for 400 s", STACKS) == found.evidence
    assert [11, 12, 13, 10] == pids(found.stop)
    assert () == found.refused
    assert ("no beat for 400 s",) == decide(JOB, HUNG, seen(JOB)).evidence


def test_a_suspect_is_left_to_a_person():
    """And only with stacks to read; nothing acts upon a suspicion by itself."""
    found = decide(JOB, SUSPECT, seen(JOB), STACKS)

    assert not found.sure
    assert ("no beat for 400 s", STACKS) == found.evidence
    assert [11, 12, 13, 10] == pids(found.stop)
    assert () == decide(JOB, SUSPECT, seen(JOB)).stop


@pytest.mark.parametrize(
    ("assessment", "reason", "words"),
    [
        (Healthy(), "healthy", "moves, or its silence is within the limits"),
        (Warming(), "healthy", "is starting"),
        (SUSPECT, "unclear", "is only suspect: no beat for 400 s"),
        (
            Blind(why="it sends no heartbeats"),
            "unclear",
            "cannot be assessed: it sends no heartbeats",
        ),
        (None, "unclear", "has not been watched"),
    ],
)
def test_a_job_that_is_not_hung_is_left_alone(assessment, reason, words):
    """All of it, and it is said why."""
    found = decide(JOB, assessment, seen(JOB))
    (refusal,) = found.refused

    assert ((), (), False) == (found.stop, found.evidence, found.sure)
    assert (reason, (11, 12, 13, 10)) == (refusal.reason, refusal.pids)
    assert refusal.words.endswith(words)


@pytest.mark.parametrize("assessment", [HUNG, None, Healthy()])
def test_what_torchrun_left_behind_is_ended_whatever_it_does(assessment):
    """Nobody watches it; that it still trains changes nothing."""
    found = decide(LOST, assessment, seen(LOST))

    assert found.sure
    assert [11, 12] == pids(found.stop)
    assert (
        "torchrun has died and left it to pid 1: nothing watches it or will end it",
    ) == found.evidence


@pytest.mark.parametrize(
    ("changes", "sure"),
    [
        ({"argv": ("python3", "-u", "t.py")}, True),
        ({"argv": ("python3", "tensorboard")}, False),
        ({"argv": ("python3", "tensorboard"), "gpu_memory_bytes": 0}, False),
        ({"argv": ("/opt/train",), "gpu_memory_bytes": GIB, "gpus": (0,)}, True),
    ],
)
def test_what_may_be_a_tool_is_left_to_a_person(changes, sure):
    """torchrun starts ranks as ``python -u``; and a tool holds no GPU."""
    job = job_of(rank(11, 1, **changes))
    found = decide(job, None, seen(job))

    assert (sure, [11]) == (found.sure, pids(found.stop))
    assert ([11] if sure else []) == pids(found.certain)


def test_each_process_is_certain_by_itself():
    """A tool is not ended with the rank that was left beside it."""
    job = job_of(rank(11, 1, 0), rank(12, 1, 1, argv=("python3", "jupyter.py")))
    found = decide(job, None, seen(job))

    assert ([11, 12], [11], False) == (pids(found.stop), pids(found.certain), found.sure)


def test_a_hung_job_takes_no_copy_of_its_environment_along():
    """It is told of, and a person decides."""
    job = job_of(torchrun(), rank(11, 10, 0), rank(12, 1, 0))
    found = decide(job, HUNG, seen(job))

    assert ([11, 12, 10], [11, 10]) == (pids(found.stop), pids(found.certain))


def test_what_a_supervisor_ends_is_left_to_it():
    """torchrun has died just now: the supervisor lets the ranks save, and starts the run again."""
    found = decide(LOST, None, seen(LOST), supervisor_pid=3)
    (refusal,) = found.refused

    assert ((), (11, 12), "unclear") == (found.stop, refusal.pids, refusal.reason)
    assert "is ended by its supervisor (pid 3)" == refusal.words
    assert decide(JOB, HUNG, seen(JOB), supervisor_pid=3).sure


def test_the_evidence_says_what_depends_on_it():
    """The GPUs it holds, and the supervisor that may start it again."""
    boss = process(3, 2, "python3", "-m", "gpuops", "launch")
    ranks = [rank(11, 10, environment=RUN, gpus=(2, 3), gpu_memory_bytes=3 * GIB // 2)]
    job = job_of(
        boss, process(5, 3, *REAPER), torchrun(environment=RUN, gpu_memory_bytes=0), *ranks
    )

    assert (
        "no beat for 400 s",
        "it holds 1.5 GiB on GPU 2, 3",
        "its supervisor (pid 3) is alive, and may start run 20261121-061230-rvq again",
    ) == decide(job, HUNG, seen(job)).evidence


def test_a_job_with_a_reaper_left_says_so():
    """It is gpuops' own, and it did not end what it adopted."""
    job = job_of(process(5, 1, *REAPER), rank(11, 5, environment=RUN))

    assert "left it to gpuops' reaper" in decide(job, None, seen(job)).evidence[0]


@pytest.mark.parametrize("assessment", [HUNG, None, Healthy()])
@pytest.mark.parametrize("parent", [10, 1])
def test_a_job_of_somebody_else_is_never_touched(assessment, parent):
    """However hung, however lost."""
    others = {"user": "ana", "ours": False}
    job = job_of(*([torchrun(**others)] if parent == 10 else []), rank(11, parent, **others))
    found = decide(job, assessment, seen(job), STACKS)

    assert ((), False) == (found.stop, found.sure)
    assert ("not ours", "belongs to ana") == (found.refused[0].reason, found.refused[0].words)


def test_a_process_of_somebody_else_in_our_job_is_not_touched():
    """A rank that changed its user."""
    job = job_of(torchrun(), rank(11, 10, 0), rank(12, 10, 1, ours=False, user=None))
    found = decide(job, HUNG, seen(job))

    assert [11, 10] == pids(found.stop)
    assert ((12,), "not ours", "belongs to another user") == (
        found.refused[0].pids,
        found.refused[0].reason,
        found.refused[0].words,
    )


def test_a_pid_that_somebody_else_has_by_now_is_not_touched():
    """The start time is another."""
    found = decide(JOB, HUNG, {**seen(JOB), 12: ProcessNow(start_ticks=99999, state="S")})

    assert [11, 13, 10] == pids(found.stop)
    assert [((12,), "recycled")] == [(r.pids, r.reason) for r in found.refused]


def test_what_has_ended_by_itself_is_not_touched():
    """The pid is nobody's."""
    left = seen(JOB)
    del left[11], left[10]
    found = decide(JOB, HUNG, left)

    assert [12, 13] == pids(found.stop)
    assert [((11,), "gone"), ((10,), "gone")] == [(r.pids, r.reason) for r in found.refused]


def test_who_is_stuck_in_the_kernel_cannot_be_ended():
    """ProcessNow so twice; the rest of the job is ended all the same."""
    job = job_of(torchrun(), rank(11, 10, 0), rank(12, 10, 1, state="D"))
    found = decide(job, HUNG, seen(job))

    assert [11, 10] == pids(found.stop)
    assert [((12,), "unkillable")] == [(r.pids, r.reason) for r in found.refused]
    assert "(state D)" in found.refused[0].words
    assert [11, 12, 10] == pids(decide(job, HUNG, seen(job, state="S")).stop)
    assert [11, 12, 13, 10] == pids(decide(JOB, HUNG, seen(JOB, state="D")).stop)


def test_a_stopped_rank_is_ended():
    """State T is no protection."""
    job = job_of(torchrun(), rank(11, 10, 0, state="T"))

    assert [11, 10] == pids(decide(job, HUNG, seen(job)).stop)


RUNS = find_jobs(
    [
        init(),
        torchrun(environment=RUN),
        rank(11, 10, environment=RUN),
        rank(13, 11, environment=RUN),
        torchrun(20),
        rank(21, 20, port="29502"),
    ]
)


@pytest.mark.parametrize(
    ("by", "agents"),
    [
        ({}, [10, 20]),
        ({"run": "20261121-061230-rvq"}, [10]),
        ({"run": "/runs/20261121-061230-rvq"}, [10]),
        ({"pid": 21}, [20]),
        ({"pid": 13}, [10]),
        ({"pid": 20}, [20]),
        ({"pid": 11, "run": "20261121-061230-rvq"}, [10]),
    ],
)
def test_a_job_is_meant_by_its_run_or_any_of_its_pids(by, agents):
    """Nothing named means all."""
    assert agents == [job.agent.pid for job in select_jobs(RUNS, **by)]


@pytest.mark.parametrize(
    ("by", "sentence"),
    [
        ({"pid": 4711}, "pid 4711 is not a process of a training job."),
        ({"pid": 0}, "pid 0 is not a process of a training job."),
        ({"run": "other"}, "no process of run other is alive."),
        ({"run": "/runs/other"}, "no process of run /runs/other is alive."),
        ({"run": "other", "pid": 11}, "pid 11 does not belong to run other."),
        ({"run": "", "pid": 4711}, "pid 4711 is not a process of a training job."),
    ],
)
def test_what_means_no_job_is_refused(by, sentence):
    """Rather that than to go on with all of them."""
    with pytest.raises(UsageError) as caught:
        select_jobs(RUNS, **by)

    assert sentence == caught.value.message
    assert caught.value.hint


def test_memory_that_is_still_held_is_named():
    """By GPU and pid; nothing is said where nothing is held."""
    listed = (GpuProcess(pid=11, memory_bytes=3 * GIB), GpuProcess(pid=12))
    inventory = GpuInventory(
        devices=(Device(index=2, processes=listed), Device(index=3, processes=listed[:1]))
    )

    assert (
        "GPU 2, 3 still holds 6.0 GiB for pid 11",
        "GPU 2 still holds memory for pid 12",
    ) == unreleased(JOB.processes, inventory)
    assert () == unreleased(JOB.processes, GpuInventory())


@settings(max_examples=100, database=None)
@given(
    st.sampled_from([HUNG, SUSPECT, Healthy(), Warming(), Blind(why="dark"), None]),
    st.sampled_from([None, STACKS]),
    st.sampled_from([JOB, LOST, replace(JOB, ours=False), replace(LOST, ours=False)]),
    st.dictionaries(
        st.integers(10, 13),
        st.builds(ProcessNow, start_ticks=st.sampled_from([1000, 1100, 1200]), state=st.just("S")),
    ),
    st.sets(st.integers(10, 13)),
)
def test_only_our_own_are_ended_and_only_themselves(assessment, stacks, job, looks, foreign):
    """Whatever was seen: nobody is ended without evidence, or twice accounted for."""
    ranks = tuple(replace(p, ours=p.pid not in foreign) for p in job.ranks)
    found = decide(replace(job, ranks=ranks), assessment, looks, stacks)

    ended, spared = pids(found.stop), [pid for refusal in found.refused for pid in refusal.pids]
    assert sorted(ended + spared) == sorted(pids(job.processes))
    assert not (ended and not (job.ours and found.evidence))
    assert not found.sure or job.launcher == "lost" or assessment is HUNG
    assert set(pids(found.certain)) <= set(ended)
    assert not found.certain or job.launcher == "lost" or assessment is HUNG
    for stopped in found.stop:
        assert stopped.ours
        assert looks[stopped.pid].start_ticks == stopped.start_ticks
