"""The monitor's rows: the cells of a GPU, a rank and a process."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

from gpuops.core.machine.gpu_use import WHOSE, describe_foreign
from gpuops.core.monitor.rows import GpuRow, GpuState, JobHealth, JobRow, RankRow, StrangerRow
from gpuops.text import GIB
from gpuops.ui import words
from gpuops.ui.monitor.grid import DASH, DIM, Cell, Column, clean

# Badges bring their own background: they can be read on a dark terminal and on a light one.
BAD = "bold white on red"
DOUBT = "bold black on yellow"
RED = "bold red"
WARM = "dark_orange3"  # a yellow that can be read on white
GOOD = "green"
OURS = "cyan"
OTHERS = "magenta"

BARS = "▁▂▃▄▅▆▇█"
HISTORY_SHOWN = 120
SLOW_PCT = 80

GPUS = (
    Column(head="GPU", keep=0),
    Column(head="state", keep=1, right=False, least=9),
    Column(head="use", keep=2),
    Column(head="mem GiB", keep=3),
    Column(head="temp", keep=5),
    Column(head="power W", keep=6),
    Column(head="MHz", keep=9),
    Column(head="lately", keep=8, least=8, newest=True),
    Column(head="holder", keep=4, right=False, least=16),
    Column(head="why slow", keep=7, right=False, least=8),
    Column(head="model", keep=10, right=False),
)
STATES: dict[GpuState, tuple[str, str]] = {
    "ok": ("OK", ""),
    "busy-other": ("BUSY-OTHER", OTHERS),
    "excluded": ("EXCLUDED", WARM),
    "users unknown": ("USERS UNKNOWN", WARM),
    "stuck": ("STUCK", BAD),
    "lost": ("LOST", BAD),
    "no permission": ("NO PERMISSION", WARM),
    "unreadable": ("UNREADABLE", WARM),
}

RANKS = (
    Column(head="", keep=0),
    Column(head="rank", keep=0),
    Column(head="PID", keep=7),
    Column(head="GPU", keep=5),
    Column(head="step", keep=1),
    Column(head="speed", keep=3),
    Column(head="usual", keep=4),
    Column(head="loss", keep=9),
    Column(head="ETA", keep=8),
    Column(head="data", keep=11),
    Column(head="moved", keep=2),
    Column(head="beat", keep=6),
    Column(head="doing", keep=10, right=False, least=7),
    Column(head="run", keep=12, right=False),
)
PROCESS = {
    "T": "stopped (T)", "t": "traced (t)", "D": "in kernel (D)", "Z": "ended (Z)", "X": "ended (X)",
}  # fmt: skip

JOB_HEALTH: dict[JobHealth, tuple[str, str]] = {
    "starting": ("starting", OURS),
    "healthy": ("healthy", GOOD),
    "suspect": ("HUNG?", DOUBT),
    "hung": ("HUNG", BAD),
    "blind": ("BLIND", DOUBT),
    "left alone": ("left alone", DIM),
}

STRANGERS = (
    Column(head="", keep=0, right=False),
    Column(head="GPU", keep=0),
    Column(head="user", keep=1, right=False, least=4),
    Column(head="GiB", keep=2),
    Column(head="since", keep=3, right=False),
    Column(head="PID", keep=5),
    Column(head="command", keep=4, right=False, least=6),
)


def gpu(row: GpuRow, *, model: bool) -> list[Cell]:
    """A GPU's cells, in the order of ``GPUS``; with its ``model`` if the GPUs differ."""
    name, style = STATES[row.state]
    if row.state == "stuck" and row.state_age_s >= 1:
        name = f"{name} {words.brief(row.state_age_s)}"
    if row.idle:
        style = GOOD
    return [
        (str(row.index), "bold"),
        (name, style),
        _cell(row.utilization_pct, "{}%"),
        _memory(row),
        _cell(row.temperature_c, "{}°C"),
        _of(row.power_w, row.power_limit_w),
        _of(row.clock_mhz, row.clock_max_mhz),
        (sparkline(row.history), DIM),
        _holder(row),
        (clean(", ".join(row.slow)), WARM),
        (clean(words.short_model(row.name)) if model else "", DIM),
    ]


