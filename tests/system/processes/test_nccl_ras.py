"""Asking NCCL, played by a thread on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading

import pytest

from gpuops import reaper
from gpuops.system.processes import nccl_ras
from gpuops.system.processes.identity import Identity

REPORT = "NCCL version 2.27.7\n\nCommunicators... (0.00s)\n"


class Server:
    """Listens as a rank's NCCL does; answers each client in turn as it is told to."""

    def __init__(self, *ways):
        self.said, self.ways = [], list(ways)
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.where = self.socket.getsockname()
        self.over = threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        for way in self.ways:
            client, _ = self.socket.accept()
            with client:
                getattr(self, way)(client, client.makefile())

    def answers(self, client, lines):
        for line in lines:
            self.said.append(line.strip())
            if line.startswith("CLIENT PROTOCOL"):
                client.sendall(b"SERVER PROTOCOL 2\n")
            elif line.startswith("TIMEOUT"):
                client.sendall(b"OK\n")
            else:
                half = len(REPORT) // 2
                client.sendall(REPORT[:half].encode())
                client.sendall(REPORT[half:].encode())
                return

    def is_stopped(self, _client, _lines):
        self.over.wait(nccl_ras.GREET_S * 1.5)

    def breaks_off(self, client, lines):
        for line in lines:
            if line.startswith("VERBOSE"):
                client.sendall(REPORT[:20].encode())
                self.over.wait(10)
                return
            client.sendall(b"OK\n" if line.startswith("TIMEOUT") else b"SERVER PROTOCOL 2\n")

    def is_another(self, client, _lines):
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\nOK\n")


@pytest.fixture(name="serving")
def _serving():
    servers = []

    def serving(*ways):
        servers.append(Server(*ways))
        return servers[-1]

    yield serving
    for server in servers:
        server.over.set()
        server.socket.close()
        server.thread.join(5)


def test_nccl_is_asked_as_its_own_client_does(serving):
    """A greeting, how long it may take, and the verbose report to its end."""
    server = serving("answers")

    assert nccl_ras.ask(server.where) == REPORT
    assert server.said == ["CLIENT PROTOCOL 2", "TIMEOUT 3", "VERBOSE STATUS"]


def test_a_rank_that_does_not_greet_is_passed_over(serving):
    """All ranks listen at one address: the next client may get another rank."""
    server = serving("is_stopped", "answers")

    assert nccl_ras.ask(server.where) == REPORT


def test_what_has_come_in_time_is_taken(serving):
    """A report that does not end is cut off."""
    assert nccl_ras.ask(serving("breaks_off").where, 0.3) == REPORT[:20]


def test_another_programs_answer_is_none(serving):
    """The port may be anybody's."""
    assert nccl_ras.ask(serving("is_another").where) is None


def test_where_nobody_listens_there_is_no_answer(serving):
    """NCCL before 2.24, or before it has begun."""
    server = serving()
    server.socket.close()

    assert nccl_ras.ask(server.where) is None


@pytest.mark.parametrize(
    ("value", "where"),
    [
        ("127.0.0.1:30500", ("127.0.0.1", 30500)),
        ("[::1]:28028", ("::1", 28028)),
        ("localhost", None),
        (None, None),
    ],
)
def test_the_address_is_that_of_the_ranks_own_environment(value, where):
    """Whoever set it."""
    environment = {**os.environ, **({} if value is None else {nccl_ras.RAS_VARIABLE: value})}
    command = [sys.executable, "-c", "print(flush=True); input()"]
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        child.stdout.readline()
        rank = Identity(**reaper.identity(child.pid))

        assert nccl_ras.address(rank) == where
        child.communicate(b"\n")
    assert nccl_ras.address(rank) is None
