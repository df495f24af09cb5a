"""Whether a GPU is in use, and by whom, in words."""

from __future__ import annotations

from collections.abc import Mapping

from gpuops.core.machine.device import Device, GpuProcess, Whose
from gpuops.text import GIB, MIB

# A GPU is idle below both: what a driver, a display or a container's bookkeeping may hold
# without any computation, and what the reading of an idle GPU may show.
IDLE_BYTES, IDLE_PCT = 1000 * MIB, 5
DESKTOP_PCT = 50  # what a desktop on it explains
# A display server holds a few MiB of every GPU; of the one that shows its picture, more.
DISPLAY_BYTES = 32 * MIB
WHOSE: Mapping[Whose, str] = {
    "hidden": "not visible to this user",
    "elsewhere": "of another container, or of the host",
    "gone": "has ended, but is still listed",
}


def unseen_use(gpu: Device) -> str | None:
    """How it is used by a process that is not listed, to continue "GPU 3 ..."; else ``None``."""
    return unseen_work(gpu) or unseen_memory(gpu)


def unseen_work(gpu: Device) -> str | None:
    """Its work, if no process that is listed explains it."""
    use = gpu.utilization_pct
    explained = DESKTOP_PCT if showing(gpu) else IDLE_PCT
    if use is None or use < explained or gpu.computing:
        return None
    return f"is in use by a process that cannot be seen ({use} % utilisation)"


def unseen_memory(gpu: Device) -> str | None:
    """Its memory in use, if no process that is listed holds it, and why none is."""
    size = gpu.unowned_bytes
    if size is None or size < IDLE_BYTES:
        return None
    why = gpu.processes_gap or "no process that holds it is visible"
    return f"has {size / GIB:.1f} GiB in use, but {why}"


def showing(gpu: Device) -> tuple[GpuProcess, ...]:
    """The processes that show a picture on it."""
    return tuple(
        process
        for process in gpu.processes or ()
        if process.kind == "graphics"
        and (process.memory_bytes is None or process.memory_bytes >= DISPLAY_BYTES)
    )


def describe_process(process: GpuProcess) -> str:
    """A process, as far as it is known: ``mei (python train.py, pid 4711, 3.0 GiB)``."""
    size = None if process.memory_bytes is None else f"{process.memory_bytes / GIB:.1f} GiB"
    if process.whose == "elsewhere":
        return f"{describe_foreign(process.pid)}{f' ({size})' if size else ''}"
    command = process.command or "unknown command"
    facts = (command, f"pid {process.pid}", size, WHOSE.get(process.whose))
    return f"{process.user or 'an unknown user'} ({', '.join(filter(None, facts))})"


def describe_foreign(pid: int) -> str:
    """A process that cannot be seen from here, by the pid that it has on the host, if given."""
    return f"{f'pid {pid} of the host:' if pid else 'a process'} {WHOSE['elsewhere']}"
