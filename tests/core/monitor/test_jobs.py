"""Which training jobs run, told from the processes of a machine."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from job_processes import REAPER, RUN, TORCHRUN, init, pids, process, rank, torchrun

from gpuops.core.machine.device import Device, GpuInventory, GpuProcess
from gpuops.core.monitor.jobs import find_jobs, gpu_use, python_program

CORE = ("/opt/wandb-core", "--port-filename", "/tmp/port")  # noqa: S108 - a command as it is
GIB = 1024**3


def filter_frame(*processes):
    """The one job among them."""
    (job,) = find_jobs(processes)
    return job


def test_a_job_is_torchrun_its_ranks_and_what_they_started():
    """Ranks by number; data loaders below them are not ranks, nor is what carries no rank."""
    processes = [
        init(), torchrun(), rank(12, 10, 1), rank(11, 10, 0), rank(14, 12, 1), rank(15, 14, 1),
        process(16, 10, "/venv/bin/python3", "-c", "from multiprocessing import ..."),
    ]  # fmt: skip
    job = filter_frame(*processes)

    assert ("torchrun", 10, [11, 12]) == (job.launcher, job.agent.pid, pids(job.ranks))
    assert [14, 15] == pids(job.children)
    assert [11, 12, 14, 15, 10] == pids(job.processes)
    assert ("mei", True) == (job.user, job.ours)
    assert (None, None, None) == (job.run_id, job.run_dir, job.attempt)
    assert (None, None) == (job.reaper, job.supervisor_pid)


def test_a_run_of_gpuops_is_known_by_its_environment():
    """Run, folder and attempt; the reaper, and the supervisor above it."""
    boss = process(3, 2, "/venv/bin/python3", "/venv/bin/gpuops", "launch", "rvq")
    reaper = process(5, 3, *REAPER, environment=RUN)
    agent = torchrun(environment=RUN)
    job = filter_frame(init(), boss, reaper, agent, rank(11, 10, environment=RUN))

    assert ("20261121-061230-rvq", "/runs/20261121-061230-rvq", 2) == (
        job.run_id,
        job.run_dir,
        job.attempt,
    )
    assert (5, 3, 10) == (job.reaper.pid, job.supervisor_pid, job.agent.pid)


def test_what_a_reaper_started_is_the_agent_whatever_it_is_called():
    """And not what it has adopted."""
    reaper = process(5, 1, *REAPER, environment=RUN)
    agent = process(10, 5, "/venv/bin/python", "stand_in.py", environment=RUN)
    ranks = [rank(11, 10, environment=RUN)]

    assert 10 == filter_frame(init(), reaper, agent, *ranks).agent.pid
    assert None is filter_frame(init(), reaper, replace(ranks[0], parent_pid=5)).agent
    assert () == find_jobs([init(), reaper, agent])


def test_two_launches_are_two_jobs():
    """The oldest first; one whose ranks are not there yet is one too."""
    jobs = find_jobs([torchrun(20), torchrun(10), rank(11, 10), init()])

    assert [10, 20] == [job.agent.pid for job in jobs]
    assert () == jobs[1].ranks


@pytest.mark.parametrize(
    ("parent", "launcher"),
    [
        (init(), "lost"),
        (None, "lost"),
        (process(7, 1, "/lib/systemd/systemd", "--user"), "lost"),
        (process(1, 0, "/bin/sh", "start.sh"), "lost"),
        (process(7, 1, "/sbin/tini"), "lost"),
        (process(7, 1, *REAPER), "lost"),
        (process(7, 1, "/venv/bin/python3", "/venv/bin/accelerate", "launch", "t.py"), "unknown"),
        (process(1, 0, "/usr/bin/python3", "/usr/bin/supervisord"), "unknown"),
        (process(7, 1, "my job", python=True), "unknown"),
        (replace(process(7, 1), argv=()), "unknown"),
    ],
)
def test_a_rank_is_lost_where_somebody_adopted_it(parent, launcher):
    """Whoever is a Python may be its torchrun under another name; and so may one not seen."""
    ranks = [rank(11, parent.pid if parent else 1, 0), rank(12, parent.pid if parent else 1, 1)]
    job = filter_frame(*ranks, *([parent] if parent else []))

    assert (launcher, None, [11, 12]) == (job.launcher, job.agent, pids(job.ranks))
    assert (parent is not None and parent.argv == REAPER) == (job.reaper is not None)


def test_a_rank_from_outside_the_container_is_not_lost():
    """Its parent has no number here."""
    assert "unknown" == filter_frame(rank(11, 0)).launcher


def test_a_program_that_was_sent_to_the_background_is_not_lost():
    """Somebody gave it a rank by hand, and went home: pid 1 is its parent, and torchrun never."""
    alone = process(11, 1, "python", "t.py", environment={"RANK": "0", "LOCAL_RANK": "0"})

    assert "unknown" == filter_frame(init(), alone).launcher


def test_lost_ranks_of_two_launches_are_two_jobs():
    """They met at different ports."""
    jobs = find_jobs([init(), rank(11, 1, 0), rank(12, 1, 1), rank(21, 1, 0, port="29502")])

    assert [[11, 12], [21]] == [pids(job.ranks) for job in jobs]


def test_a_tool_that_outlived_its_job_is_no_rank():
    """It uploads, say. One that holds a GPU is none of its business any more."""
    tool = rank(11, 1, argv=CORE)

    assert () == find_jobs([init(), tool])
    assert () == find_jobs([init(), replace(tool, gpu_memory_bytes=0)])
    assert "lost" == filter_frame(init(), replace(tool, gpu_memory_bytes=GIB)).launcher


@pytest.mark.parametrize("argv", [CORE, ("python3", "watcher.py")])
def test_a_tool_in_the_background_belongs_to_the_living_job(argv):
    """Rank 0 started it, and it left its parents."""
    job = filter_frame(init(), torchrun(), rank(11, 10), rank(12, 1, argv=argv))

    assert ("torchrun", [11], [12]) == (job.launcher, pids(job.ranks), pids(job.children))


@pytest.mark.parametrize(
    "changes", [{"user": "ana", "ours": False}, {"environment": {"MASTER_PORT": "29502"}}]
)
def test_a_tool_of_somebody_else_does_not(changes):
    """Another user's, or one that met elsewhere."""
    jobs = find_jobs([init(), torchrun(), rank(11, 10), rank(12, 1, **changes)])

    assert [(), ()] == [job.children for job in jobs]


