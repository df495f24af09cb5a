"""The GPUs on the monitor: a row each, even for lost ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rich.text import Text

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import GpuRow, GpuState
from gpuops.ui.monitor import grid
from gpuops.ui.monitor.grid import DIM, clean
from gpuops.ui.monitor.rows import GPUS, OURS, STATES, gpu

Sort = Literal["order", "use", "memory", "age"]
SORTS: tuple[Sort, ...] = ("order", "use", "memory", "age")
SEVERITY: tuple[GpuState, ...] = (
    "lost", "stuck", "unreadable", "no permission", "users unknown", "excluded", "busy-other", "ok",
)  # fmt: skip
PAIRED_FROM = 76  # columns; from this width two GPUs fit on a line


def gpus(frame: Frame, *, width: int, room: int | None, sort: Sort = "order") -> list[Text]:
    """A row per GPU; two per line if there are too few lines."""
    if not frame.gpus:
        why = frame.gaps.get("gpus") or "none was found"
        return [grid.trimmed([("  No GPU to watch here: ", ""), (clean(why), DIM)], width)]
    rows = _sorted(frame.gpus, sort)
    mixed = len({row.name for row in rows if row.name}) > 1
    if room is None or len(rows) < room:
        return _table(rows, width, mixed=mixed)
    if width >= PAIRED_FROM:
        half = -(-len(rows) // 2)
        if half < room:
            return _paired(rows, half, width)
    rows = sorted(rows, key=lambda row: SEVERITY.index(row.state))
    kept, hidden = rows[: max(0, room - 2)], rows[max(0, room - 2) :]
    states = sorted({STATES[row.state][0] for row in hidden})
    where = numbers([row.index for row in hidden])
    more = f"  … {len(hidden)} more GPUs ({where}): {', '.join(states)}"
    table = _table(kept, width, mixed=mixed) if kept else []
    return [*table, grid.trimmed([(more, OURS)], width)]


def _table(rows: Sequence[GpuRow], width: int, *, mixed: bool) -> list[Text]:
    cells = [gpu(row, model=mixed) for row in rows]
    widths = grid.fitted(GPUS, cells, width)
    return [grid.heads(GPUS, widths, width), *(grid.line(GPUS, widths, c, width) for c in cells)]


def _paired(rows: Sequence[GpuRow], half: int, width: int) -> list[Text]:
    wide = (width - 3) // 2
    lines = _table(rows, wide, mixed=False)
    head, left, right = lines[0], lines[1 : half + 1], lines[half + 1 :]
    both = []
    for one, other in zip([head, *left], [head, *right, Text()], strict=False):
        line = one.copy()
        line.append(" " * (wide - one.cell_len + 3))
        both.append(line.append_text(other))
    return both


def _sorted(gpus: Sequence[GpuRow], sort: Sort) -> list[GpuRow]:
    """Largest first, unknown values last."""
    values = {
        "use": lambda row: row.utilization_pct,
        "memory": lambda row: row.memory_used_bytes,
        "age": lambda row: row.state_age_s,
    }
    value = values.get(sort)
    if value is None:
        return list(gpus)
    return sorted(gpus, key=lambda row: -1.0 if value(row) is None else value(row), reverse=True)


def numbers(indices: Sequence[int]) -> str:
    """``0 2 5``; ``0-5 9`` if that is shorter."""
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and index == runs[-1][-1] + 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return " ".join(
        f"{run[0]}-{run[-1]}" if len(run) > 2 else " ".join(map(str, run)) for run in runs
    )
