"""From a plan to claims."""

from __future__ import annotations

import os
import signal

from gpuops.core.launch.options import LaunchOptions
from gpuops.launch import claim
from gpuops.launch.contention import Contention
from gpuops.launch.prepare import prepare
from gpuops.system import claims
from gpuops.system.processes.process import SignalQueue


def test_a_stop_while_claims_are_made_is_left_to_the_supervisor(
    monkeypatch, tmp_path, own_port, workers
):
    """Who does not wait for GPUs is not ended by it: a run between two attempts is stopped."""
    assert own_port
    monkeypatch.chdir(tmp_path)
    options = LaunchOptions(name=str(workers / "beats.py"), profile="cpu")
    add = claims.Claims.add

    def add_and_be_asked(*things):
        os.kill(os.getpid(), signal.SIGTERM)
        add(*things)

    monkeypatch.setattr(claims.Claims, "add", add_and_be_asked)
    contention = Contention()
    with SignalQueue() as signals:
        claim.claim_gpus(prepare(options), contention, print, print)
        assert list(signals.wait(None, 1)) == [signal.SIGTERM]
    contention.claims.close()
