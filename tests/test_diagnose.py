"""The evidence of an attempt: what its folder, the kernel and the GPUs tell of it."""

from __future__ import annotations

import socket
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from gpuops import reaper
from gpuops.core.launch.plan import LaunchRequest, NodePlan, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.device import DeviceRef
from gpuops.core.machine.snapshot import ProcessLimit
from gpuops.core.run.telemetry import GpuSample, Sample
from gpuops.diagnose import crashed, examine
from gpuops.system.gpus import nvml
from gpuops.system.gpus.gpu_processes import in_container
from gpuops.system.host import host
from gpuops.system.processes.identity import Identity
from gpuops.system.runs import events, run_dir, telemetry

BOX = ["gpu 0-3 model=rtx4090"]
REPORT = """\
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_10:09:02
  rank      : 1 (local_rank: 1)
  exitcode  : -9 (pid: 4701)
============================================================
"""


def node(uuids=(None, None)):
    """The one node of a job on the GPUs 2 and 3."""
    places = ((2, "00000000:41:00.0"), (3, "00000000:61:00.0"))
    devices = tuple(
        DeviceRef(index=index, uuid=uuid, bus_id=bus_id)
        for (index, bus_id), uuid in zip(places, uuids, strict=True)
    )
    return (NodePlan(host="here", devices=devices, ranks=(0, 1)),)


@pytest.fixture(name="launch")
def _launch(tmp_path):
    """An attempt on two GPUs that has begun, as its folder tells it."""
    asked = LaunchRequest(
        target=Target(kind="script", name="train", entry="train.py"),
        run_id="train-1",
        run_dir=str(tmp_path / "train-1"),
        python="python",
    )
    made = plan(Profile(name="two", device="cpu", workers=2), None, asked)
    launch = replace(made, nodes=node())
    run_dir.create(launch)
    return launch


def begun(launch, **fields):
    events.record(Path(launch.run_dir), "attempt_started", attempt=1, **fields)


def ended(launch, report=REPORT):
    Path(launch.log_dir, "agent.log").write_text(report)


def kernel_log(folder, *texts, ago_s=0.0):
    """A log that reaches back to the boot, with some lines of some seconds ago."""
    path = folder / "kmsg"
    at_us = int((time.clock_gettime(time.CLOCK_MONOTONIC_RAW) - ago_s) * 1e6)
    lines = ["6,0,0,-;Linux version 6.8.0", *(f"3,9,{at_us},-;{text}" for text in texts)]
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def memory_group(folder, oom_kills):
    (folder / "memory.events").write_text(f"oom 9\noom_kill {oom_kills}\n")
    return str(folder)


@pytest.mark.skipif(in_container(), reason="the kernel's log speaks of other pids")
@pytest.mark.parametrize(
    ("pid", "ago_s", "expected"),
    [
        (4701, 0, ("out of memory (host)", 1, True)),
        (4702, 0, ("signal", 1, True)),
        (4701, 3600, ("signal", 1, True)),
    ],
)
def test_a_rank_that_the_kernel_ended_is_told_from_one_that_a_person_did(
    launch, tmp_path, pid, ago_s, expected
):
    """By its pid in the kernel's log, since the attempt began."""
    begun(launch)
    ended(launch)
    log = kernel_log(tmp_path, f"Out of memory: Killed process {pid} (python)", ago_s=ago_s)
    found = crashed(launch, 1, log)

    assert expected == (found.kind, found.rank, found.sure)


@pytest.mark.parametrize(
    ("before", "now", "expected"),
    [
        (7, 8, ("signal", 1, False)),  # it may have been another of the group, and days ago
        (7, 7, ("signal", 1, True)),
        (None, 8, ("signal", 1, False)),
    ],
)
def test_without_the_kernels_log_its_count_tells(launch, tmp_path, before, now, expected):
    """What it was in the job's control group as the attempt began, and is now."""
    begun(launch, memory_group=memory_group(tmp_path, now), oom_kills=before)
    ended(launch)
    found = crashed(launch, 1, tmp_path / "no-kmsg")

    assert expected == (found.kind, found.rank, found.sure)


@pytest.mark.parametrize(
    ("before", "now", "used", "kind"),
    [(2, 3, 0, "process limit"), (2, 2, 0, "signal"), (2, 2, 98, "process limit")],
)
def test_an_abort_is_explained_by_a_limit_of_processes(
    launch, tmp_path, monkeypatch, before, now, used, kind
):
    """By what it refused since the attempt began, or by what it leaves."""
    (tmp_path / "pids.events").write_text(f"max {now}\n")
    limits = (ProcessLimit(of="user", limit=100, used=used),)
    monkeypatch.setattr(host, "process_limits", lambda: limits)
    begun(launch, pids_group=str(tmp_path), refused_forks=before)
    ended(launch, REPORT.replace("-9", "-6").replace("SIGKILL", "SIGABRT"))

    assert kind == crashed(launch, 1, tmp_path / "no-kmsg").kind


def test_a_gpu_that_failed_explains_a_crash(launch, tmp_path):
    """Its place on the bus is in the plan, so the driver need not be asked."""
    begun(launch)
    ended(launch)
    log = kernel_log(tmp_path, "NVRM: Xid (PCI:0000:61:00): 79, GPU has fallen off the bus.")
    found = crashed(launch, 1, log)

    assert ("gpu lost", 1, 3, True) == (found.kind, found.rank, found.gpu, found.sure)
    assert "Xid 79" in found.evidence[0]


