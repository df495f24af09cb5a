"""Where a run ran, and on what."""

from __future__ import annotations

from gpuops.core.machine import environment
from gpuops.core.machine.device import Box, Device
from gpuops.core.machine.snapshot import Interpreter, NodeSnapshot


def test_the_jobs_own_cards_and_versions_are_kept():
    """Of a look at the machine; what there is not is not made up."""
    box = Box(driver="580.95.05", devices=(Device(index=0), Device(index=3, name="RTX 4090")))
    python = Interpreter(path="python", python="3.11.7", torch="2.13.0", cuda=None)
    node = NodeSnapshot(hostname="box", cpu_cores=64, interpreter=python, box=box)
    found = environment.of(node, (3,), "0.1.0")

    assert ("box", 64, ("GPU 3: RTX 4090",), "580.95.05") == (
        found.host,
        found.cpu_cores,
        found.cards,
        found.driver,
    )
    assert ("3.11.7", "2.13.0", None) == (found.python, found.torch, found.cuda)
    assert (None, ()) == (
        environment.of(NodeSnapshot(hostname="box"), (), "0.1.0").python,
        environment.of(node, (7,), "0.1.0").cards,
    )