def sparkline(history: Sequence[int | None]) -> str:
    """One bar per sample, the lowest only for 0 %; a dot if nothing could be read."""
    return "".join(
        "·" if pct is None else BARS[min(7, max(0, -(-pct * 7 // 100)))]
        for pct in history[-HISTORY_SHOWN:]
    )


def rank(row: RankRow, job: JobRow, *, run: bool, total: bool) -> list[Cell]:
    """A rank's cells, in the order of ``RANKS``.

    ``run``: with its run's name, so that lines of a pipe can be filtered. ``total``: with the total
    number of steps.
    """
    late = RED if row.culprit and job.health in {"suspect", "hung"} else ""
    share, usual = row.steps_per_s, row.usual_steps_per_s
    share = round(100 * share / usual) if share is not None and usual else None
    doing = PROCESS.get(row.process or "")
    return [
        ("!", RED) if row.culprit else (" ", ""),
        (_number_or_dash(row.rank), "bold"),
        (_number_or_dash(row.pid), ""),
        (",".join(map(str, row.gpus)) or DASH, ""),
        (words.steps(row.step, row.total_steps if total else None), late),
        _speed(row.steps_per_s),
        _cell(share, "{}%", WARM if share is not None and share < SLOW_PCT else ""),
        _loss(row.loss),
        _age(row.eta_s, tenths=False),
        _cell(row.data_wait, "{:.0%}"),
        _age(row.progress_age_s, late),
        _age(row.beat_age_s),
        (doing, RED) if doing else (clean(row.phase or DASH), "" if row.phase else DIM),
        (clean(job.name) if run else "", DIM),
    ]


def stranger(row: StrangerRow, now_s: float, label: str) -> list[Cell]:
    """A process's cells, in the order of ``STRANGERS``."""
    command = row.command or WHOSE.get(row.whose, DASH)
    if row.whose == "elsewhere":
        command = describe_foreign(row.pid)
    return [
        (label, DIM),
        (str(row.gpu), "bold"),
        (clean(row.user or DASH), OTHERS),
        (DASH if row.memory_bytes is None else f"{row.memory_bytes / GIB:.1f}", ""),
        (since(row.started_at_s, now_s), ""),
        (str(row.pid), ""),
        (clean(command), "" if row.command else DIM),
    ]


def since(then_s: float | None, now_s: float) -> str:
    """``23:02``; with the date if that was more than a day ago."""
    if then_s is None:
        return DASH
    form = "%H:%M" if now_s - then_s < 20 * 3600 else "%d %b"
    return time.strftime(form, time.localtime(then_s))


def _memory(row: GpuRow) -> Cell:
    used, total = row.memory_used_bytes, row.memory_total_bytes
    if used is None and total is None:
        return DASH, DIM
    shown = DASH if used is None else f"{used / GIB:.1f}"
    return f"{shown}/{DASH if total is None else f'{total / GIB:.0f}'}", ""


def _holder(row: GpuRow) -> Cell:
    texts = [clean(text) for text in (row.fault, row.holder) if text]
    if not texts:
        return ("idle", GOOD) if row.idle else (DASH, DIM)
    return " · ".join(texts), WARM if row.fault else OTHERS if row.state == "busy-other" else ""


def _number_or_dash(value: int | None) -> str:
    return DASH if value is None else str(value)


def _cell(value: float | None, form: str, style: str = "") -> Cell:
    return (DASH, DIM) if value is None else (form.format(value), style)


def _of(value: float | None, most: float | None) -> Cell:
    return _cell(value, "{:.0f}" if most is None else f"{{:.0f}}/{most:.0f}")


def _speed(per_s: float | None) -> Cell:
    digits = 2 if per_s is None or per_s < 0.95 else 1 if per_s < 99.5 else 0
    return _cell(per_s, f"{{:.{digits}f}}/s")


def _loss(loss: float | None) -> Cell:
    if loss is None:
        return DASH, DIM
    return words.figure(loss), "" if math.isfinite(loss) else RED


def _age(seconds: float | None, style: str = "", *, tenths: bool = True) -> Cell:
    return (DASH, DIM) if seconds is None else (words.brief(seconds, tenths=tenths), style)
