"""The processes that the kernel killed during an attempt because memory ran out."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKill:
    """A process that the kernel killed because memory ran out, from the kernel's log."""

    pid: int
    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKills:
    """The known kills: ``logged`` by the kernel, ``counted`` in the job's control group.

    ``log_complete``: the log is readable and reaches back to the attempt's start. ``counted`` is
    ``None`` if there is no counter.
    """

    logged: tuple[OomKill, ...] = ()
    log_complete: bool = False
    counted: int | None = None

    def killed(self, pid: int | None) -> bool | None:
        """Whether the kernel sent the SIGKILL that ended a process; ``None``: not known."""
        if self.log_lines(pid):
            return True
        if self.log_complete and pid is not None:
            return False
        return False if self.counted == 0 else None  # the counter does not name the process

    def log_lines(self, pid: int | None) -> tuple[str, ...]:
        """The lines of the kernel's log about a process."""
        return tuple(f"kernel: {kill.text}" for kill in self.logged if kill.pid == pid)

    @property
    def group_lines(self) -> tuple[str, ...]:
        """The count of the job's control group, if the log names no process."""
        if self.log_complete or self.logged or not self.counted:
            return ()
        return (f"out of memory: the kernel killed {self.counted} of its control group",)