@pytest.mark.parametrize(("bus", "ago_s"), [("c1", 0), ("61", 3600)])
def test_errors_of_other_gpus_and_other_times_explain_nothing(launch, tmp_path, bus, ago_s):
    """A GPU of somebody else, or a failure of an hour before."""
    begun(launch)
    ended(launch)
    log = kernel_log(tmp_path, f"NVRM: Xid (PCI:0000:{bus}:00): 79, off the bus", ago_s=ago_s)

    assert crashed(launch, 1, log).kind == "signal"


@pytest.fixture(name="on_gpus")
def _on_gpus(launch, mock_driver, monkeypatch):
    """The same attempt on two GPUs of the mock driver's; it has no processes any more."""
    monkeypatch.setenv("LD_LIBRARY_PATH", str(mock_driver.lib))
    monkeypatch.setenv("MOCK_NVML_STATE", str(mock_driver.state))
    mock_driver.set(BOX)
    uuids = tuple(device.uuid for device in nvml.read().devices[2:4])
    yield replace(launch, device="cuda", nodes=node(uuids))
    mock_driver.set([])


@pytest.mark.parametrize(
    ("happens", "expected"),
    [
        ([], ("unknown", None, None, False)),
        (["lost 3"], ("gpu lost", 1, 3, True)),
        (["lost 3 handle=ok"], ("gpu lost", 1, 3, True)),
        (["hang 2 nvmlDeviceGetMemoryInfo* 60"], ("gpu lost", 0, 2, False)),
        (["lost 0"], ("unknown", None, None, False)),
    ],
)
def test_a_gpu_that_the_driver_has_lost_explains_a_hang(on_gpus, mock_driver, happens, expected):
    """One that just does not answer is a guess; those of others do not matter."""
    mock_driver.set([*BOX, *happens])
    found = examine(on_gpus, SimpleNamespace(ranks=dict))

    assert expected == (found.kind, found.rank, found.gpu, found.sure)


REPORT_OF_NCCL = """\
Group     Comms     Nodes     Ranks     Ranks     Ranks    Status  Errors
    #  in group  per comm  per node  per comm  in group
    0         1         1         2         2         2   RUNNING  MISMATCH

#0-0 (27a079b828ff1a75) MISMATCH
  Communicator ranks have different AllReduce operation counts
  Rank 0 has launched up to operation 64 -- GPU 0 managed by process 1 on node 10.0.0.7
  Rank 1 has launched up to operation 60 -- GPU 1 managed by process 2 on node 10.0.0.7
"""


def nccl(listening):
    """One rank's NCCL, for one client."""
    client, _ = listening.accept()
    with client, client.makefile() as lines:
        for line in iter(lines.readline, "VERBOSE STATUS\n"):
            client.sendall(b"OK\n" if line.startswith("TIMEOUT") else b"SERVER PROTOCOL 2\n")
        client.sendall(REPORT_OF_NCCL.encode())


def test_nccl_is_asked_who_is_late(on_gpus, monkeypatch):
    """At the address of the ranks' own environment; two sleepers do not tell by their stacks."""
    with socket.create_server(("127.0.0.1", 0)) as listening, ExitStack() as stack:
        server = threading.Thread(target=nccl, args=(listening,), daemon=True)
        server.start()
        monkeypatch.setenv("NCCL_RAS_ADDR", f"127.0.0.1:{listening.getsockname()[1]}")
        sleepers = [stack.enter_context(subprocess.Popen(["sleep", "60"])) for _ in range(2)]
        try:
            ranks = {n: Identity(**reaper.identity(s.pid)) for n, s in enumerate(sleepers)}
            found = examine(on_gpus, SimpleNamespace(ranks=lambda: ranks))
        finally:
            for sleeper in sleepers:
                sleeper.kill()
        server.join(5)

    assert (found.rank, found.gpu, found.sure) == (1, 3, False)
    assert found.pid == sleepers[1].pid
    assert "up to AllReduce operation 60, others up to 64" in found.why


def test_gpus_that_spin_draw_less_than_while_the_job_trained(on_gpus, mock_driver):
    """As its supervisor recorded it before the silence; evidence for a person."""
    recorder = telemetry.Recorder(Path(on_gpus.run_dir))
    for step in range(9):
        watts = 290 if step < 7 else 70
        gpu = GpuSample(utilization_pct=99, power_w=watts)
        at_s = time.time() - 20 + 2 * step
        step_s = 0.5 if step < 7 else None
        recorder.take(Sample(at_s=at_s, attempt=1, step=step, step_s=step_s, gpus={2: gpu, 3: gpu}))
    mock_driver.set([*BOX, "gpu 2 util=100 power=285", "gpu 3 util=100 power=70"])
    found = examine(on_gpus, SimpleNamespace(ranks=dict))

    assert "GPU 2: 100 % at 285 W, 290 W while it trained" in found.evidence
    spins = "GPU 3: 100 % at 70 W, 290 W while it trained: as in a wait for other ranks"
    assert spins in found.evidence
    assert (found.kind, found.sure) == ("unknown", False)
