"""Whom the kernel ended for want of memory while an attempt ran."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKill:
    """A process that the kernel ended for want of memory, as its log tells it."""

    pid: int
    at_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OomKills:
    """What is known of them: ``told`` by the kernel's log, ``counted`` in the job's control group.

    ``all_told``: the log reaches back to the attempt's start, and may be read. ``counted`` is
    ``None`` where nobody counts.
    """

    told: tuple[OomKill, ...] = ()
    all_told: bool = False
    counted: int | None = None

    def hit(self, pid: int | None) -> bool | None:
        """Whether a process that got SIGKILL got it from the kernel; ``None``: cannot be told."""
        if self.words(pid):
            return True
        if self.all_told and pid is not None:
            return False
        return False if self.counted == 0 else None  # of several, nobody says whom it hit

    def words(self, pid: int | None) -> tuple[str, ...]:
        """What the kernel's log says of a process."""
        return tuple(f"kernel: {kill.text}" for kill in self.told if kill.pid == pid)

    @property
    def about(self) -> tuple[str, ...]:
        """What its control group says, where the log names nobody."""
        if self.all_told or self.told or not self.counted:
            return ()
        return (f"the kernel ended {self.counted} of its control group for want of memory",)
