"""The network as this machine has it."""

from __future__ import annotations

import socket

import pytest

from gpuops.system.host import network


def test_the_loopback_is_there():
    """Every machine that can run a job has it, with its address."""
    found = {interface.name: interface.addresses for interface in network.interfaces()}

    assert "127.0.0.1" in found["lo"]


def test_the_interfaces_are_those_of_the_system():
    """Only those that run and have an address; addresses without a zone."""
    known = {name for _, name in socket.if_nameindex()}

    for interface in network.interfaces():
        assert interface.name.partition(":")[0] in known
        assert interface.addresses
        assert not any("%" in address for address in interface.addresses)


def test_infiniband_is_found_by_its_gpus(tmp_path):
    """In order; none where the folder is not there."""
    assert () == network.infiniband(tmp_path / "none")
    for name in ("mlx5_1", "mlx5_0"):
        (tmp_path / name).mkdir()

    assert ("mlx5_0", "mlx5_1") == network.infiniband(tmp_path)


@pytest.fixture(name="home")
def _home(tmp_path, monkeypatch):
    """A home without settings for NCCL, on a machine that has none either."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("NCCL_CONF_FILE", raising=False)
    monkeypatch.delenv("NCCL_SOCKET_IFNAME", raising=False)
    monkeypatch.setattr(network, "NCCL_CONF", tmp_path / "etc" / "nccl.conf")
    return tmp_path


def test_only_what_concerns_the_network_is_taken(home, monkeypatch):
    """The rest of the environment may hold secrets."""
    assert home.is_dir()
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0")
    monkeypatch.setenv("SOME_TOKEN", "secret")

    assert "eth0" == network.settings()["GLOO_SOCKET_IFNAME"]
    assert "SOME_TOKEN" not in network.settings()


def test_nccls_files_count_less_than_the_environment(home, monkeypatch):
    """The machine's, then the user's, then the shell's word."""
    (home / "etc").mkdir()
    (home / "etc" / "nccl.conf").write_text(
        "NCCL_DEBUG=INFO\nNCCL_SOCKET_IFNAME=eth0\n# NCCL_X=1\nno setting\n"
    )
    assert {
        "NCCL_DEBUG": "INFO",
        "NCCL_SOCKET_IFNAME": "eth0",
    }.items() <= network.settings().items()
    assert "NCCL_X" not in str(network.settings())

    (home / ".nccl.conf").write_text("NCCL_SOCKET_IFNAME==eth1\n")
    assert "=eth1" == network.settings()["NCCL_SOCKET_IFNAME"]

    (home / "own.conf").write_text("NCCL_SOCKET_IFNAME=eth2\n")
    monkeypatch.setenv("NCCL_CONF_FILE", str(home / "own.conf"))
    assert "eth2" == network.settings()["NCCL_SOCKET_IFNAME"]

    monkeypatch.setenv("NCCL_SOCKET_IFNAME", "lo")
    assert "lo" == network.settings()["NCCL_SOCKET_IFNAME"]
