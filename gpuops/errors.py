"""The errors that a user can see, by who can fix them, and the exit codes of every command."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """What a command's exit status means. A job ended by signal n exits with 128 + n."""

    OK = 0
    FAILED = 1  # a check or the job failed
    USAGE = 2  # the command line, a profile or a setting is wrong
    MACHINE = 3  # the host could not be read
    GAVE_UP = 4  # the job failed, and starting it again makes no sense
    DEGRADED = 5  # of `monitor`: a GPU has a fault, or a job is suspect or unsupervised
    HUNG = 6  # of `monitor`: a job hangs


EXIT_CODES_HELP = (
    "Exit codes: 0 fine · 1 a check or the job failed · 2 usage · "
    "3 the host could not be read · 4 gave up restarting · "
    "5 degraded, 6 hung (monitor) · 128+n ended by signal n."
)


class GpuopsError(Exception):
    """An error that a user can fix: one sentence, and a hint what to do."""

    exit_code: int = ExitCode.FAILED

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(GpuopsError):
    """The command line, a profile or a setting is wrong: the user can correct it."""

    exit_code = ExitCode.USAGE


class MachineError(GpuopsError):
    """The host could not be read: its operator can fix it."""

    exit_code = ExitCode.MACHINE
