"""What a monitor shows of the GPUs, one look after the other."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import gpu, inventory
from monitor_scene import BOB, DAY_S, RUN_DIR, Scene, states, words

from gpuops.core.machine.device import DENIED, Claim, Xid
from gpuops.core.monitor.frame import current_frame, filter_frame
from gpuops.core.monitor.monitor import Monitor, update_monitor
from gpuops.core.monitor.sample import Sample


def test_a_lost_gpu_keeps_its_row_and_comes_back():
    """The others keep their numbers; how long it has been gone is counted."""
    scene = Scene()
    scene.trains(2)
    scene.gpus[0] = gpu(0, state="lost", fault="it has fallen off the bus")
    scene.look()
    lost = scene.look()
    scene.gpus[0] = gpu(0)
    back = scene.look()

    assert (["lost", "ok"], "degraded") == (states(lost), lost.health)
    assert 2.0 == lost.gpus[0].state_age_s
    assert words(back) == [
        "GPU 0 lost: it has fallen off the bus",
        "GPU 0 answers again",
    ]


def test_a_driver_that_goes_takes_no_row_away():
    """Unloaded under the screen: the rows stay, and say what is the matter."""
    scene = Scene()
    scene.trains(2)
    scene.gpus, scene.gaps = {}, {"gpus": "the NVIDIA driver is not loaded"}
    seen = scene.look()

    assert (["unreadable", "unreadable"], "no driver") == (states(seen), seen.health)
    assert seen.gpus[1].fault == "the NVIDIA driver is not loaded"
    assert seen.gpus[1].name == "NVIDIA H100 80GB HBM3"


def test_a_machine_without_gpus_is_fine():
    """Nobody expects a driver there."""
    sample = Sample(
        at_s=DAY_S, clock_s=1.0, inventory=replace(inventory(), absent=True, gaps={"gpus": "none"})
    )

    assert "fine" == current_frame(update_monitor(Monitor(), sample)).health


@pytest.mark.parametrize(
    ("changes", "state"),
    [
        ({"processes": (BOB,)}, "busy-other"),
        ({"claim": Claim(run_id="x", user="bob")}, "busy-other"),
        ({"processes": None, "processes_gap": DENIED}, "no permission"),
        ({"processes": None, "processes_gap": "the driver lists none"}, "users unknown"),
        ({"processes": None, "memory_used_bytes": 70 * 1024**3}, "busy-other"),
        ({"utilization_pct": 97}, "busy-other"),
        ({"withheld_by": "CUDA_VISIBLE_DEVICES=0"}, "excluded"),
        ({"processes": (), "memory_used_bytes": 70 * 1024**3}, "busy-other"),
        ({"state": "stuck", "fault": "no answer for 9 s"}, "stuck"),
        ({}, "ok"),
    ],
)  # fmt: skip
def test_what_a_gpu_is(changes, state):
    """Somebody else's, not to be seen, stuck, or free."""
    scene = Scene()
    scene.gpus[2] = gpu(2, **changes)

    assert state == scene.look().gpus[2].state


@pytest.mark.parametrize(("ours", "state"), [(True, "ok"), (False, "busy-other")])
def test_a_claim_is_of_our_run_only_if_its_file_is_ours(ours, state):
    """Another user may write the name of our run into his."""
    scene = Scene()
    claim = Claim(run_id="rvq", run_dir=RUN_DIR, user="bob", ours=ours)
    scene.gpus[2] = gpu(2, claim=claim)

    assert state == scene.look().gpus[2].state


def test_a_gpu_that_the_run_was_told_to_leave_alone_is_excluded():
    """By index or UUID, while the run lives."""
    scene = Scene(exclude_gpus=("2", "GPU-3"))
    scene.gpus |= {index: gpu(index) for index in (2, 3, 4)}

    assert ["ok", "ok", "excluded", "excluded", "ok"] == states(scene.look())


def test_others_processes_are_listed():
    """Ours are in the rows of their jobs."""
    scene = Scene()
    scene.gpus[2] = gpu(2, processes=(BOB,))
    seen = scene.look()

    assert [(2, "bob", "python x.py")] == [(s.gpu, s.user, s.command) for s in seen.strangers]
    assert "bob: python x.py" == seen.gpus[2].holder


def test_a_new_xid_is_told_and_an_old_one_is_not():
    """What the driver logged before we came is history."""
    scene = Scene()
    old, new = (Xid(code=code, at_s=DAY_S + at_s, text="") for code, at_s in ((31, 0), (79, 1003)))
    scene.gpus[0] = scene.held(0, xids=(old,))
    scene.look()
    scene.gpus[0] = scene.held(0, xids=(old, new))

    told = scene.look()
    scene.gpus = {}
    scene.look()
    scene.gpus = {0: scene.held(0, xids=(old, new))}
    back = scene.look()

    assert ["GPU 0: Xid 79, it fell off the bus"] == words(told)
    assert 1 == sum("Xid" in one for one in words(back))


def test_a_gpu_is_not_called_wrong_while_the_driver_tells_none():
    """Then it is not known which GPUs there are; the answer is that there is no driver."""
    scene = Scene()
    scene.gpus, scene.gaps = {}, {"gpus": "the NVIDIA driver is not loaded"}

    assert "no driver" == filter_frame(scene.look(), gpus=["0"]).health
