"""The GPU memory that a training step needs, as tables."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpuops.core.launch.memory import Beside, Estimate, Fit, Gpu
from gpuops.text import GIB, MIB
from gpuops.ui.findings import MARKS, not_here
from gpuops.ui.runs import columns

# A trainer's parts and phases in words; others are shown by their own names.
PARTS = {"average": "moving average", "optimizer": "optimizer state"}
PHASES = {
    "build": "while the model is built",
    "forward": "in the forward pass",
    "backward": "in the backward pass",
    "optimizer": "in the optimizer's step",
    "after": "after the optimizer's step",
}


def estimate(
    name: str,
    found: Estimate,
    gpu: Gpu | None,
    margin: Beside,
    fit: Fit,
    simulated: str | None = None,
) -> RenderableType:
    """The parts, their sum compared with the GPU, and the batch sizes that fit."""
    rows: list[RenderableType] = [*not_here(simulated), _head(name, found, gpu)]
    rows.append(_parts(found, gpu, margin))
    if found.assumed:
        rows.append(Text(f"assumed: {found.assumed}\n", style="yellow"))
    rows.append(_words(fit, on_gpu=found.device == "cuda"))
    if gpu is not None:
        rows += ["", _sizes(found, gpu, margin)]
    return Group(*rows)


def _head(name: str, found: Estimate, gpu: Gpu | None) -> Text:
    on = gpu.name if gpu else {"cuda": "GPU", "cpu": "CPU worker"}[found.device]
    passes = f" in each of {found.passes} passes" if found.passes > 1 else ""
    return Text.assemble(
        (name, "bold"),
        f" on {found.ranks} x {on}, {found.precision}\n",
        (f"{found.batch}{passes}\n", "dim"),
    )


def _parts(found: Estimate, gpu: Gpu | None, margin: Beside) -> Table:
    need = found.asked
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(no_wrap=True)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(style="dim")
    for part, size in need.parts.items():
        coming = part == "gradients" and size < need.parts.get("parameters", 0)
        remark = "more are allocated as activations are freed" if coming else ""
        if size or coming:
            table.add_row(PARTS.get(part, part), amount(size), remark)
    at = PHASES.get(need.at, need.at)
    table.add_row(_bold("tensors"), _bold(amount(need.peak_bytes)), f"the peak, {at}")
    if found.device == "cuda":
        beside = margin.total_bytes + need.rounding_bytes
        table.add_row("context and workspace", amount(beside), _margin(margin, need.rounding_bytes))
        table.add_row(_bold("needed"), _bold(amount(need.peak_bytes + beside)))
    if gpu is not None:
        free = f"of {amount(gpu.memory_bytes)}; {gpu.headroom:.0%} stays free"
        table.add_row("GPU", amount(gpu.usable_bytes), free)
    table.add_row()
    return table


def _margin(margin: Beside, rounding_bytes: int) -> str:
    named = {
        "CUDA": margin.context_bytes,
        "libraries": margin.workspace_bytes,
        "NCCL": margin.nccl_bytes,
        "rounding": rounding_bytes,
    }
    shown = ", ".join(f"{name} {size / MIB:.0f}" for name, size in named.items() if size)
    return f"a margin, in MiB: {shown}"


def _words(fit: Fit, *, on_gpu: bool) -> Text:
    unknown = "warning" if on_gpu else "ok"
    mark, colour = MARKS[{True: "ok", False: "error", None: unknown}[fit.fits]]
    words = Text.assemble((f"{mark} ", f"bold {colour}"), fit.sentence)
    if fit.hint:
        words.append(f"\n{fit.hint}", style="dim")
    return words


def _sizes(found: Estimate, gpu: Gpu, margin: Beside) -> Table:
    table = columns(found.setting, "needs", "of the GPU")
    table.padding = (0, 2, 0, 1)
    for column in table.columns:
        column.justify = "right"
    asked_fits = True
    for need in sorted(found.needs, key=lambda need: need.size):
        takes = need.peak_bytes + need.rounding_bytes + margin.total_bytes
        if need.size > found.size and not asked_fits:
            break  # only estimated to fit the line through the sizes; larger ones do not fit
        asked_fits = takes <= gpu.usable_bytes
        colour = "" if asked_fits else "red"
        style = f"bold {colour}" if need.size == found.size else colour
        share = f"{takes / gpu.memory_bytes:.0%}"
        table.add_row(f"{need.size:,}", amount(takes), share, style=style)
    return table


def _bold(words: str) -> Text:
    return Text(words, style="bold")


def amount(size: int) -> str:
    """``0 MiB``, ``6.2 MiB``, ``812 MiB``, ``2.11 GiB``, ``20.9 GiB``, ``1.26 TiB``."""
    if size < GIB:
        return f"{size / MIB:.1f} MiB" if 0 < size < 10 * MIB else f"{size / MIB:.0f} MiB"
    if size < 1000 * GIB:
        return f"{size / GIB:.2f} GiB" if size < 10 * GIB else f"{size / GIB:.1f} GiB"
    return f"{size / GIB / 1024:,.2f} TiB"
