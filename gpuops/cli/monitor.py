"""``gpuops monitor``: the GPUs and jobs on one screen, and their health."""

from __future__ import annotations

import gc
import itertools
import math
import shutil
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import typer

from gpuops.cli import output
from gpuops.cli.runs import find_to_show
from gpuops.core.monitor.frame import Frame, Health, filter_frame
from gpuops.core.monitor.rows import JobRow
from gpuops.errors import EXIT_CODES_HELP, ExitCode, GpuopsError, UsageError
from gpuops.monitor.sampler import FrameSource, Sampler, ticks
from gpuops.system.runs import records

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
        what = "too short" if interval < SHORTEST_S else "not a time"
        raise UsageError(f"--interval {interval:g} is {what}.", f"The shortest is {SHORTEST_S} s.")
    gc.enable()
    root = find_to_show(run, runs_dir, "monitor --run") if run is not None else None
    part = _part(gpu, root)
    wanted = 1 if once else count
    if wanted is None and not as_json and sys.stdin.isatty() and sys.stdout.isatty():
        _live(interval, part, textfile)
        return
    last = None
    with Sampler(interval, patient=wanted == 1) as sampler:
        for _ in itertools.islice(ticks(interval, threading.Event()), wanted):
            last = part(sampler.sample())
            if textfile is not None:
                _export(textfile, last, for_good=wanted is None)
            if textfile is None or as_json:
                _print(last, as_json=as_json, alone=wanted == 1)
    if last is not None and (code := _code(last, root)):
        raise typer.Exit(code)


def _part(gpu: list[str] | None, root: Path | None) -> Callable[[Frame], Frame]:
    """Select GPUs and a run from a frame; the run's folder may be reached by a link."""
    gpus = [word for words in gpu or () for word in words.split(",") if word]
    wanted = {str(root), str(root.resolve())} if root is not None else None

    def part(frame: Frame) -> Frame:
        return filter_frame(frame, gpus=gpus, run=wanted) if gpus or wanted else frame

    return part


def _code(frame: Frame, root: Path | None) -> int:
    """The exit code for the last frame; for a run that has ended, that of its end."""
    if root is None or frame.jobs:
        return int(CODES[frame.health])
    record = records.load(root)
    status = record.status if record is not None else "gone"
    if record is not None and status == "running":
        output.note(f"{root.name} is running; only its owner, {record.owner}, can see more.")
        return int(ExitCode.OK)
    output.note(f"{root.name} is not running: it is {status}.")
    return int(ExitCode.OK if status in {"finished", "stopped"} else ExitCode.FAILED)


def _print(frame: Frame, *, as_json: bool, alone: bool) -> None:
    """Print a frame; as JSON on one line if more follow."""
    if as_json and alone:
        output.answer(frame, lambda: "", as_json=True)
    elif as_json:
        print(output.json_text(frame), flush=True)
    else:
        fits = output.fits_terminal(sys.stdout)
        width = shutil.get_terminal_size().columns if fits else None
        print("\n".join(output.ui("monitor.screen").plain(frame, width)), flush=True)


def _live(interval_s: float, part: Callable[[Frame], Frame], textfile: Path | None) -> None:
    """Show frames on the terminal until the user leaves."""

    def shown(frame: Frame) -> Frame:
        mine = part(frame)
        if textfile is not None:
            _export(textfile, mine, for_good=True)
        return mine

    with FrameSource(interval_s, shown) as frames:  # it samples while the screen is loaded
        run = output.ui("monitor.terminal").run
        number = run(frames, interval_s=interval_s, pages=_page, encoding=sys.stdout.encoding)
    if number is not None:
        raise typer.Exit(128 + number)


def _page(job: JobRow, kind: Literal["log", "diagnosis"]) -> list[str]:
    """The page that a key opens."""
    from gpuops.monitor import job_pages  # noqa: PLC0415 - when a key asks for it

    return job_pages.logs(job) if kind == "log" else job_pages.diagnosis(job)


def _export(path: Path, frame: Frame, *, for_good: bool) -> None:
    """Write the figures; ``for_good``: a failure is only reported, since more frames follow."""
    from gpuops.system import textfile  # noqa: PLC0415 - rarely asked for

    try:
        textfile.write(path, frame)
    except GpuopsError as problem:
        if not for_good:
            raise
        if not sys.stdout.isatty():
            output.note(problem.message)
