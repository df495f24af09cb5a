"""Where a run ran, and on what."""

from __future__ import annotations

from gpuops.core.machine import environment
from gpuops.core.machine.device import Device, GpuInventory
from gpuops.core.machine.snapshot import HostSnapshot, Interpreter


def test_the_jobs_own_gpus_and_versions_are_kept():
    """Of a look at the machine; what there is not is not made up."""
    inventory = GpuInventory(
        driver="580.95.05", devices=(Device(index=0), Device(index=3, name="RTX 4090"))
    )
    python = Interpreter(path="python", python="3.11.7", torch="2.13.0", cuda=None)
    snapshot = HostSnapshot(hostname="host", cpu_cores=64, interpreter=python, inventory=inventory)
    found = environment.describe_environment(snapshot, (3,), "0.1.0")

    assert ("host", 64, ("GPU 3: RTX 4090",), "580.95.05") == (
        found.host,
        found.cpu_cores,
        found.gpus,
        found.driver,
    )
    assert ("3.11.7", "2.13.0", None) == (found.python, found.torch, found.cuda)
    assert (None, ()) == (
        environment.describe_environment(HostSnapshot(hostname="host"), (), "0.1.0").python,
        environment.describe_environment(snapshot, (7,), "0.1.0").gpus,
    )
