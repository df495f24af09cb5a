"""Where a run ran, and on what: what its figures are to be compared by."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from gpuops.core.machine.snapshot import NodeSnapshot


@dataclass(frozen=True, slots=True, kw_only=True)
class Environment:
    """The machine and the versions of an attempt; ``None`` for what there was not."""

    host: str
    cpu_cores: int | None
    cards: tuple[str, ...]
    driver: str | None
    gpuops: str
    python: str | None
    torch: str | None
    cuda: str | None
    nccl: str | None


def of(node: NodeSnapshot, cards: Collection[int], version: str) -> Environment:
    """What a look at the machine says of it; ``cards`` are those of the job, by index."""
    interpreter, box = node.interpreter, node.box
    return Environment(
        host=node.hostname,
        cpu_cores=node.cpu_cores,
        cards=tuple(
            f"{card.label}: {card.name or 'unknown'}" for card in box.devices if card.index in cards
        ),
        driver=box.driver,
        gpuops=version,
        python=interpreter.python if interpreter else None,
        torch=interpreter.torch if interpreter else None,
        cuda=interpreter.cuda if interpreter else None,
        nccl=interpreter.nccl if interpreter else None,
    )
