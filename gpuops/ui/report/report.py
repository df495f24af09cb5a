"""The report of a run on the screen."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import pairwise

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpuops.core.report.curves import Spread
from gpuops.core.report.history import AttemptSpan
from gpuops.core.report.report import GpuUse, Report
from gpuops.text import GIB, many
from gpuops.ui import words
from gpuops.ui.monitor.grid import clean
from gpuops.ui.monitor.rows import BARS
from gpuops.ui.runs import COLOURS, columns, describe, facts, figures

SPARKS = 40
DOING = {
    "start": "starting", "cache": "building caches", "train": "training", "hang": "hanging",
    "evaluate": "evaluating", "save": "saving", "done": "finishing",
}  # fmt: skip


def report(found: Report) -> RenderableType:
    """What was launched, how it went, and how the host was used."""
    status = (found.run.status, f"bold {COLOURS[found.run.status]}")
    head = Text.assemble((found.run.run_id, "bold"), "  ", status)
    parts: list[RenderableType] = [head, _facts(found)]
    if found.gpus:
        parts += ["", _gpus(found.gpus)]
    if found.attempts:
        parts += ["", _attempts(found)]
    for trouble in found.troubles:
        parts += [
            Text(f"\nattempt {trouble.attempt} {trouble.what}: {trouble.title}", "bold yellow"),
            Text(f"  {clean(trouble.why)}"),
            *([Text(f"  → {trouble.advice}", "cyan")] if trouble.advice else []),
        ]
    return Group(*parts)


def _facts(found: Report) -> Table:
    table = facts()
    table.add_row("what", describe(found.run))
    if not found.run.ours:
        table.add_row("owner", found.run.owner)
    if found.attempts:
        table.add_row("began", words.moment(found.attempts[0].started_at))
        table.add_row("ran", ran(found))
    speed = f", {words.figure(found.steps_per_s)} steps/s" if found.steps_per_s else ""
    table.add_row("steps", words.steps(found.step, found.run.total_steps) + speed)
    if found.loss is not None:
        first, least, last = map(words.figure, found.loss)
        table.add_row("loss", f"{first} → {last}, at best {least}  {_spark(found)}")
    if found.not_finite:
        table.add_row("", Text(f"{found.not_finite} times not finite", style="bold red"))
    if found.validation:
        table.add_row("validation", Columns(figures(found.validation), padding=(0, 2)))
    if found.shares:
        table.add_row("time", ", ".join(shares(found).values()))
    if found.cpu_cores and found.memory_bytes:
        cores, memory = range_(found.cpu_cores, digits=1), range_(found.memory_bytes, GIB, 1)
        table.add_row("host", f"{cores} cores, {memory} GiB of memory (least / median / most)")
    if found.data_wait:
        table.add_row("data", f"waited for {100 * found.data_wait.median:.0f} % of a step")
    return table


def ran(found: Report) -> str:
    """``1:02:05 in 2 attempts``."""
    return f"{words.duration(found.running_s)} in {many(len(found.attempts), 'attempt')}"


def shares(found: Report) -> dict[str, str]:
    """The time in each phase, as ``training 93 %``: the longest first."""
    ordered = sorted(found.shares.items(), key=lambda item: -item[1])
    return {name: f"{DOING.get(name, name)} {100 * share:.0f} %" for name, share in ordered}


def range_(of: Spread | None, unit: float = 1.0, digits: int = 0) -> str:
    """``54 / 61 / 63``: minimum, median, maximum; a dash if nothing was read."""
    if of is None:
        return "—"
    return " / ".join(f"{value / unit:.{digits}f}" for value in (of.least, of.median, of.most))


def used(gpu: GpuUse) -> tuple[str, str, str, str]:
    """Utilization (%), memory (GiB), temperature (°C) and power (W) as ranges."""
    memory = range_(gpu.memory_used_bytes, GIB, 1)
    return range_(gpu.utilization_pct), memory, range_(gpu.temperature_c), range_(gpu.power_w)


def taken(span: AttemptSpan) -> tuple[str, str]:
    """The time that an attempt took, and its first and last step."""
    first, last = words.steps(span.first_step, None), words.steps(span.last_step, None)
    return words.duration(span.duration_s), f"{first} → {last}"


def _gpus(gpus: Sequence[GpuUse]) -> Table:
    table = columns("GPU", "utilisation %", "memory GiB", "temperature °C", "power W")
    table.caption, table.caption_justify = "least / median / most, while it trained", "left"
    for gpu in gpus:
        table.add_row(Text(f"GPU {gpu.index}", style="bold"), *used(gpu))
    return table


def _attempts(found: Report) -> Table:
    table = columns("attempt", "began", "took", "steps", "ended", "then")
    for span in found.attempts:
        ending = Text(span.ending, style=COLOURS.get(span.ending, "red"))
        began, then = words.moment(span.started_at), span.follows or ""
        table.add_row(str(span.number), began, *taken(span), ending, then)
    return table


def _spark(found: Report) -> str:
    """The loss as a row of bars."""
    values = next((line.values for chart in found.charts for line in chart.curves), [])
    if len(values) < 3:
        return ""
    count = min(SPARKS, len(values))
    ends = [number * len(values) // count for number in range(count + 1)]
    means = [statistics.fmean(values[begin:end]) for begin, end in pairwise(ends)]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