def test_programs_without_a_launch_in_common_are_not_one_job():
    """A rank's number is all that they share."""
    bare = {"RANK": "0", "LOCAL_RANK": "0"}
    one, other = (process(pid, 1, "python", "t.py", environment=bare) for pid in (11, 12))
    jobs = find_jobs([init(), torchrun(), replace(one, parent_pid=10), other])

    assert [[11], [12]] == [pids(job.ranks) for job in jobs]


def test_what_a_dead_torchrun_left_is_not_the_next_ones():
    """The same port and the same name, but it is older than the torchrun that runs now."""
    jobs = find_jobs([init(), torchrun(), rank(11, 10), rank(4, 1)])

    assert [("lost", [4]), ("torchrun", [11])] == [(j.launcher, pids(j.ranks)) for j in jobs]


def test_an_earlier_attempt_is_not_the_present_one():
    """The same run; the folder of its heartbeats tells the attempts apart."""
    earlier = {**RUN, "GPUOPS_BEAT_DIR": RUN["GPUOPS_BEAT_DIR"].replace("2/beats", "1/beats")}
    jobs = find_jobs(
        [init(), torchrun(), rank(11, 10, environment=RUN), rank(12, 1, environment=earlier)]
    )

    assert [2, 1] == [job.attempt for job in jobs]
    assert ["torchrun", "lost"] == [job.launcher for job in jobs]


@pytest.mark.parametrize(
    "environment",
    [
        {"RANK": "0", "MASTER_ADDR": "node-0", "MASTER_PORT": "23456"},
        {"RANK": "x", "LOCAL_RANK": "0"},
        {"RANK": "-1", "LOCAL_RANK": "0"},
        {"RANK": "9" * 5000, "LOCAL_RANK": "0"},
        {"RANK": "0", "LOCAL_RANK": ""},
        {},
        None,
    ],
)
def test_a_number_alone_makes_no_rank(environment):
    """Some clusters give RANK, the node's, to everything in a container."""
    shell = replace(process(7, 1), environment=environment)

    assert () == find_jobs([init(), shell])


def test_a_torchrun_that_carries_a_rank_is_a_torchrun():
    """It was started where the variables were set already."""
    nested = torchrun(environment={"RANK": "3", "LOCAL_RANK": "3"})
    job = filter_frame(init(), nested, rank(11, 10, 0), rank(12, 10, 1))

    assert (10, [11, 12]) == (job.agent.pid, pids(job.ranks))


