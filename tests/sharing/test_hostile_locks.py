"""Whatever another user's lock says, or is: it costs its own GPU, and no command."""

from __future__ import annotations

import json
import os
import shutil
import time

import pytest
from hostile import SOON_S, changes, gpuops, is_text, many_examples, put
from hypothesis import given
from hypothesis import strategies as st

from gpuops.launch import inventory
from gpuops.system import claims, lock_files
from gpuops.system.gpus import simulated

HOST = simulated.read("2x4090")  # rich takes its time for each row
NAMES = st.sampled_from(
    [claims.gpu(HOST.devices[0].uuid), claims.port(29501), "wait-5", "wait-0", "gpu-", "wait-x\x1b"]
)
RECORD = {
    **claims._record(claims.own_claim("a", "/runs/a")),
    "user": "b", "uuids": [HOST.devices[1].uuid], "count": 1,
}  # fmt: skip


@pytest.fixture(name="locks")
def _locks(tmp_path, monkeypatch):
    """A folder of locks, on a host with two GPUs."""
    monkeypatch.setattr(inventory.nvml, "read", lambda: HOST)
    monkeypatch.setenv(lock_files.VARIABLE, str(tmp_path / "locks"))


@pytest.mark.usefixtures("locks")
@many_examples
@given(name=NAMES, change=changes, as_json=st.booleans())
def test_a_hostile_lock_is_a_lock(name, change, as_json):
    """All GPUs are listed, in text, and soon."""
    held = lock_files.make(name, RECORD)
    try:
        if isinstance(change, str) and change != "sparse":
            held.path.unlink()
        put(held.path, [RECORD], change)
        begun_s = time.process_time()

        code, out, err = gpuops("gpus", *["--json"] * as_json)

        assert time.process_time() - begun_s < SOON_S
        assert (0, True, True) == (code, is_text(out), is_text(err)), err
        assert 2 == (len(json.loads(out)["inventory"]["devices"]) if as_json else out.count("4090"))
    finally:
        os.close(held.descriptor)
        shutil.rmtree(held.path.parent)
