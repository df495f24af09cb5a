"""Processes of other users that hold claims, wait in line, or lay things in their place."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import struct
import traceback
from dataclasses import replace
from pathlib import Path

from gpuops.launch.claim import claim_gpus
from gpuops.launch.contention import Contention
from gpuops.launch.prepare import prepare
from gpuops.system import claims, lock_files
from gpuops.system.claims import Claims, TakenError
from gpuops.system.gpus import nvml, simulated
from gpuops.system.runs import run_dir

A, B = 60001, 60002
GPU, OTHER = claims.gpu("GPU-1"), claims.gpu("GPU-2")


@contextlib.contextmanager
def another(uid, act):
    """A process of another user that does something and then stays; what it answered, as JSON."""
    answer, stay = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        with contextlib.suppress(BaseException):
            os.close(stay[1])
            leave_claims()
            os.setgroups([])
            os.setgid(uid)
            os.setuid(uid)
            try:
                said = act()
            except OSError as error:
                said = type(error).__name__
            except BaseException:  # noqa: BLE001 - the test shows it
                said = traceback.format_exc()
            os.write(answer[1], json.dumps(said).encode() + b"\n")
            os.read(stay[0], 1)
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(answer[1])
    os.close(stay[0])
    try:
        with os.fdopen(answer[0]) as lines:
            yield json.loads(lines.readline())
    finally:
        os.close(stay[1])
        os.waitpid(child, 0)


def leave_claims():
    """Hold nothing of what the process held that this one was forked from."""
    for open_file in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            if str(open_file.readlink()).startswith(os.environ[claims.VARIABLE]):
                os.close(int(open_file.name))


def ask(uid, act):
    """What another user gets as an answer."""
    with another(uid, act) as said:
        return said


def holds(*names, run_dir="/theirs"):
    """Claims of the process that calls it, until that ends."""

    def act():
        held = Claims()
        try:
            held.add(names, claims.own_claim("theirs", run_dir))
        except TakenError as taken:
            return taken.message
        HELD.append(held)  # a garbage collector must not close it
        return "held"

    return act


HELD = []


def held_file(place, name):
    """Another program's lock: any content, any name."""
    path = place / f"{name}.lock"
    path.touch()
    descriptor = os.open(path, os.O_RDWR)
    HELD.append(descriptor)
    whole = struct.pack("hhqqi", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    fcntl.fcntl(descriptor, fcntl.F_OFD_SETLK, whole)
    return path


def lay(path, kind):
    """Something in the place of a lock, which is not one."""
    if kind == "0600":
        path.touch(0o600)
    elif kind == "FIFO":
        os.mkfifo(path)
    elif kind == "link":
        path.symlink_to("/etc/shadow")
    else:
        path.mkdir()


def host(monkeypatch, *changes):
    """A host of eight free GPUs, some of them changed; as values, without a driver."""
    inventory = simulated.read("8x4090")
    changed = dict(changes)
    devices = tuple(replace(one, **changed.get(one.index, {})) for one in inventory.devices)
    here = replace(inventory, devices=devices, simulated=None)
    monkeypatch.setattr(nvml, "read", lambda: here)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)  # all of them are ours
    return [device.uuid for device in devices]


@contextlib.contextmanager
def launched(options):
    """A run that holds its GPUs and port, as its supervisor does between two attempts."""
    contention = Contention()
    first = claim_gpus(prepare(options), contention, print, print)
    run_dir.create(first.launch.plan)
    try:
        yield contention, first.launch.plan
    finally:
        contention.claims.close()


def indices(plan):
    return [device.index for device in plan.devices]


def waits(uuids, count, **record):
    """A process that waits for GPUs, or says so."""

    def act():
        text = {"uuids": list(uuids), "count": count, **record}
        HELD.append(lock_files.make("wait-1", text, whole=True))

    return act
