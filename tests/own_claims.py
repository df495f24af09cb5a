"""Claims of this process and of others of its user."""

from __future__ import annotations

import signal
import subprocess
import sys
from contextlib import contextmanager

from gpuops.system import claims
from gpuops.system.claims import Claims

A, B, C = (claims.gpu(f"GPU-{letter * 8}-0000") for letter in "abc")
ME = claims.own_claim("rvq-1", "/runs/rvq-1")
HOLDER = """
import sys, time
from gpuops.system import claims
claims.Claims().add(sys.argv[1:], claims.own_claim("theirs", "/runs/theirs"))
print("held", flush=True)
time.sleep(60)
"""


@contextmanager
def holding(*names, claim=ME):
    """Claims of a run, until it ends."""
    held = Claims()
    try:
        held.add(names, claim)
        yield held
    finally:
        held.close()


def elsewhere(*uuids):
    """Another process that holds GPUs."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, *uuids], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process):
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()


def file_of(place, name):
    (path,) = place.glob(f"{name}.*")
    return path
