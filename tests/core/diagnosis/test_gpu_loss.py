"""GPUs that fail, and what they have to say about a job that stands still."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gpuops.core.diagnosis.diagnosis import Diagnosis
from gpuops.core.diagnosis.gpu_loss import apply_gpu_faults, gpus_of_ranks
from gpuops.core.launch.plan import LaunchRequest, NodePlan, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import Device, DeviceRef, GpuInventory, Xid

OFF_THE_BUS = Xid(code=79, at_s=9.0, text="GPU has fallen off the bus.")
PROGRAMS_OWN = Xid(code=31, at_s=9.0, text="MMU fault")
LOST = {"state": "lost", "fault": "it has fallen off the bus"}
STUCK = {"state": "stuck", "fault": "the driver has not answered for 3 s"}
PIDS = {0: 4700, 1: 4701}


def by_stacks(*, sure):
    return Diagnosis(
        kind="python spin", rank=0, pid=4700, why="rank 0 computes on", advice="Look.", sure=sure
    )


def weighed(*, sure=False, **gpu):
    """Rank 0's GPU is well, that of rank 1 is as it is said."""
    gpus = {0: Device(index=2), 1: Device(index=3, **gpu)}
    return apply_gpu_faults(by_stacks(sure=sure), gpus, PIDS)


@pytest.mark.parametrize(
    ("gpu", "sure", "expected"),
    [
        ({}, True, ("python spin", 0, None, True)),
        ({"xids": (OFF_THE_BUS,)}, True, ("gpu lost", 1, 3, True)),
        ({"xids": (PROGRAMS_OWN,)}, True, ("python spin", 0, None, True)),
        (LOST, True, ("gpu lost", 1, 3, True)),
        (STUCK, True, ("python spin", 0, None, True)),
        (STUCK, False, ("gpu lost", 1, 3, False)),
        ({"state": "unreadable", "fault": "x"}, False, ("python spin", 0, None, False)),
    ],
)
def test_a_gpu_outweighs_stacks_as_far_as_it_is_sure(gpu, sure, expected):
    """The driver's own word always; a GPU that does not answer, where the stacks are unsure."""
    found = weighed(sure=sure, **gpu)

    assert expected == (found.kind, found.rank, found.gpu, found.sure)
    assert found.pid == PIDS[found.rank]
    assert found.hopeless == (found.kind == "gpu lost" and found.sure)


def test_all_that_gpus_say_is_evidence():
    """Also where it decides nothing."""
    found = weighed(sure=True, xids=(PROGRAMS_OWN,), **STUCK)

    assert (
        "GPU 3: the driver has not answered for 3 s",
        "GPU 3: Xid 31, a program accessed memory outside its own: MMU fault",
    ) == found.evidence


def test_where_no_gpu_answers_none_is_named():
    """It may be the driver as a whole."""
    gpus = {rank: Device(index=rank, **STUCK) for rank in (0, 1)}
    found = apply_gpu_faults(by_stacks(sure=False), gpus, PIDS)

    assert ("gpu lost", None, None, False) == (found.kind, found.rank, found.gpu, found.sure)
    assert "GPU 0, GPU 1" in found.why


@pytest.mark.parametrize(
    ("inventory", "states"),
    [
        (
            GpuInventory(devices=(Device(index=2, uuid="GPU-a"), Device(index=3, uuid="GPU-b"))),
            "ok ok",
        ),
        (
            GpuInventory(devices=(Device(index=0, uuid="GPU-b"), Device(index=1, uuid="GPU-a"))),
            "ok ok",
        ),
        (GpuInventory(devices=(Device(index=2, uuid="GPU-a"), Device(index=3, **LOST))), "ok lost"),
        (
            GpuInventory(devices=(Device(index=2, uuid="GPU-a"), Device(index=3, uuid="GPU-c"))),
            "ok lost",
        ),
        (GpuInventory(devices=(Device(index=2, uuid="GPU-b"),)), "lost ok"),
        (GpuInventory(gaps={"gpus": "the driver has not answered for 5 s"}), "stuck stuck"),
        (GpuInventory(gaps={"gpus": "no driver"}, absent=True), "unreadable unreadable"),
    ],
)
def test_a_runs_gpus_are_found_again(inventory, states):
    """By their UUIDs, whatever their number; a lost one by that, or by its absence."""
    asked = LaunchRequest(
        target=Target(kind="script", name="x", entry="x.py"), run_id="x", run_dir="/x", python="py"
    )
    made = plan(Profile(name="two", device="cpu", workers=2), None, asked)
    launch = replace(
        made,
        nodes=(
            NodePlan(
                host="here",
                devices=(DeviceRef(index=2, uuid="GPU-a"), DeviceRef(index=3, uuid="GPU-b")),
                ranks=(0, 1),
            ),
        ),
    )
    found = gpus_of_ranks(launch.device_of_rank, inventory, {3: (PROGRAMS_OWN,)})

    assert states.split() == [found[rank].state for rank in (0, 1)]
    assert ((), (PROGRAMS_OWN,)) == (found[0].xids, found[1].xids)
