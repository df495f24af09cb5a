"""How large a model is: parameters and arithmetic by part, and what a training step takes.

All of it works on torch's fake tensors too: see ``FakeTensorMode``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from trainers.engine.tables import format_bytes, quiet_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.table import Table
    from torch import nn

    from trainers.engine.memory.rehearsal import StepSpec


def count_parameters(model: nn.Module, parts: Sequence[str]) -> dict[str, int]:
    """Count the values of the parameters, by submodule."""
    return {
        part: sum(tensor.numel() for tensor in model.get_submodule(part).parameters())
        for part in parts
    }


@torch.no_grad()
def forward_flops(model: nn.Module, inputs: Sequence[Any], parts: Sequence[str]) -> dict[str, int]:
    """Count what ``model(*inputs)`` takes, by submodule; a multiply-add is two operations."""
    with FlopCounterMode(display=False, depth=2) as counter:
        model(*inputs)
    counts = counter.get_flop_counts()
    name = type(model).__name__
    return {part: sum(counts[f"{name}.{part}"].values()) for part in parts}


def step_flops(spec: StepSpec, batch: Any) -> int:
    """Count one forward and backward pass over ``batch``: those of the second step.

    The first step may do what no later one does, such as filling an empty codebook.
    """
    spec.model.train()
    for number in (1, 2):
        with FlopCounterMode(display=False) as counter:
            spec.losses(spec.model, batch)["loss"].backward()
        if spec.after_step is not None:
            spec.after_step(number)
    return int(counter.get_total_flops())


def parts_table(parameters: Mapping[str, int], flops: Mapping[str, float], unit: str) -> Table:
    """Make a table of parameters and GFLOP by part; ``unit`` says what the FLOP are for."""
    table = quiet_table("", "parameters", f"GFLOP for {unit}")
    for part, count in parameters.items():
        table.add_row(part, f"{count / 1e6:.2f} M", f"{flops[part] / 1e9:.3f}")
    total, work = sum(parameters.values()), sum(flops.values())
    table.add_row("all", f"{total / 1e6:.2f} M", f"{work / 1e9:.3f}", style="bold")
    return table


def describe_step(batch: str, flops: int, part_bytes: Mapping[str, int]) -> str:
    """Say what a pass of a batch takes, in arithmetic and in bytes of tensors by part."""
    gflop = flops / 1e9
    work = f"{gflop / 1e3:.2f} TFLOP" if gflop >= 1e3 else f"{gflop:.2f} GFLOP"
    large = {part: size for part, size in part_bytes.items() if size >> 20}
    taken = ", ".join(f"{part} {format_bytes(size)}" for part, size in large.items())
    return (
        f"a pass of {batch}: {work} forward and back, "
        f"{format_bytes(sum(part_bytes.values()))} of tensors on a GPU ({taken})"
    )
