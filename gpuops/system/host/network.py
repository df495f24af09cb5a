"""The network interfaces of this host, and the settings of NCCL and gloo for them."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

from gpuops.core.machine.snapshot import Interface

INFINIBAND = Path("/sys/class/infiniband")
LOOPBACK_S = 1.0
NCCL_CONF = Path("/etc/nccl.conf")


def interfaces() -> tuple[Interface, ...] | None:
    """Those that are up and running with an address; ``None`` if they cannot be listed."""
    try:
        running = {name for name, state in psutil.net_if_stats().items() if state.isup}
        addresses = psutil.net_if_addrs()
    except (OSError, psutil.Error):
        return None
    ip = {socket.AF_INET, socket.AF_INET6}
    found = {
        name: tuple(entry.address.partition("%")[0] for entry in entries if entry.family in ip)
        for name, entries in addresses.items()
        if name in running
    }
    return tuple(Interface(name=name, addresses=those) for name, those in found.items() if those)


def infiniband(root: Path = INFINIBAND) -> tuple[str, ...]:
    """The InfiniBand adapters, including RoCE."""
    try:
        return tuple(sorted(entry.name for entry in root.iterdir()))
    except OSError:
        return ()


def why_no_loopback() -> str | None:
    """Why 127.0.0.1 cannot be reached; it may be down in a sandbox, or have only ``::1``."""
    try:
        with socket.socket() as server, socket.socket() as client:
            server.bind(("127.0.0.1", 0))
            server.listen()
            client.settimeout(LOOPBACK_S)
            client.connect(server.getsockname())
    except OSError as error:
        return error.strerror or str(error)
    return None


def settings() -> dict[str, str]:
    """The variables that NCCL and gloo read: the environment's, and NCCL's own files below it."""
    own = os.environ.get("NCCL_CONF_FILE")
    user = Path(own) if own else Path(os.path.expanduser("~/.nccl.conf"))  # noqa: PTH111 - no HOME
    found = {**_conf(NCCL_CONF), **_conf(user), **os.environ}
    return {name: found[name] for name in found if name.startswith(("NCCL_", "GLOO_"))}


def _conf(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return {}
    pairs = (line.partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}
