"""The host, GPUs and versions of a run, by which its figures can be compared."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gpuops.core.machine.snapshot import HostSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The host and the versions of an attempt; ``None`` for what was not installed or known."""

    host: str
    cpu_cores: int | None
    gpus: tuple[str, ...]
    driver: str | None
    gpuops: str
    python: str | None
    torch: str | None
    cuda: str | None
    nccl: str | None


def describe_environment(
    snapshot: HostSnapshot, gpus: Collection[int], version: str
) -> Environment:
    """The environment of a job on ``gpus`` (indices), from a snapshot of its host."""
    interpreter, inventory = snapshot.interpreter, snapshot.inventory
    used = [one for one in inventory.devices if one.index in gpus]
    return Environment(
        host=snapshot.hostname,
        cpu_cores=snapshot.cpu_cores,
        gpus=tuple(f"{one.label}: {one.name or 'unknown'}" for one in used),
        driver=inventory.driver,
        gpuops=version,
        python=interpreter.python if interpreter else None,
        torch=interpreter.torch if interpreter else None,
        cuda=interpreter.cuda if interpreter else None,
        nccl=interpreter.nccl if interpreter else None,
    )
