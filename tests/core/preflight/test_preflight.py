"""What preflight says of a machine, all checks together."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import CPU, CUDA, GIB, gpu, needs, snapshot

from gpuops.core.finding import error, ok, warning
from gpuops.core.launch.choice import Wish, choose
from gpuops.core.machine.device import Device, GpuInventory, GpuProcess, Memory, Pcie, Xid
from gpuops.core.machine.snapshot import DataCount, HostSnapshot, Interface, Interpreter
from gpuops.core.preflight.preflight import preflight, stopping
from gpuops.errors import UsageError

READABLE_LINES = 20


def test_where_all_is_well_nothing_is_an_error():
    """Every check that applies says ok, in the order of CHECKS."""
    found = preflight(snapshot(), CPU, needs(data_built_in="synthetic"))

    assert {"ok"} == {f.severity for f in found}
    assert ["torch", "memory", "cores", "shm", "open-files", "output", "clock", "port", "data"] == [
        f.check for f in found
    ]
    assert not stopping(found)


def test_eight_gpus_that_are_well_fill_no_more_than_a_screen():
    """All kinds of checks apply."""
    gpus = tuple(gpu(index) for index in range(8))
    job = needs(
        workers=8,
        choice=choose(Wish(count=8), gpus),
        data_built_in="synthetic",
        resume="last",
        resume_checkpoint="step-9",
    )
    machine = snapshot(
        inventory=GpuInventory(driver="570.86.10", cuda=(12, 8), devices=gpus),
        infiniband=("mlx5_0",),
    )

    found = preflight(machine, CUDA, job)

    assert {"ok"} == {f.severity for f in found}
    assert len(found) < READABLE_LINES


def test_one_error_is_an_error():
    """A launch is stopped by any of them; warnings stop nothing."""
    assert stopping(preflight(snapshot(port_free=False), CPU, needs()))
    assert not stopping(preflight(snapshot(port_free=False), CPU, needs()), ["port"])
    assert not stopping(preflight(snapshot(shm_free_bytes=0), CPU, needs()))


def test_the_trainers_own_findings_come_last():
    """As the trainer gave them."""
    own = (ok("cache", "matches"), warning("codes", "few", "Add some."))

    assert list(own) == preflight(snapshot(trainer_findings=own), CPU, needs())[-2:]


amounts = st.none() | st.sampled_from([0, 1, GIB, 100 * GIB])
truths = st.none() | st.booleans()
small = st.none() | st.integers(0, 3)
versions = st.none() | st.sampled_from(["2.4", "12.8", "13", ""])
processes = st.sampled_from(
    [None, (), (GpuProcess(pid=1, memory_bytes=None),), (GpuProcess(pid=2, user="mei"),)]
)
xids = st.builds(
    Xid, code=st.sampled_from([13, 63, 79, 95, 999]), at_s=st.floats(0, 2e9), text=st.just("")
)
devices = st.lists(
    st.builds(
        Device,
        index=st.integers(0, 7),
        fault=st.sampled_from([None, None, "gone"]),
        name=st.sampled_from([None, "NVIDIA H100"]),
        numa_node=small,
        memory_total_bytes=amounts,
        memory_used_bytes=amounts,
        utilization_pct=st.none() | st.integers(0, 100),
        temperature_c=st.none() | st.integers(0, 120),
        slowed_by=st.sampled_from([None, (), ("heat",)]),
        memory=st.builds(
            Memory,
            ecc_uncorrected=small,
            remap_pending=truths,
            remap_failed=truths,
            retired_pending=truths,
        ),
        pcie=st.builds(Pcie, generation=small, generation_max=small, width=small, width_max=small),
        nvlinks_up=small,
        nvlinks_down=st.none() | st.lists(st.integers(0, 3), max_size=2).map(tuple),
        persistence=truths,
        mig=truths,
        xids=st.none() | st.lists(xids, max_size=3).map(tuple),
        processes=processes,
    ),
    max_size=3,
    unique_by=lambda device: device.index,
).map(tuple)
interfaces = st.sampled_from([None, (), (Interface(name="lo", addresses=("127.0.0.1", "::1")),)])
machines = st.builds(
    HostSnapshot,
    hostname=st.just("inventory"),
    now_s=st.none() | st.just(1e9),
    cpu_cores=st.none() | st.integers(1, 64),
    memory_total_bytes=amounts,
    memory_available_bytes=amounts,
    shm_free_bytes=amounts,
    disk_free_bytes=amounts,
    output_writable=truths,
    open_files=st.sampled_from([None, 0, 1024, float("inf")]),
    memlock_bytes=st.sampled_from([None, 0, float("inf")]),
    clock_skew_s=st.sampled_from([None, 0.0, -9.0, 1e9]),
    clock_synchronised=truths,
    interfaces=interfaces,
    infiniband=st.sampled_from([(), ("mlx5_0",)]),
    environment=st.dictionaries(
        st.sampled_from(["NCCL_SOCKET_IFNAME", "GLOO_SOCKET_IFNAME"]),
        st.sampled_from(["", "lo", "^lo", "=x"]),
    ),
    port_free=truths,
    next_free_port=st.none() | st.just(29502),
    interpreter=st.none()
    | st.builds(Interpreter, path=st.just("/x"), python=versions, torch=versions, cuda=versions),
    inventory=st.builds(
        GpuInventory,
        driver=st.sampled_from([None, "450.80.02", "580.65.06", "odd"]),
        cuda=st.sampled_from([None, (11, 0), (12, 8)]),
        devices=devices,
        gaps=st.dictionaries(st.sampled_from(["gpus", "claims"]), st.just("why")),
    ),
    data=st.none()
    | st.builds(
        DataCount,
        root=st.just("data"),
        samples=st.sampled_from([{}, {"train": 1, "val": 1}]),
        folders=st.just(("train",)),
        unreadable=st.sampled_from([(), ("train/a",)]),
    ),
    gaps=st.dictionaries(st.sampled_from(["output", "port", "data"]), st.just("why")),
)
UNREAD = {
    "torch": lambda machine: machine.interpreter is None,
    "driver": lambda machine: machine.inventory.driver is None,
    "memory": lambda machine: machine.memory_available_bytes is None,
    "cores": lambda machine: machine.cpu_cores is None,
    "shm": lambda machine: machine.shm_free_bytes is None,
    "open-files": lambda machine: machine.open_files is None,
    "output": lambda machine: machine.disk_free_bytes is None,
    "clock": lambda machine: machine.clock_skew_s is None,
    "network": lambda machine: machine.interfaces is None,
    "port": lambda machine: machine.port_free is None,
    "data": lambda machine: machine.data is None,
}


@settings(max_examples=100)
@given(machines, st.sampled_from([CPU, CUDA]), st.integers(1, 3), st.integers(0, 40))
def test_any_machine_is_judged_and_the_unread_is_never_ok(machine, profile, count, loaders):
    """Whatever could not be read: sentences without None, hints where needed, no false ok."""
    gpus = machine.inventory.devices
    choice = choose(Wish(count=count), gpus) if profile is CUDA else None
    job = needs(
        workers=count,
        loader_workers=loaders,
        choice=choice,
        data_root="data",
        data_splits=("train", "val"),
    )

    found = preflight(machine, profile, job)

    for one in found:
        assert "None" not in one.summary + one.hint, one
        assert one.hint or one.severity == "ok", one
        assert one.summary, one
        assert "\n" not in one.summary, one
        unread = UNREAD.get(one.check)
        assert not (one.severity == "ok" and unread and unread(machine)), one
    names = [one.check for one in found]
    assert len(names) == len(set(names)), "a name means one thing"


def test_what_cannot_be_forced_stops_a_launch_all_the_same():
    """A name may stand on a command line for all days; one that is none is a mistake."""
    missing = replace(error("gpus", "two are lost", "Mend them."), forcible=False)

    assert stopping([missing], ["gpus", "port"]) == [missing]
    with pytest.raises(UsageError, match="did you mean port"):
        stopping([missing], ["prot"])
