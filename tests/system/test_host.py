"""One look at the machine, with real sockets, folders and interpreters."""

from __future__ import annotations

import contextlib
import socket
import sys

import pytest

from gpuops.core.node import Interpreter, Requirements
from gpuops.core.trainer import DataLayout
from gpuops.system import host

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
        assert not host.is_port_free(port)
        assert "in use" == host.why_port_unusable(port)

    assert host.is_port_free(port)


def test_looking_does_not_take_the_port():
    """A port found free can be listened on."""
    with listening("127.0.0.1") as port:
        pass
    assert host.is_port_free(port)

    with listening("127.0.0.1", port=port) as taken:
        assert port == taken


def test_a_closed_connection_does_not_hold_the_port():
    """A port in TIME_WAIT after yesterday's job is free: torchrun reuses addresses."""
    with listening("127.0.0.1") as port:
        client = socket.create_connection(("127.0.0.1", port))
        client.close()

    assert host.is_port_free(port)


def test_the_next_free_port_is_free_and_above():
    """The offer in a hint can be taken."""
    with listening("127.0.0.1") as port:
        free = host.next_free_port(port)

        assert free > port
        assert host.is_port_free(free)


def test_above_the_last_port_there_is_none():
    """No offer is better than port 65536."""
    assert host.next_free_port(65535) is None


def test_this_interpreter_has_a_version():
    """Python and torch, told without importing torch."""
    found = host.interpreter(sys.executable)

    assert ".".join(map(str, sys.version_info[:3])) == found.python
    assert found.torch


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho hello\n",
        "#!/bin/sh\necho '[]'\n",
        "#!/bin/sh\necho '{\"a\": 1}'\n",
        "#!/bin/sh\nprintf '\\377\\376'\n",
        "not a program",
    ],
)
def test_what_is_no_interpreter_is_none(tmp_path, text):
    """Whatever it answers, it is not Python."""
    path = tmp_path / "python"
    path.write_text(text)
    path.chmod(0o755)

    assert host.interpreter(str(path)).python is None


@pytest.mark.parametrize("path", ["/no/such/python", "/tmp", "", "a\0b"])  # noqa: S108
def test_an_interpreter_that_is_not_there_is_none(path):
    """Missing, a folder, no name, no possible name."""
    assert host.interpreter(path).python is None


@pytest.fixture(name="look")
def _look():
    """A look at this machine for a small job."""

    def look(output_dir, *, port=29999, **changes):
        needs = Requirements(
            workers=1,
            master_port=port,
            output_dir=str(output_dir),
            memory_per_worker_bytes=1,
            disk_bytes=1,
            **changes,
        )
        layout = DataLayout(setting="data", splits={"train": ["train"]}, sample_files=["x"])
        return host.snapshot(
            needs, interpreter=NO_PYTHON, layout=layout, devices=(), gaps={"gpus": "none"}
        )

    return look


def test_a_look_finds_memory_disk_and_cores(look, tmp_path):
    """Of a folder that is there, or will be made. What was a gap before is still one."""
    for folder in (tmp_path, tmp_path / "runs" / "new"):
        node = look(folder)

        assert 0 < node.memory_available_bytes <= node.memory_total_bytes
        assert 0 < node.disk_free_bytes
        assert 0 < node.cpu_cores
        assert node.output_writable
        assert "none" == node.gaps["gpus"]


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
    (tmp_path / "data" / "train" / "a" / "x").touch()

    assert {"train": 1} == look(tmp_path, data_root=str(tmp_path / "data")).data.samples
    missing = look(tmp_path, data_root=str(tmp_path / "none"))
    assert missing.data is None
    assert "there is no data set" in missing.gaps["data"]
