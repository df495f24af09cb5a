"""Errors that a user can cause and fix: one sentence, a hint, an exit code, no traceback."""

from __future__ import annotations

import faulthandler
import os
import signal
import sys
from typing import TYPE_CHECKING, NoReturn

from trainers.engine import terminal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import ValidationError


class TrainerError(Exception):
    """An error that the user can fix; every rank that raises it prints it.

    Message and hint are written without capital letter and full stop, so that they can stand in
    another sentence; ``run_main`` prints them as sentences.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


COMMANDS = ("python", "pip", "gpuops")  # that a hint may begin with

# What reading raises if data of unknown origin is not what was expected.
MALFORMED = (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError)


class ConfigError(TrainerError, ValueError):
    """A setting is unknown or has a value it cannot have; all ranks see the same one."""

    exit_code = 2


def format_invalid(error: ValidationError) -> str:
    """Say which part of data of unknown origin is not what it must be, and why."""
    first = error.errors(include_url=False)[0]
    part, why = ".".join(map(str, first["loc"])), first["msg"].removeprefix("Value error, ")
    return f"{part}: {why}" if part else why


def run_main(main: Callable[[Sequence[str]], int | None]) -> NoReturn:
    """Run ``main(argv)`` as a program and exit: its code, or an error's sentence and code.

    Unknown exceptions keep their traceback, for they are defects. A crash of native code, or
    SIGUSR2 at any time, writes the stacks of all threads to stderr.
    """
    terminal.install()
    stderr = 2  # the descriptor that a launcher redirects, whatever sys.stderr is
    faulthandler.enable(file=stderr)
    faulthandler.register(signal.SIGUSR2, file=stderr, all_threads=True)
    try:
        code = main(sys.argv[1:])
    except TrainerError as error:
        _show(error)
        code = error.exit_code
    except KeyboardInterrupt:
        code = 130
    _exit_process(code or 0)


def _exit_process(code: int) -> NoReturn:
    """Exit; as one of several ranks without taking the interpreter down in order.

    Gloo's threads may still hold tensors of the last collective, and end the process with
    SIGABRT when they let go of them in an interpreter that is going (pytorch#179291, #190489).
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


def _show(error: TrainerError) -> None:
    # On all ranks, even if all print the same: a launcher shows the one that ended first.
    rank = os.environ.get("RANK", "0")
    who = "error" if rank == "0" else f"error (rank {rank})"
    print(f"{who}: {_with_stop(error.message)}", file=sys.stderr)
    if error.hint:
        first = error.hint.split(maxsplit=1)[0]  # not a flag, path or command: as it is typed
        word = first.isalpha() and first not in COMMANDS
        hint = error.hint[0].upper() + error.hint[1:] if word else error.hint
        print(f"hint: {_with_stop(hint)}", file=sys.stderr)


def _with_stop(sentence: str) -> str:
    """The sentence with its full stop; a list below a sentence has none."""
    return sentence if "\n" in sentence or sentence.endswith((".", "?", "!")) else f"{sentence}."