def test_jobs_of_others_are_listed():
    """Their environment may not be read: a child of torchrun counts as a rank."""
    others = {"user": "ana", "ours": False}
    hidden = [replace(rank(pid, 10), environment=None, **others) for pid in (11, 12)]
    job = filter_frame(init(), torchrun(**others), *hidden)

    assert ("ana", False) == (job.user, job.ours)
    assert [None, None] == [found.rank for found in job.ranks]


@pytest.mark.parametrize(
    ("argv", "runs"),
    [
        (TORCHRUN, "/venv/bin/torchrun"),
        (("python", "-m", "torch.distributed.run", "t.py"), "torch.distributed.run"),
        (("/usr/bin/python3.11", "-um", "torch.distributed.run"), "torch.distributed.run"),
        (("python", "-mtorch.distributed.run"), "torch.distributed.run"),
        (
            ("python3", "/lib/gpuops/run_module.py", "torch.distributed.run", "t.py"),
            "torch.distributed.run",
        ),
        (("python3", "/lib/gpuops/run_module.py"), "/lib/gpuops/run_module.py"),
        (("python", "-X", "dev", "-Wignore", "-W", "error", "-I", "t.py"), "t.py"),
        (("python", "--check-hash-based-pycs", "always", "-O", "t.py"), "t.py"),
        (("pypy3", "t.py"), "t.py"),
        (("python", "-c", "code", "torchrun"), None),
        (("python", "-Ic", "code"), None),
        (("python", "-m"), None),
        (("python",), None),
        (("bash", "-c", "torchrun t.py"), None),
        (("sudo", "/venv/bin/torchrun"), None),
        (("timeout", "9", "python", "-m", "torch.distributed.run"), None),
        ((), None),
        (("",), None),
    ],
)
def test_a_program_is_told_from_its_command(argv, runs):
    """Python's own options are stepped over; what wraps a Python is none."""
    assert runs == python_program(argv)


def gpu(index, *held, **changes):
    listed = tuple(GpuProcess(pid=pid, memory_bytes=size) for pid, size in held)
    return replace(Device(index=index, processes=listed), **changes)


@pytest.mark.parametrize(
    ("inventory", "gpus", "size"),
    [
        (None, (), None),
        (GpuInventory(), (), None),
        (
            GpuInventory(devices=(gpu(0, (11, GIB)), gpu(1), gpu(2, (9, 1), (11, GIB)))),
            (0, 2),
            2 * GIB,
        ),
        (GpuInventory(devices=(gpu(0, (9, 1)),)), (), 0),
        (GpuInventory(devices=(gpu(0, (11, None)),)), (0,), None),
        (GpuInventory(devices=(gpu(0), gpu(1, processes=None))), (), None),
        (GpuInventory(devices=(gpu(0, (11, GIB)), gpu(1, processes=None))), (0,), None),
    ],
)
def test_what_a_process_holds_is_told_from_the_gpus(inventory, gpus, size):
    """Nothing is zero only where all GPUs could be read."""
    assert (gpus, size) == gpu_use(inventory, 11)


def test_what_a_job_holds_is_the_sum():
    """Unknown where that of one process is."""
    ranks = [rank(11, 10, gpu_memory_bytes=GIB, gpus=(1,)), rank(12, 10, gpus=(0, 1))]
    job = filter_frame(torchrun(gpu_memory_bytes=0), *ranks)
    whole = filter_frame(torchrun(gpu_memory_bytes=0), ranks[0])

    assert ((0, 1), None) == (job.gpus, job.gpu_memory_bytes)
    assert GIB == whole.gpu_memory_bytes


anybody = st.builds(
    lambda pid, parent, argv, environment, start, ours: (
        process(pid, parent, *argv, start_ticks=start, ours=ours)
        if environment is None
        else rank(pid, parent, environment=environment, argv=argv, start_ticks=start, ours=ours)
    ),
    st.integers(1, 12),
    st.integers(0, 12),
    st.sampled_from([TORCHRUN, REAPER, CORE, ("python3", "-u", "t.py"), ("bash",)]),
    st.sampled_from([None, {}, {"RANK": "1"}, RUN, {"LOCAL_RANK": "x"}]),
    st.integers(0, 5),
    st.booleans(),
)


