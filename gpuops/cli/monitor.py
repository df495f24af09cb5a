"""``gpuops monitor``: GPUs and jobs on one screen, and what is to be thought of them."""

from __future__ import annotations

import gc
import itertools
import math
import shutil
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

import typer

from gpuops.cli import output
from gpuops.core.monitor import monitor as core
from gpuops.core.monitor.frame import Frame, Health, JobRow
from gpuops.errors import EXIT_CODES_HELP, ExitCode, GpuopsError, UsageError
from gpuops.monitor.sampler import FrameSource, Sampler, ticks
from gpuops.system.runs import records, run_dir

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
CODES: dict[Health, ExitCode] = {
    "fine": ExitCode.OK,
    "degraded": ExitCode.DEGRADED,
    "hung": ExitCode.HUNG,
    "no driver": ExitCode.MACHINE,
}
SHORTEST_S = 0.2


@app.command(epilog=EXIT_CODES_HELP)
def monitor(
    interval: Annotated[float, typer.Option(help="Seconds between two frames.")] = 2.0,
    count: Annotated[
        int | None, typer.Option(min=1, help="End after this many frames.", show_default=False)
    ] = None,
    gpu: Annotated[
        list[str] | None,
        typer.Option("--gpu", help="Only this GPU and its jobs: index, UUID, or `0,2`."),
    ] = None,
    run: Annotated[str | None, typer.Option("--run", help="Only this run and its GPUs.")] = None,
    textfile: Annotated[
        Path | None,
        typer.Option("--export-textfile", help="Write the figures for Prometheus at each frame."),
    ] = None,
    runs_dir: output.RunsDir = None,
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Show one frame; the exit code tells the state.")
    ] = False,
    as_json: output.Json = False,
) -> None:
    """Show the GPUs and the jobs on them, live; `q` leaves, `h` helps, no key ends a job.

    With --once, with --count or into a pipe, the exit code tells the state in the last frame.
    """
    if not SHORTEST_S <= interval < math.inf:
        what = "too short" if interval < SHORTEST_S else "no time"
        raise UsageError(f"--interval {interval:g} is {what}.", f"{SHORTEST_S} s is the least.")
    gc.enable()
    root = records.find(run_dir.runs_dir(runs_dir), run) if run is not None else None
    part = _part(gpu, root)
    looks = 1 if once else count
    live = looks is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    if live:
        _live(interval, part, textfile)
        return
    last = None
    with _looks(interval, looks) as boards:
        for frame in boards:
            last = part(frame)
            if textfile is not None:
                _export(textfile, last, for_good=looks is None)
            if textfile is None or as_json:
                _print(last, as_json=as_json, alone=looks == 1)
    if last is not None and (code := _code(last, root)):
        raise typer.Exit(code)


def _part(gpu: list[str] | None, root: Path | None) -> Callable[[Frame], Frame]:
    """What of a board is wanted: GPUs, and a run by its folder, however that was reached."""
    gpus = [word for words in gpu or () for word in words.split(",") if word]
    wanted = {str(root), str(root.resolve())} if root is not None else None

    def part(frame: Frame) -> Frame:
        return core.filter_frame(frame, gpus=gpus, run=wanted) if gpus or wanted else frame

    return part


def _code(frame: Frame, root: Path | None) -> int:
    """What the last look comes to; a run that was asked for and does not run is as it ended."""
    if root is None or frame.jobs:
        return int(CODES[frame.health])
    record = records.load(root)
    status = record.status if record is not None else "gone"
    output.note(f"{root.name} is not running: it is {status}.")
    return int(ExitCode.OK if status in {"finished", "stopped"} else ExitCode.FAILED)


@contextmanager
def _looks(interval_s: float, count: int | None) -> Iterator[Iterator[Frame]]:
    """So many looks, one after the other, at their distance; a single one is patient."""
    with Sampler(interval_s, patient=count == 1) as sampler:
        looks = itertools.islice(ticks(interval_s, threading.Event()), count)
        yield (sampler.sample() for _ in looks)


def _print(frame: Frame, *, as_json: bool, alone: bool) -> None:
    """As JSON one object, or one a line where more follow."""
    if as_json and alone:
        output.answer(frame, lambda: "", as_json=True)
    elif as_json:
        print(output.json_text(frame), flush=True)
    else:
        from gpuops.ui.monitor import screen  # noqa: PLC0415 - JSON does without

        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        print("\n".join(screen.plain(frame, width)), flush=True)


def _live(interval_s: float, part: Callable[[Frame], Frame], textfile: Path | None) -> None:
    """On the terminal, until somebody leaves."""

    def shown(frame: Frame) -> Frame:
        mine = part(frame)
        if textfile is not None:
            _export(textfile, mine, for_good=True)
        return mine

    with FrameSource(interval_s, shown) as looks:  # it looks while the screen is loaded
        from gpuops.ui.monitor import terminal  # noqa: PLC0415

        number = terminal.run(looks, interval_s=interval_s, pages=_page)
    if number is not None:
        raise typer.Exit(128 + number)


def _page(job: JobRow, kind: Literal["logs", "diagnosis"]) -> list[str]:
    """What a key opens: the end of a job's logs, or why it stands still."""
    from gpuops.monitor import job_pages  # noqa: PLC0415 - when a key asks for it

    return job_pages.logs(job) if kind == "logs" else job_pages.diagnosis(job)


def _export(path: Path, frame: Frame, *, for_good: bool) -> None:
    """Write the figures; a service that cannot says so, and tries again at the next look."""
    from gpuops.system import textfile  # noqa: PLC0415 - rarely asked for

    try:
        textfile.write(path, frame)
    except GpuopsError as problem:
        if not for_good:
            raise
        if not sys.stdout.isatty():
            output.note(problem.message)
