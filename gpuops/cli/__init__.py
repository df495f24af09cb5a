"""The command line: a table of commands, each in its own file, loaded when it is typed."""

from __future__ import annotations

import sys
from difflib import get_close_matches
from importlib import import_module
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from gpuops import __version__
from gpuops.cli import streams
from gpuops.errors import EXIT_CODES_HELP, GpuopsError, UsageError

COMMANDS = {
    "preflight": ("Jobs", "Check this host, and name what would make a job fail."),
    "estimate": ("Jobs", "Compute the GPU memory of a training step, and what fits."),
    "launch": ("Jobs", "Start a trainer, a script or a module under torchrun, and supervise it."),
    "monitor": ("Jobs", "Show the GPUs and the jobs on them, live."),
    "attach": ("Jobs", "Show the progress of a run that was launched elsewhere."),
    "stop": ("Jobs", "Stop a run: it saves a checkpoint and ends."),
    "supervise": ("Jobs", "Supervise a run whose supervisor has ended."),
    "diagnose": ("Jobs", "Show why a job makes no progress, or why it ended."),
    "drill": ("Jobs", "Inject faults into a small job, to test that this host recovers."),
    "kill-hung": ("Jobs", "Find jobs that hang, and end only those."),
    "plan": ("Jobs", "Show what a launch would run."),
    "gpus": ("Jobs", "List the GPUs, the jobs that hold them and those that wait."),
    "runs": ("Jobs", "List the runs, or show one."),
    "report": ("Jobs", "Show how a run went, or write it as a page."),
    "logs": ("Jobs", "Show the output of a rank of a run."),
    "tensorboard": ("Jobs", "Open TensorBoard on a run, or on all runs."),
    "data": ("Set-up", "Import, check, count or make data sets."),
    "profiles": ("Set-up", "List, check or make hardware profiles."),
    "trainers": ("Set-up", "List the trainers and their verbs, or show one."),
}


class _Commands(TyperGroup):
    """Loads a command's file only when it is typed: ``gpuops --help`` answers at once.

    The verbs of trainers are commands too. Manifests are read only if a word is not a command of
    gpuops itself, or for shell completion.
    """

    def list_commands(self, ctx: Any) -> list[str]:
        return [*COMMANDS, *(_verbs().known() if ctx.resilient_parsing else ())]

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - typer's signature
        if cmd_name in COMMANDS:
            panel, about = COMMANDS[cmd_name]
            return TyperCommand(name=cmd_name, help=about, rich_help_panel=panel)
        about = _verbs().known().get(cmd_name)
        return about and TyperCommand(name=cmd_name, help=about)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:  # noqa: ARG002
        name, *rest = args
        if name not in COMMANDS:
            verbs = _verbs().known()
            if name in verbs:
                return name, _verbs().command(name), rest
            near = get_close_matches(name, [*COMMANDS, *verbs], n=1)
            raise UsageError(
                f"there is no command {name!r}{f'; did you mean {near[0]}?' if near else '.'}",
                f"The commands: {', '.join(COMMANDS)}; verbs of trainers: {', '.join(verbs)}.",
            )
        found = typer.main.get_command(import_module(f"gpuops.cli.{name.replace('-', '_')}").app)
        found.name, found.help = name, found.help or COMMANDS[name][1]
        return name, found, rest


def _verbs() -> Any:
    return import_module("gpuops.cli.verbs")


_WrongLine: Any = typer.BadParameter.__base__  # Typer's usage error, which has no public name

app = typer.Typer(
    cls=_Commands,
    help="An operator's toolkit for multi-GPU PyTorch jobs.",
    epilog=f"Trainers add commands of their own: gpuops trainers list. {EXIT_CODES_HELP}",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:  # noqa: FBT001 - typer calls it so
    if wanted:
        typer.echo(f"gpuops {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: bool = typer.Option(
        False, "--version", callback=_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """An operator's toolkit for multi-GPU PyTorch jobs."""


def _run() -> int:
    """Run the command and return its exit code.

    Raises:
        GpuopsError: the command line is wrong, or the command failed.
    """
    try:
        return app(prog_name="gpuops", standalone_mode=False) or 0
    except _WrongLine as problem:
        message = problem.format_message()
        if not message:  # a group without a command: Typer has printed its help
            return int(problem.exit_code)
        raise UsageError(
            f"{message[:1].lower()}{message[1:].rstrip('.')}.",
            f"`{problem.ctx.command_path} --help` shows what to type." if problem.ctx else "",
        ) from None


def main() -> None:
    """Run the command line."""
    streams.install()
    try:
        sys.exit(_exit_code())
    finally:
        streams.finish()


def _exit_code() -> int:
    """Run the command; an error that the user can correct is a sentence and an exit code."""
    try:
        code = _run()
        sys.stdout.flush()
    except typer.Abort as problem:  # at a question: Ctrl-C, or the end of the input
        interrupted = isinstance(problem.__context__, KeyboardInterrupt)
        sys.stderr.write("\n" if interrupted else "Aborted.\n")
        return 130 if interrupted else 1
    except streams.ReaderGoneError:  # `gpuops ... | head`: as if SIGPIPE had ended it
        return 141
    except GpuopsError as problem:
        output = import_module("gpuops.cli.output")
        output.comment(output.ui("findings").error(problem))
        return int(problem.exit_code)
    return code
