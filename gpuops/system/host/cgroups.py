"""The limits that a container or a job scheduler sets for this process (cgroup v2)."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")


def memory_limit_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The lowest limit; ``None`` if there is none, or none can be read."""
    limits = [_number(group / "memory.max") for group in _groups(root, own)]
    return min((limit for limit in limits if limit is not None), default=None)


def memory_left_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The memory that is left; reclaimable caches count as free."""
    left: list[int] = []
    for group in _groups(root, own):
        limit, used = _number(group / "memory.max"), _number(group / "memory.current")
        reclaimable = _counter(group / "memory.stat", "inactive_file") or 0
        if limit is not None and used is not None:
            left.append(max(0, limit - used + reclaimable))
    return min(left, default=None)


def cores(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The cores of the lowest quota, at least one; ``None`` without a quota."""
    shares: list[float] = []
    for group in _groups(root, own):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            shares.append(int(quota) / int(period))
    return max(1, int(min(shares))) if shares else None


def own(root: Path = ROOT, own: Path = OWN) -> Path | None:
    """The control group of this process and its children."""
    return next(_groups(root, own), None)


def oom_kills(group: Path) -> int | None:
    """How many processes of a group and those below it the kernel killed when memory ran out.

    ``None`` if there is no counter; there is none for the host as a whole either.
    """
    return _counter(group / "memory.events", "oom_kill")


def _groups(root: Path, own: Path) -> Iterator[Path]:
    """Our own group and those above it, each with its limits."""
    for line in _text(own).splitlines():
        if line.startswith("0::"):
            group = root / line.removeprefix("0::").strip("/")
            yield group
            yield from (parent for parent in group.parents if parent.is_relative_to(root))


def _counter(path: Path, name: str) -> int | None:
    pairs = (line.partition(" ") for line in _text(path).splitlines())
    return next((int(value) for key, _, value in pairs if key == name and value.isdecimal()), None)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
