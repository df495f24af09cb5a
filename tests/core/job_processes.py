"""The processes of a machine, as the tests of finding and ending jobs tell of them."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.monitor.jobs import Process

RUN = {
    "GPUOPS_RUN_ID": "20261121-061230-rvq",
    "GPUOPS_BEAT_DIR": "/runs/20261121-061230-rvq/state/attempt-2/beats",
}
TORCHRUN = ("/venv/bin/python3", "/venv/bin/torchrun", "--nproc-per-node", "2", "train.py")
REAPER = ("/venv/bin/python", "-I", "/lib/gpuops/reaper.py", "/s", "/l", "--", *TORCHRUN)
INIT = ("/sbin/init",)


def process(pid, parent, *argv, environment=None, **changes):
    """A process of ours in a session of its own; those with larger numbers started later."""
    found = Process(
        pid=pid,
        start_ticks=100 * pid,
        parent_pid=parent,
        session=pid,
        state="S",
        user="mei",
        ours=True,
        argv=argv or ("/bin/bash",),
        python="python" in (argv or ("",))[0],
        environment=environment or {},
    )
    return replace(found, **changes)


def rank(pid, parent, number=0, *, port="29501", **changes):
    """A rank that torchrun has started."""
    environment = {
        "RANK": str(number),
        "LOCAL_RANK": str(number),
        "TORCHELASTIC_RUN_ID": "none",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        **changes.pop("environment", {}),
    }
    argv = changes.pop("argv", ("/venv/bin/python3", "-u", "train.py"))
    return process(pid, parent, *argv, environment=environment, **changes)


def torchrun(pid=10, parent=5, **changes):
    return process(pid, parent, *TORCHRUN, **changes)


def init(**changes):
    return process(1, 0, *INIT, user="root", ours=False, **changes)


def pids(processes):
    return [found.pid for found in processes]
