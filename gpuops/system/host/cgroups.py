"""The limits that a container or a job scheduler sets for this process (cgroup v1 and v2).

A limit of a group holds for all groups below it: of nested limits the smallest counts.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from gpuops.system import files

ROOT = Path("/sys/fs/cgroup")
OWN = Path("/proc/self/cgroup")
NO_LIMIT = 1 << 62  # v1 has no word for "no limit": it shows the largest number of pages


def memory_limit_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The lowest limit; ``None`` if there is none, or none can be read."""
    limits = map(_memory_limit, _groups("memory", root, own))
    return min((limit for limit in limits if limit is not None), default=None)


def memory_left_bytes(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The memory that is left; reclaimable caches count as free."""
    left: list[int] = []
    for group in _groups("memory", root, own):
        limit = _memory_limit(group)
        used = _first(group, "memory.current", "memory.usage_in_bytes")
        stat = group / "memory.stat"  # in v1 ``inactive_file`` leaves out the groups below
        counters = (_counter(stat, "total_inactive_file"), _counter(stat, "inactive_file"))
        reclaimable = next((count for count in counters if count is not None), 0)
        if limit is not None and used is not None:
            left.append(max(0, limit - used + reclaimable))
    return min(left, default=None)


def cores(root: Path = ROOT, own: Path = OWN) -> int | None:
    """The cores of the lowest quota or the smallest set, at least one; ``None`` without any."""
    shares: list[float] = []
    for group in _groups("cpu", root, own):
        quota, _, period = _text(group / "cpu.max").partition(" ")
        quota = quota or _text(group / "cpu.cfs_quota_us")
        period = period or _text(group / "cpu.cfs_period_us")
        if quota.isdecimal() and period.isdecimal() and int(period):
            shares.append(int(quota) / int(period))
    for group in _groups("cpuset", root, own):
        names = ("cpuset.cpus.effective", "cpuset.effective_cpus", "cpuset.cpus")
        counts = (_count(_text(group / name)) for name in names)
        shares += [count for count in counts if count][:1]
    return max(1, int(min(shares))) if shares else None


def processes(root: Path = ROOT, own: Path = OWN) -> tuple[int, int] | None:
    """How many processes and threads a group may have, and has: of the group with the fewest left.

    ``None`` without a limit.
    """
    found: list[tuple[int, int]] = []
    for group in _groups("pids", root, own):
        limit, used = _number(group / "pids.max"), _number(group / "pids.current")
        if limit is not None and used is not None:
            found.append((limit, used))
    return min(found, key=lambda group: group[0] - group[1], default=None)


def own(root: Path = ROOT, own: Path = OWN) -> Path | None:
    """The control group that counts the memory of this process and its children."""
    return next(filter(files.exists, _groups("memory", root, own)), None)


def oom_kills(group: Path) -> int | None:
    """How many processes of a group the kernel killed when memory ran out; with v2 also below it.

    ``None`` if there is no counter; there is none for the host as a whole either.
    """
    counts = (
        _counter(group / name, "oom_kill") for name in ("memory.events", "memory.oom_control")
    )
    return next((count for count in counts if count is not None), None)


def pids_group(root: Path = ROOT, own: Path = OWN) -> Path | None:
    """The control group that counts the processes and threads of this process and its children."""
    return next(filter(files.exists, _groups("pids", root, own)), None)


def refused_forks(group: Path) -> int | None:
    """How often a limit of a group, or of one above it, refused a process or thread.

    Older kernels count it in the group that wanted one, newer ones in that with the limit. ``None``
    if there is no counter.
    """
    counts = [_counter(one / "pids.events", "max") for one in (group, *group.parents)]
    found = [count for count in counts if count is not None]
    return sum(found) if found else None


def _groups(controller: str, root: Path, own: Path) -> Iterator[Path]:
    """Our own group and those above it that may limit what a controller counts.

    A line of ``own`` is ``number:controllers:path``. With v2 no controllers are named, and there is
    one tree for all; with v1 each has a tree of its own, and shares it at most with some others.
    """
    for line in _text(own).splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        if not names:
            tree = root / "unified" if files.exists(root / "unified") else root
        elif controller in names.split(","):
            tree = root / (controller if files.exists(root / controller) else names)
        else:
            continue
        group = tree / path.strip("/")
        yield group
        yield from (parent for parent in group.parents if parent.is_relative_to(tree))


def _memory_limit(group: Path) -> int | None:
    """Above ``memory.high`` a job is slowed down until it hardly runs, so it is a limit too."""
    names = ("memory.max", "memory.high", "memory.limit_in_bytes")
    # Groups above may be out of sight in a container; v1 tells of their limits all the same.
    above = _counter(group / "memory.stat", "hierarchical_memory_limit")
    limits = [above, *(_number(group / name) for name in names)]
    return min((one for one in limits if one is not None and one < NO_LIMIT), default=None)


def _count(cpus: str) -> int:
    """How many CPUs a list like ``0-3,8`` names; zero if it is not one."""
    count = 0
    for part in cpus.split(","):
        first, dash, last = part.partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            return 0
        count += int(last or first) - int(first) + 1
    return max(0, count)


def _counter(path: Path, name: str) -> int | None:
    pairs = (line.partition(" ") for line in _text(path).splitlines())
    return next((int(value) for key, _, value in pairs if key == name and value.isdecimal()), None)


def _first(group: Path, *names: str) -> int | None:
    numbers = (_number(group / name) for name in names)
    return next((number for number in numbers if number is not None), None)


def _number(path: Path) -> int | None:
    text = _text(path)
    return int(text) if text.isdecimal() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
