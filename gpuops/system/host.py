"""The machine around the GPUs: memory, disk, ports, the interpreter that will train."""

from __future__ import annotations

import errno
import json
import os
import shutil
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path

import psutil

from gpuops.core.device import Device
from gpuops.core.node import DataCount, Interpreter, NodeSnapshot, Requirements
from gpuops.core.trainer import DataLayout
from gpuops.errors import GpuopsError
from gpuops.system import datasets, files

PROBE_TIMEOUT_S = 30.0

_PROBE = """
import importlib.util, json, platform, re
from pathlib import Path
found = importlib.util.find_spec("torch")
torch = cuda = None
if found and found.origin:
    text = (Path(found.origin).parent / "version.py").read_text()
    version = re.search(r"^__version__[^=]*= *['\\"]([^'\\"]+)", text, re.M)
    built = re.search(r"^cuda[^=]*= *['\\"]([^'\\"]+)", text, re.M)
    torch, cuda = version and version[1], built and built[1]
print(json.dumps({"python": platform.python_version(), "torch": torch, "cuda": cuda}))
"""


def interpreter(path: str) -> Interpreter:
    """Which Python, torch and CUDA an interpreter has, without importing torch there."""
    try:
        answer = subprocess.run(
            [path, "-c", _PROBE],
            capture_output=True,
            check=True,
            timeout=PROBE_TIMEOUT_S,
        )
        return Interpreter(path=path, **json.loads(answer.stdout))
    except (OSError, subprocess.SubprocessError, ValueError, TypeError):
        return Interpreter(path=path, python=None, torch=None, cuda=None)


def snapshot(
    needs: Requirements,
    *,
    interpreter: Interpreter,
    layout: DataLayout | None,
    devices: tuple[Device, ...],
    gaps: Mapping[str, str],
) -> NodeSnapshot:
    """One look at the machine, as far as the job needs it."""
    unread = dict(gaps)
    memory = psutil.virtual_memory()
    port_problem = why_port_unusable(needs.master_port)
    if port_problem:
        unread["port"] = port_problem
    output_gap = _why_unwritable(Path(needs.output_dir))
    if output_gap:
        unread["output"] = output_gap
    data: DataCount | None = None
    if needs.data_root is not None and layout is not None:
        try:
            data = datasets.count(Path(needs.data_root), layout)
        except GpuopsError as error:
            unread["data"] = error.message.rstrip(".")
    return NodeSnapshot(
        hostname=socket.gethostname(),
        cpu_cores=len(os.sched_getaffinity(0)),
        memory_total_bytes=memory.total,
        memory_available_bytes=memory.available,
        shm_free_bytes=_disk_free(Path("/dev/shm")),  # noqa: S108 - looked at, not written
        disk_free_bytes=_disk_free(_existing(Path(needs.output_dir))),
        output_writable=output_gap is None,
        port_free=port_problem is None,
        next_free_port=next_free_port(needs.master_port) if port_problem else None,
        interpreter=interpreter,
        devices=devices,
        data=data,
        gaps=unread,
    )


def why_port_unusable(port: int) -> str | None:
    """Why no server could listen on the port of every address, as torchrun's store does."""
    for family in (socket.AF_INET6, socket.AF_INET):
        try:
            with socket.socket(family) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(("", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return "in use"
            if error.errno == errno.EACCES:
                return "not allowed for this user"
            continue  # the family is switched off here
    return None


def is_port_free(port: int) -> bool:
    """Whether a server could listen on the port."""
    return why_port_unusable(port) is None


def next_free_port(port: int) -> int | None:
    """The first free port above one."""
    return next((p for p in range(port + 1, min(port + 1000, 65536)) if is_port_free(p)), None)


def _existing(path: Path) -> Path:
    path = path.absolute()
    while not files.exists(path):
        path = path.parent
    return path


def _disk_free(path: Path) -> int | None:
    try:
        return shutil.disk_usage(path).free
    except OSError:
        return None


def _why_unwritable(path: Path) -> str | None:
    place = _existing(path)
    if not place.is_dir():
        return f"{place} is a file"
    probe = place / f".gpuops-probe-{os.getpid()}"
    try:  # os.access lies on network file systems and to root
        probe.touch(exist_ok=False)
        probe.unlink()
    except OSError as error:
        return error.strerror or str(error)
    return None
