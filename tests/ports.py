"""Ports for jobs of tests."""

from __future__ import annotations

import random
import socket
from pathlib import Path


def free_ports(count):
    """Ports that no program uses, below those that the kernel gives to outgoing connections.

    A port of those could be given away between this look and the job's start.
    """
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    found = []
    while len(found) < count:
        port = random.randrange(first // 2, first)  # noqa: S311 - no secret
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        found.append(port)
    return found
