"""Asks NCCL's RAS subsystem about a job; it listens for clients since NCCL 2.24.

The protocol is lines of text over TCP, as in NCCL's own client ``ncclras``.
"""

from __future__ import annotations

import contextlib
import socket
import time

import psutil

from gpuops.core.launch.torchrun import RAS_VARIABLE
from gpuops.system.processes.identity import Identity

ASK_S, GREET_S = 6.0, 1.0
COLLECT_S = 3  # what NCCL may wait for ranks that do not answer it
MOST_BYTES = 1 << 20
GREETING = b"CLIENT PROTOCOL 2\nTIMEOUT %d\n" % COLLECT_S
GREETED = b"SERVER PROTOCOL "


def address(rank: Identity) -> tuple[str, int] | None:
    """Where a rank's NCCL listens, by its environment; ``None`` if that is not readable."""
    try:
        value = psutil.Process(rank.pid).environ().get(RAS_VARIABLE, "") if rank.alive else ""
    except psutil.Error:
        return None
    host, _, port = value.rpartition(":")
    return (host.strip("[]"), int(port)) if host and port.isdecimal() else None


def ask(where: tuple[str, int], within_s: float = ASK_S) -> str | None:
    """NCCL's report, as far as it came in time; ``None`` if no rank answers.

    All ranks listen at one address, and the kernel picks one: one that does not greet may be
    stopped, and another is tried.
    """
    until_s = time.monotonic() + within_s
    while time.monotonic() < until_s:
        try:
            with socket.create_connection(where, GREET_S) as server:
                server.sendall(GREETING)
                if not _greeted(server):
                    return None
                server.sendall(b"VERBOSE STATUS\n")
                return _read(server, until_s)
        except TimeoutError:
            continue
        except OSError:  # nothing listens there
            return None
    return None


def _greeted(server: socket.socket) -> bool:
    """Whether both lines got NCCL's answers."""
    answer = b""
    while answer.count(b"\n") < 2 and len(answer) < 100 and (piece := server.recv(100)):
        answer += piece
    return answer.startswith(GREETED) and b"\nOK\n" in answer


def _read(server: socket.socket, until_s: float) -> str:
    report = b""
    with contextlib.suppress(OSError):  # the report so far is kept
        while len(report) < MOST_BYTES and (left_s := until_s - time.monotonic()) > 0:
            server.settimeout(left_s)
            if not (piece := server.recv(65536)):
                break
            report += piece
    return report.decode("utf-8", "replace")
