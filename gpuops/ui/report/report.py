"""The report of a run on the screen."""

from __future__ import annotations

from collections.abc import Sequence

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from gpuops.core.report.curves import Spread
from gpuops.core.report.report import GpuUse, Report
from gpuops.text import GIB, many
from gpuops.ui import words
from gpuops.ui.monitor.grid import clean
from gpuops.ui.runs import COLOURS, columns

BARS = "▁▂▃▄▅▆▇█"
SPARKS = 40
DOING = {
    "start": "starting",
    "cache": "building caches",
    "train": "training",
    "evaluate": "evaluating",
    "save": "saving",
    "done": "finishing",
    "hang": "hanging",
}


def report(found: Report) -> RenderableType:
    """What was launched, how it went, and how the host was used."""
    run = found.run
    head = Text.assemble((run.run_id, "bold"), "  ", (run.status, f"bold {COLOURS[run.status]}"))
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
    run = found.run
    facts = Table.grid(padding=(0, 1, 0, 1))
    facts.add_column(style="dim", no_wrap=True)
    facts.add_column(overflow="fold")
    facts.add_row("what", f"{run.target}, {many(run.workers, 'worker')}, profile {run.profile}")
    if found.attempts:
        facts.add_row("began", words.moment(found.attempts[0].started_at))
        facts.add_row("ran", ran(found))
    facts.add_row("steps", steps(found))
    if found.loss is not None:
        first, least, last = map(words.figure, found.loss)
        facts.add_row("loss", f"{first} → {last}, at best {least}  {_spark(found)}")
    if found.not_finite:
        facts.add_row("", Text(f"{found.not_finite} times not finite", style="bold red"))
    if found.validation:
        shown = [f"{key} {words.figure(value)}" for key, value in found.validation.items()]
        facts.add_row("validation", Columns(shown, padding=(0, 2)))
    if found.shares:
        facts.add_row("time", shares(found))
    if found.cpu_cores and found.memory_bytes:
        cores, memory = range_(found.cpu_cores, digits=1), range_(found.memory_bytes, GIB, 1)
        facts.add_row("host", f"{cores} cores, {memory} GiB of memory")
    if found.data_wait:
        facts.add_row("data", f"waited for {100 * found.data_wait.median:.0f} % of a step")
    return facts


def ran(found: Report) -> str:
    """``1:02:05 in 2 attempts``."""
    count = len(found.attempts)
    return f"{words.duration(found.running_s)} in {many(count, 'attempt')}"


def steps(found: Report) -> str:
    """Its last step and its speed."""
    speed = f", {words.figure(found.steps_per_s)} steps/s" if found.steps_per_s else ""
    return words.steps(found.step, found.run.total_steps) + speed


def shares(found: Report) -> str:
    """``training 93 %, evaluating 5 %``."""
    ordered = sorted(found.shares.items(), key=lambda item: -item[1])
    return ", ".join(f"{DOING.get(name, name)} {100 * share:.0f} %" for name, share in ordered)


def range_(of: Spread | None, unit: float = 1.0, digits: int = 0) -> str:
    """``54 / 61 / 63``: minimum, median, maximum; a dash if nothing was read."""
    if of is None:
        return "—"
    return " / ".join(f"{value / unit:.{digits}f}" for value in (of.least, of.median, of.most))


def _gpus(gpus: Sequence[GpuUse]) -> Table:
    table = columns("GPU", "utilisation %", "memory GiB", "temperature °C", "power W")
    table.caption, table.caption_justify = "least / median / most, while it trained", "left"
    for gpu in gpus:
        table.add_row(
            Text(f"GPU {gpu.index}", style="bold"),
            range_(gpu.utilization_pct),
            range_(gpu.memory_used_bytes, GIB, 1),
            range_(gpu.temperature_c),
            range_(gpu.power_w),
        )
    return table


def _attempts(found: Report) -> Table:
    table = columns("attempt", "began", "took", "steps", "ended", "then")
    for span in found.attempts:
        colour = {"finished": "green", "running": "cyan", "stopped": "yellow"}
        table.add_row(
            str(span.number),
            words.moment(span.started_at),
            words.duration(span.duration_s),
            f"{words.steps(span.first_step, None)} → {words.steps(span.last_step, None)}",
            Text(span.ending, style=colour.get(span.ending, "red")),
            span.follows or "",
        )
    return table


def _spark(found: Report) -> str:
    """The loss as a row of bars."""
    line = next((line for chart in found.charts for line in chart.curves), None)
    values = line.values if line else []
    if len(values) < 3:
        return ""
    count = min(SPARKS, len(values))
    parts = [
        values[number * len(values) // count : (number + 1) * len(values) // count]
        for number in range(count)
    ]
    means = [sum(part) / len(part) for part in parts]
    low, high = min(means), max(means)
    scale = (len(BARS) - 1) / (high - low) if high > low else 0.0
    return "".join(BARS[round((mean - low) * scale)] for mean in means)
