"""A launch on the screen: the plan before, the progress line during, the summary after."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.columns import Columns
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from gpuops.core.finding import Finding
from gpuops.core.launch.choice import Waiting, reasons
from gpuops.core.launch.manifest import Batch, Manifest
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.secrets import mask_text
from gpuops.core.supervision.attempt import Phase
from gpuops.core.supervision.progress import Look, Progress
from gpuops.core.supervision.restart import GiveUp
from gpuops.core.supervision.summary import FailureSummary, RunSummary
from gpuops.text import coloured, colourless, many
from gpuops.ui import findings, words
from gpuops.ui.runs import facts, figures

PLAIN_EVERY_S = 10.0
LIVE_EVERY_S = 0.4
NOT_LOSSES = {
    "step", "total_steps", "epoch", "time", "lr", "steps_per_s", "learning_rate",
    "data_wait", "grad_norm", "loss", "seconds",
}  # fmt: skip
PARTS_SHOWN = 3
BAR_WIDTH = 10


def plan(
    launch: LaunchPlan, settings: Mapping[str, Any], manifest: Manifest | None = None
) -> RenderableType:
    """What will run."""
    table = facts()
    attempt = f", attempt {launch.attempt}" if launch.attempt > 1 else ""
    table.add_row("run", f"{launch.run_id}{attempt}")
    table.add_row("what", f"{launch.target.name} ({launch.target.entry})")
    data = manifest.data if manifest else None
    if data is not None and (root := settings.get(data.setting)) is not None:
        table.add_row(
            "data", f"{root} (built in)" if root in data.built_in else mask_text(str(root))
        )
    gpus = ", ".join(str(gpu.index) for gpu in launch.devices)
    where = f"GPU {gpus} over nccl" if launch.device == "cuda" else "CPU over gloo"
    shrunk = f" of {launch.ranks_wanted}" if launch.world_size < launch.ranks_wanted else ""
    workers = f"{many(launch.world_size, 'worker')}{shrunk}"
    port = f"port {launch.master_port} (profile {launch.profile})"
    table.add_row("where", f"{workers} on {where}, {port}")
    batch = manifest.batch if manifest else None
    if batch is not None and (described := _global_batch(launch, settings, batch)) is not None:
        table.add_row("batch", described)
    table.add_row("folder", words.place(launch.run_dir, launch.working_dir))
    return Group(Text("\nplan", style="bold cyan"), table, "")


def _global_batch(launch: LaunchPlan, settings: Mapping[str, Any], batch: Batch) -> str | None:
    size, total = settings.get(batch.size), settings.get(batch.total)
    fill = settings.get(batch.fill) if batch.fill else None
    world = launch.world_size
    if isinstance(fill, int):
        return f"{batch.fill} {fill} on each of {many(world, 'worker')}"
    if not isinstance(size, int):
        return None
    accumulate = settings.get(batch.accumulate) or 1
    if isinstance(total, int):
        passes = -(-total // (size * world))
        each = -(-total // (passes * world))
        times = f"{many(world, 'worker')} x {many(passes, 'pass')}"
        return f"global batch {total} = {times} of at most {each}"
    parts = f"{size} per worker x {many(world, 'worker')} x {accumulate} accumulated"
    return f"global batch {size * world * accumulate} = {parts}"


# How trainers.engine logs: warnings, and the figures of a step, which the live line shows.
WARNING = "warning: "
STEP_FIGURES = re.compile(r"^step \d+/\d+ · ")


class Screen:
    """The live line of a job; plain lines if the output is not a terminal.

    ``brief``: the log lines of steps are left out, since the live line shows their figures.
    """

    def __init__(self, console: Console, *, brief: bool) -> None:
        self._console = console
        self._live_shown = console.is_terminal  # asked once: each time is a system call
        self._brief = brief and self._live_shown
        # Refreshed only on news: a line that redraws itself all night takes 2 % of a core.
        self._live = Live(console=console, auto_refresh=False, transient=True)
        self._live_due_s = self._shown_s = 0.0
        self._plain_due_s = 0.0
        self._plain_step: int | None = None
        self._shown_line = ""

    def __enter__(self) -> Screen:
        if self._live_shown:
            self._live.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        if self._live_shown:
            self._live.stop()

    def show(self, look: Look) -> None:
        """Show one observation of the job."""
        progress, elapsed_s = look.progress, look.elapsed_s
        for line in look.lines:
            if line.startswith(WARNING):
                self._console.print(Text(line, "yellow"), soft_wrap=True)
            elif not self._brief:
                self._console.print(Text.from_ansi(coloured(line)), soft_wrap=True)
            elif not STEP_FIGURES.match(line):
                self._console.print(Text(colourless(line), "dim", overflow="fold"))
        if elapsed_s < self._shown_s:  # another attempt has begun
            self._live_due_s = self._plain_due_s = 0.0
        self._shown_s = elapsed_s
        if self._live_shown:
            due = elapsed_s >= self._live_due_s
            self._live_due_s = elapsed_s + LIVE_EVERY_S if due else self._live_due_s
            self._live.update(progress_line(look, self._console.width), refresh=due)
        elif elapsed_s >= self._plain_due_s and progress.step != self._plain_step:
            self._plain_due_s, self._plain_step = elapsed_s + PLAIN_EVERY_S, progress.step
            self._console.print(_line(look, PARTS_SHOWN).plain, soft_wrap=True)

    def show_plan(
        self, launch: LaunchPlan, settings: Mapping[str, Any], manifest: Manifest | None = None
    ) -> None:
        """Show a plan that was made again."""
        self._console.print(plan(launch, settings, manifest))

    def tell(self, words: str) -> None:
        """Print a decision."""
        self._console.print(Text(words, "bold yellow"), soft_wrap=True)

    def show_findings(self, found: Sequence[Finding]) -> None:
        """Show the findings of preflight for a plan that was made again."""
        self._console.print(findings.brief(found))

    def wait(self, waiting: Waiting) -> None:
        """Show what the launch waits for; on a pipe only if it has changed."""
        line = waiting_line(waiting)
        if self._live_shown:
            line.append(f"  {words.duration(waiting.waited_s)}", style="dim")
            self._live.update(line, refresh=True)
        elif line.plain != self._shown_line:
            self._shown_line = line.plain
            self._console.print(line, soft_wrap=True)


def waiting_line(waiting: Waiting) -> Text:
    """``waiting  6 of 7 GPUs are free, GPU 3 is held by run …, 1 launch before this one``."""
    choice = waiting.choice
    refused = [one for one in choice.refused if one.passes or one.reason == "faulty"]
    parts = [f"{len(choice.devices)} of {choice.wanted} GPUs are free", reasons(refused)]
    if count := len(waiting.ahead):
        parts.append(f"{count} {'launch' if count == 1 else 'launches'} before this one")
    return Text.assemble(("waiting", "bold cyan"), "  ", ", ".join(parts))


def progress_line(look: Look, width: int) -> RenderableType:
    """``training ━━━━━━ 120/600  loss 0.31 …  8.2 steps/s  ETA 0:58``, as much as there is room."""
    progress, stopping = look.progress, look.phase is Phase.STOPPING
    room = 0
    if look.trouble is not None:
        head = ("hangs", "bold red") if stopping else ("hangs?", "bold yellow")
        where = words.steps(progress.step, progress.total_steps)
        line = Text.assemble(head, f"  {where}  ", look.trouble)
    elif stopping:
        line = Text.assemble(
            ("stopping", "bold yellow"),
            f"  {words.duration(look.stopping_s)}",
            ("  the workers may save first; Ctrl-C again ends them at once", "dim"),
        )
    elif progress.step is None:
        ran, said = words.duration(look.elapsed_s), colourless(look.partial)
        line = Text.assemble((_doing(look), "bold cyan"), f"  {ran}", (f"  {said}", "dim"))
    else:
        for parts in range(PARTS_SHOWN, -1, -1):
            line = _line(look, parts)
            room = width - line.cell_len - 2
            if room >= BAR_WIDTH:
                break
    if not progress.total_steps or room < BAR_WIDTH:
        line.truncate(width, overflow="ellipsis")
        return line
    bar = ProgressBar(progress.total_steps, progress.step or 0, width=min(room, 2 * BAR_WIDTH))
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_row(bar, line)
    return table


def _line(look: Look, parts: int) -> Text:
    """What it does, its step, ``parts`` of its losses, its speed: as far as they are known."""
    progress = look.progress
    cells = [(_doing(look), "bold cyan")]
    if progress.step is not None:
        cells.append((words.steps(progress.step, progress.total_steps), ""))
        cells.append((_losses(progress, parts), "magenta"))
    if progress.steps_per_s is not None:
        cells.append((words.speed(progress.steps_per_s), ""))
        cells.append((f"ETA {words.duration(progress.eta_s)}", "green"))
    return Text("  ").join(Text(text, style=style) for text, style in cells if text)


def _doing(look: Look) -> str:
    progress = look.progress
    if look.phase in {Phase.STOPPING, Phase.STARTING}:
        return "stopping" if look.phase is Phase.STOPPING else "starting"
    if progress.phase == "cache":
        return "building caches"
    if progress.step is None:
        return "running"
    others = {"evaluate": "evaluating", "save": "saving", "done": "finishing"}
    return others.get(progress.phase or "", "training")


def _losses(progress: Progress, parts: int) -> str:
    loss = progress.loss if progress.loss is not None else progress.metrics.get("loss")
    others = [(key, value) for key, value in progress.metrics.items() if key not in NOT_LOSSES]
    first = {} if loss is None else {"loss": loss}
    return "  ".join(figures({**first, **dict(others[:parts])}))


def closing(ended: RunSummary, here: str) -> RenderableType:
    """How the job ended: its losses, its files, and the commands to type next."""
    colour = {"finished": "green", "stopped": "yellow"}.get(ended.ending, "red")
    head = Text.assemble(
        (ended.ending, f"bold {colour}"),
        f"  {ended.run_id}  ",
        "" if ended.step is None else f"{words.steps(ended.step, ended.total_steps)} steps ",
        f"in {words.duration(ended.duration_s)}",
    )
    table = facts()
    if ended.first_loss is not None and ended.last_loss is not None:
        first, last = words.figure(ended.first_loss), words.figure(ended.last_loss)
        table.add_row("loss", f"{first} → {last}")
    if ended.validation:
        table.add_row("validation", Columns(figures(ended.validation), padding=(0, 2)))
    for name, path in ended.places.items():
        table.add_row(name, words.place(path, here))
    width = max(len(command) for command, _ in ended.next_commands)
    commands = Text("\n", no_wrap=True, overflow="ellipsis").join(
        Text.assemble((f" {command:<{width}}", "bold"), (f"  {about}", "dim"))
        for command, about in ended.next_commands
    )
    return Group("", head, table, Text("\nnext", style="bold cyan"), commands)


def given_up(decision: GiveUp) -> RenderableType:
    """Why the run was not started again, and what to do."""
    head = Text(f"not started again: {words.sentence(decision.why)}", style="bold red")
    return Group(head, Text(f"  → {decision.advice}", "cyan"))


def failed(ended: FailureSummary) -> RenderableType:
    """Which rank failed first, how, and its last lines."""
    what = "torchrun ended" if ended.rank is None else f"rank {ended.rank} failed first"
    body = [_Words(f"  {line}", "dim") for line in ended.last_words]
    hint = [_Words(f"  {ended.hint}")] if ended.hint else []
    log = _Words(f"  the whole log: {ended.log}", "dim")
    return Group(_Words(f"{what}: {ended.how}", "bold red"), *body, *hint, log)


@dataclass(frozen=True, slots=True)
class _Words:
    """A line that breaks only between words, so that a path can be searched or clicked.

    Rich itself breaks long words, or cuts them.
    """

    line: str
    style: str = ""

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        for line in textwrap.wrap(
            self.line,
            options.max_width,
            subsequent_indent="  ",
            break_long_words=False,
            break_on_hyphens=False,
        ):
            yield Text(line, self.style, no_wrap=True, overflow="ignore")
