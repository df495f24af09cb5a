"""One look at the machine, with real sockets, folders and interpreters."""

from __future__ import annotations

import contextlib
import os
import resource
import socket
import time
from functools import partial

import pytest

from gpuops.core.finding import ok
from gpuops.core.launch.manifest import DataLayout
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.snapshot import Interpreter
from gpuops.core.preflight.requirements import Requirements
from gpuops.system.host import host
from gpuops.system.trainers import datasets

NO_PYTHON = Interpreter(path="/no/python", python=None, torch=None, cuda=None)


@contextlib.contextmanager
def listening(address, family=socket.AF_INET, port=0):
    """A server on a port of the system's choice."""
    with socket.socket(family) as server:
        try:
            server.bind((address, port))
        except OSError:
            pytest.skip(f"{address} cannot be listened on here")
        server.listen()
        yield server.getsockname()[1]


@pytest.mark.parametrize(
    ("address", "family"),
    [
        ("127.0.0.1", socket.AF_INET),
        ("0.0.0.0", socket.AF_INET),  # noqa: S104 - what somebody else may do
        ("::1", socket.AF_INET6),
        ("::", socket.AF_INET6),
    ],
)
def test_a_port_that_somebody_listens_on_is_in_use(address, family):
    """On whichever address: torchrun's store wants them all. Afterwards it is free again."""
    with listening(address, family) as port:
        assert "in use" == host.why_port_unusable(port)

    assert host.why_port_unusable(port) is None


def test_looking_does_not_take_the_port():
    """A port found free can be listened on."""
    with listening("127.0.0.1") as port:
        pass
    assert host.why_port_unusable(port) is None

    with listening("127.0.0.1", port=port) as taken:
        assert port == taken


def test_a_closed_connection_does_not_hold_the_port():
    """A port in TIME_WAIT after yesterday's job is free: torchrun reuses addresses."""
    with listening("127.0.0.1") as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.close()

    assert host.why_port_unusable(port) is None


def test_the_next_free_port_is_free_and_above():
    """The offer in a hint can be taken."""
    with listening("127.0.0.1") as port:
        free = host.next_free_port(port)

        assert free > port
        assert host.why_port_unusable(free) is None


def test_above_the_last_port_there_is_none():
    """No offer is better than port 65536."""
    assert host.next_free_port(65535) is None


@pytest.fixture(name="look")
def _look():
    """A look at this machine for a small job."""

    def look(output_dir, *, port=29999, own=(), **changes):
        needs = Requirements(
            workers=1,
            master_port=port,
            output_dir=str(output_dir),
            memory_per_worker_bytes=1,
            disk_bytes=1,
            **changes,
        )
        layout = DataLayout(splits={"train": ["train"]}, sample_files=["x"])
        return host.snapshot(
            needs,
            interpreter=NO_PYTHON,
            count=partial(datasets.count, layout=layout),
            inventory=GpuInventory(gaps={"gpus": "none"}),
            trainer_findings=own,
        )

    return look


def test_a_look_finds_memory_disk_and_cores(look, tmp_path):
    """Of a folder that is there, or will be made. What was read before is handed on."""
    for folder in (tmp_path, tmp_path / "runs" / "new"):
        node = look(folder)

        assert 0 < node.memory_available_bytes <= node.memory_total_bytes
        assert 0 < node.disk_free_bytes
        assert 0 < node.cpu_cores
        assert node.output_writable
        assert "none" == node.inventory.gaps["gpus"]
    own = (ok("cache", "matches"),)
    assert own == look(tmp_path, own=own).trainer_findings


def test_a_look_leaves_nothing_behind(look, tmp_path):
    """Neither folders nor probes."""
    look(tmp_path / "runs" / "new")

    assert [] == list(tmp_path.iterdir())


@pytest.mark.parametrize("path", ["file", "file/below", "file/below/it"])
def test_a_file_in_the_way_is_named(look, tmp_path, path):
    """The run folder cannot be made below a file."""
    (tmp_path / "file").touch()

    node = look(tmp_path / path)

    assert node.output_writable is False
    assert "file is a file" in node.gaps["output"]


@pytest.mark.parametrize("name", ["/proc/1/runs", "/dev/null/runs"])
def test_a_folder_that_cannot_be_made_is_a_gap(look, tmp_path, name):
    """A place where nothing can be written is found before a launch."""
    node = look(tmp_path / name)

    assert node.output_writable is False
    assert node.gaps["output"]


def test_a_port_in_use_comes_with_another(look, tmp_path):
    """The look says which one is free."""
    with listening("127.0.0.1") as port:
        node = look(tmp_path, port=port)

    assert node.port_free is False
    assert "in use" == node.gaps["port"]
    assert node.next_free_port > port


def test_data_is_counted_or_a_gap(look, tmp_path):
    """What is wrong with the data is told by preflight, not by a traceback."""
    (tmp_path / "data" / "train" / "a").mkdir(parents=True)
    (tmp_path / "data" / "train" / "a" / "x").write_text("a sample")

    assert {"train": 1} == look(tmp_path, data_root=str(tmp_path / "data")).data.samples
    missing = look(tmp_path, data_root=str(tmp_path / "none"))
    assert missing.data is None
    assert "there is no data set" in missing.gaps["data"]


def test_a_local_disk_agrees_with_the_clock(look, tmp_path):
    """And the look says when it was."""
    before = time.time()
    node = look(tmp_path)

    assert abs(node.clock_skew_s) < 1.0
    assert before <= node.now_s <= time.time()
    assert node.clock_synchronised in {True, False, None}


def test_where_nothing_can_be_written_the_clock_is_unknown(look):
    """None is not agreement."""
    assert look("/proc/1/runs").clock_skew_s is None


def test_the_limits_are_those_of_our_processes(look, tmp_path):
    """As `ulimit` tells them; no limit is no number."""
    limits = {
        resource.RLIMIT_NOFILE: "open_files",
        resource.RLIMIT_MEMLOCK: "memlock_bytes",
    }
    node = look(tmp_path)

    for which, name in limits.items():
        soft, _ = resource.getrlimit(which)
        wanted = float("inf") if soft == resource.RLIM_INFINITY else soft
        assert wanted == getattr(node, name)


def test_a_limit_lowered_is_seen(look, tmp_path):
    """The soft one: it is what a process meets."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 500), hard))
    try:
        assert look(tmp_path).open_files == min(soft, 500)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_the_cores_are_those_that_we_may_use(look, tmp_path):
    """Not all that the machine has."""
    allowed = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(allowed)})
    try:
        assert 1 == look(tmp_path).cpu_cores
    finally:
        os.sched_setaffinity(0, allowed)


def test_a_look_knows_the_network(look, tmp_path, monkeypatch):
    """The interfaces, and the variables that choose among them."""
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "lo")
    node = look(tmp_path)

    assert "lo" in {interface.name for interface in node.interfaces}
    assert "lo" == node.environment["NCCL_SOCKET_IFNAME"]
