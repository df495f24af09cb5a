"""Whether a GPU is in use, and the words for who uses it."""

from __future__ import annotations

import pytest

from gpuops.core.machine.device import Device, GpuProcess
from gpuops.core.machine.gpu_use import describe_process, unseen_use
from gpuops.text import GIB, MIB

COMPUTES = GpuProcess(pid=7, user="mei", command="python", memory_bytes=500 * MIB)
DESKTOP = GpuProcess(pid=8, user="root", command="Xorg", memory_bytes=300 * MIB, kind="graphics")
SERVER = GpuProcess(pid=9, user="root", command="Xorg", memory_bytes=4 * MIB, kind="graphics")


def gpu(used_mib=0, utilization=0, processes=(), **changes):
    used = None if used_mib is None else used_mib * MIB
    facts = {"memory_used_bytes": used, "utilization_pct": utilization, "processes": processes}
    return Device(index=0, **{**facts, **changes})


@pytest.mark.parametrize(
    ("used_mib", "utilization", "processes", "idle"),
    [
        (0, 0, (), True),
        (999, 4, (), True),
        (1000, 0, (), False),
        (0, 5, (), False),
        (400, 97, (), False),
        (400, 97, None, False),
        (None, 97, (), False),
        (999, None, (), True),
        (300, 40, (DESKTOP,), True),  # it draws
        (4, 97, (SERVER,), False),  # it does not: every GPU of a server may list it
        (500, 97, (COMPUTES,), True),  # the process is seen
        (1600, 97, (COMPUTES,), False),  # it holds a third of that
    ],
)
def test_idle_is_little_memory_and_no_work(used_mib, utilization, processes, idle):
    """Below 1000 MiB and below 5 %, apart from what the listed processes explain."""
    assert idle is (unseen_use(gpu(used_mib, utilization, processes)) is None)


def test_work_without_a_visible_process_is_said():
    """And so is memory; why nobody is seen, if that is known."""
    working, holding = gpu(400, 97), gpu(9 * 1024)
    contained = gpu(9 * 1024, processes_gap="processes of other containers are not shown here")

    words = "is in use by a process that cannot be seen (97 % utilisation)"
    assert words == unseen_use(working)
    assert "has 9.0 GiB in use, but no process that holds it is visible" == unseen_use(holding)
    assert unseen_use(contained).endswith("but processes of other containers are not shown here")


@pytest.mark.parametrize(
    ("facts", "words"),
    [
        ({}, "an unknown user (unknown command, pid 7)"),
        (
            {"user": "mei", "command": "python t.py", "memory_bytes": GIB},
            "mei (python t.py, pid 7, 1.0 GiB)",
        ),
        (
            {"whose": "hidden"},
            "an unknown user (unknown command, pid 7, not visible to this user)",
        ),
        (
            {"whose": "gone", "user": "mei", "command": "python"},
            "mei (python, pid 7, has ended, but is still listed)",
        ),
        (
            {"whose": "elsewhere", "memory_bytes": 17 * GIB},
            "pid 7 of the host: of another container, or of the host (17.0 GiB)",
        ),
        ({"whose": "elsewhere", "pid": 0}, "a process of another container, or of the host"),
    ],
)
def test_a_process_is_described_as_far_as_it_is_known(facts, words):
    """A pid of the host is never given the name of a process here."""
    assert words == describe_process(GpuProcess(**{"pid": 7, **facts}))