@settings(max_examples=100, database=None)
@given(st.lists(anybody, max_size=12, unique_by=lambda found: found.pid))
def test_nobody_is_in_two_jobs(processes):
    """Whoever is whose parent, rings included; and no job without a torchrun or a rank."""
    jobs = find_jobs(processes)
    placed = [found.pid for job in jobs for found in job.processes]
    by_pid = {found.pid: found for found in processes}

    assert len(placed) == len(set(placed))
    assert jobs == find_jobs(reversed(processes))
    for job in jobs:
        assert job.agent or job.ranks
        assert (job.launcher == "torchrun") == (job.agent is not None)
        for head in job.ranks if job.launcher == "lost" else ():
            parent = by_pid.get(head.parent_pid)
            assert parent is None or parent.argv == REAPER or not parent.python


BASH = ("/bin/bash",)
TYPED = [
    pytest.param(process(30, 1, *BASH), {"session": 30}, id="in a shell"),
    pytest.param(process(30, 1, "-zsh"), {"terminal": True}, id="in a terminal of its own"),
    pytest.param(process(30, 1, "tmux"), {"terminal": True}, id="in a window of tmux"),
    pytest.param(process(30, 1, "sshd: mei@notty"), {}, id="through ssh"),
    pytest.param(process(1, 0, *BASH), {"session": 1}, id="in the shell of a container"),
]


@pytest.mark.parametrize(("shell", "changes"), TYPED)
def test_a_copy_of_a_ranks_environment_in_a_shell_is_no_rank(shell, changes):
    """Somebody looks for a mistake in it, after the job or beside it."""
    copy = rank(31, shell.pid, **changes)
    living = [torchrun(), rank(11, 10, 0), rank(12, 10, 1)]

    assert () == find_jobs([init(), shell, copy])
    (job,) = find_jobs([init(), *living, shell, copy])
    assert [11, 12, 10] == pids(job.processes)


@pytest.mark.parametrize(
    "parent",
    [
        process(30, 1, "/venv/bin/python3", "-m", "ipykernel_launcher"),
        process(30, 1, "gdb", "--args", "python"),
        process(30, 1, "timeout", "60"),
    ],
)
def test_a_copy_in_a_notebook_or_a_debugger_is_not_certain(parent):
    """It is shown, as what another launcher has started; but it does not lead a session."""
    copy = rank(31, 30, session=30, environment=RUN)
    job = filter_frame(init(), parent, copy)

    assert ("unknown", frozenset()) == (job.launcher, job.certain)


def test_all_of_a_living_torchrun_is_certain():
    """A tool that has left its parents is so if it has the session of a rank, or is adopted."""
    ranks = [rank(11, 10, 0), rank(12, 10, 1), rank(14, 12, 1, session=12)]
    tool = rank(15, 1, session=11, argv=CORE)
    far = replace(tool, pid=16, session=16, start_ticks=1600)
    job = filter_frame(init(), torchrun(), *ranks, tool, far)

    assert {10, 11, 12, 14, 15} == job.certain
    assert [14, 15, 16] == sorted(pids(job.children))


@pytest.mark.parametrize(
    ("changes", "certain"),
    [
        ({}, {11}),
        ({"session": 9}, set()),
        ({"terminal": True}, set()),
        ({"argv": ("python3", "t.py")}, set()),
        ({"argv": ("python3", "t.py"), "gpu_memory_bytes": GIB}, {11}),
    ],
)
def test_a_lost_process_is_certain_if_it_is_as_torchrun_starts_ranks(changes, certain):
    """In a session of its own, unbuffered or on a GPU."""
    job = filter_frame(init(), rank(11, 1, **changes))

    assert ("lost", certain) == (job.launcher, job.certain)


def test_each_lost_process_is_certain_by_itself():
    """A tool that uploads is not condemned by the rank beside it, nor does it save that one."""
    lost, child = rank(11, 1, 0), rank(13, 11, 0, session=11)
    tool = rank(12, 1, 1, session=9, argv=("python3", "-u", "upload.py"))
    job = filter_frame(init(), lost, child, tool)

    assert ([11, 12], {11, 13}) == (pids(job.ranks), job.certain)


@pytest.mark.parametrize("parent", [1, 7])
def test_two_of_the_same_rank_are_not_certain(parent):
    """One of them is a copy; the others of the job are."""
    shim = process(7, 1, "/lib/systemd/systemd", "--user")
    jobs = find_jobs([init(), shim, rank(11, 1, 0), rank(12, parent, 0), rank(13, 1, 1)])

    assert {13} == {pid for job in jobs for pid in job.certain}
