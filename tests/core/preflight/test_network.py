"""Which interface NCCL and gloo will take."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from machines import CPU, CUDA, DOCKER0, ETH0, LO, needs, snapshot

from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.machine.snapshot import Interface
from gpuops.core.preflight.network import check_network, nccl_interfaces

IB0 = Interface(name="ib0", addresses=("10.1.0.1",))
ETH1 = Interface(name="eth1", addresses=("10.0.0.1",))
ETH10 = Interface(name="eth10", addresses=("10.0.0.10",))
VIRBR0 = Interface(name="virbr0", addresses=("192.168.122.1",))
V6 = Interface(name="six0", addresses=("2001:db8::1",))
ALL = (LO, ETH0, ETH1, ETH10, DOCKER0, VIRBR0, V6)


@pytest.mark.parametrize(
    ("ifname", "names"),
    [
        ("eth", "eth0 eth1 eth10"),
        ("eth1", "eth1 eth10"),
        ("=eth1", "eth1"),
        ("=eth0,eth1", "eth0 eth1"),
        ("eth0,docker", "eth0 docker0"),
        ("^docker0,lo", "eth0 eth1 eth10 virbr0 six0"),
        ("^=eth1,lo", "eth0 eth10 docker0 virbr0 six0"),
        ("^docker0, lo", "lo eth0 eth1 eth10 virbr0 six0"),  # a blank is part of the name
        ("eth0:1234,,", "eth0"),
        ("wlan", ""),
        ("=et", ""),
        ("^eth,lo,docker,virbr,six", ""),
        ("^,", ""),  # all but everything
        (",,", "lo eth0 eth1 eth10 docker0 virbr0 six0"),
        ("e", "eth0 eth1 eth10 six0"),  # one letter counts as none
        ("^", "eth0 eth1 eth10 six0"),
    ],
)
def test_a_list_of_names_is_read_as_nccl_reads_it(ifname, names):
    """Prefixes, exact names after =, those to leave out after ^."""
    assert names.split() == [one.name for one in nccl_interfaces(ALL, ifname)]


@pytest.mark.parametrize(
    ("there", "names"),
    [
        ((LO, DOCKER0, VIRBR0, ETH0, ETH1), "eth0 eth1"),
        ((LO, ETH0, IB0), "ib0"),
        ((LO, DOCKER0, VIRBR0), "docker0"),
        ((VIRBR0, LO), "lo"),
        ((VIRBR0,), "virbr0"),
        ((), ""),
    ],
)
def test_untold_nccl_prefers_real_networks(there, names):
    """InfiniBand first; containers' bridges, the loopback, virtual machines' last, in turn."""
    assert names.split() == [one.name for one in nccl_interfaces(there)]


@pytest.mark.parametrize(
    ("family", "names"), [("AF_INET", "eth0"), ("AF_INET6", "eth0 six0"), ("both", "eth0 six0")]
)
def test_a_family_can_be_forced(family, names):
    """Interfaces without such an address are none; a wrong word forces nothing."""
    assert names.split() == [one.name for one in nccl_interfaces((LO, ETH0, V6), "", family)]


def test_the_loopback_of_ipv6_is_never_taken():
    """NCCL passes it over."""
    assert [] == nccl_interfaces((Interface(name="lo", addresses=("::1",)),))


def judged(*interfaces, profile=CUDA, workers=2, **environment):
    """What is said of a machine with these interfaces."""
    machine = snapshot(interfaces=interfaces, environment=environment)
    return check_network(machine, profile, needs(workers=workers))


def test_the_interface_is_named_with_its_address():
    """All of them, where several are used."""
    assert "NCCL uses eth0 (192.0.2.7)" == judged(LO, ETH0).summary
    assert "eth0 (192.0.2.7) and eth1 (10.0.0.1)" in judged(LO, ETH0, ETH1).summary
    assert ("eth0, eth1", "any") == (judged(ETH0, ETH1).measured, judged(ETH0, ETH1).wanted)


def test_a_last_resort_is_said_to_be_one():
    """On one machine it will do; who asked for it knows."""
    assert judged(LO).summary.endswith("lo (127.0.0.1), as there is no other")
    assert "for want" not in judged(LO, ETH0, NCCL_SOCKET_IFNAME="lo").summary


SEVEN = Profile(name="7x", gpus=Gpus(count=7), environment={"NCCL_SOCKET_IFNAME": "^docker0,lo"})


def test_a_box_that_has_only_what_is_left_out_is_an_error():
    """A profile made for another machine; it says where the value stands, and one that works."""
    found = judged(LO, DOCKER0, profile=SEVEN)

    assert "error" == found.severity
    assert "NCCL_SOCKET_IFNAME=^docker0,lo (of profile 7x)" in found.summary
    assert "lo, docker0" in found.summary
    assert "`NCCL_SOCKET_IFNAME: docker0`" in found.hint
    assert ("none", "^docker0,lo") == (found.measured, found.wanted)


def test_the_profiles_word_counts_more_than_the_shells():
    """As it will for the ranks."""
    assert "error" == judged(LO, profile=SEVEN, NCCL_SOCKET_IFNAME="lo").severity
    assert "ok" == judged(LO, ETH0, profile=SEVEN, NCCL_SOCKET_IFNAME="wlan0").severity


def test_a_wrong_value_of_the_shell_can_be_unset():
    """The command to do so."""
    found = judged(LO, ETH0, NCCL_SOCKET_IFNAME="wlan0")

    assert "(of the environment)" in found.summary
    assert "`unset NCCL_SOCKET_IFNAME`, or `export NCCL_SOCKET_IFNAME=eth0`." == found.hint


def test_one_rank_may_do_without():
    """It is warned of: NCCL may never be asked."""
    assert "warning" == judged(LO, profile=SEVEN, workers=1).severity


def test_a_machine_without_any_interface_is_an_error():
    """Not even the loopback is up."""
    found = judged()

    assert "error" == found.severity
    assert "NCCL finds no interface (up and with an address: none)" == found.summary
    assert "ip link set lo up" in found.hint


@pytest.mark.parametrize("profile", [CPU, CUDA])
@pytest.mark.parametrize("workers", [1, 2])
def test_without_a_loopback_the_ranks_cannot_meet(profile, workers):
    """Whatever interface NCCL and gloo would take: torchrun's store is there."""
    machine = snapshot(gaps={"loopback": "Network is unreachable"}, interfaces=(ETH0,))
    found = check_network(machine, profile, needs(workers=workers))

    assert ("network", "error") == (found.check, found.severity)
    assert found.summary.startswith("127.0.0.1, where the ranks meet, cannot be reached: Network")
    assert "`sudo ip link set lo up`" in found.hint


def test_interfaces_that_cannot_be_read_say_nothing():
    """There is nothing that a person could do."""
    assert check_network(snapshot(interfaces=None), CUDA, needs()) is None


@pytest.mark.parametrize(
    ("ifname", "severity"),
    [
        ("", None),
        ("e", None),
        ("eth0", "ok"),
        ("eth0,lo", "ok"),
        ("eth0,", "ok"),
        ("eth", "error"),
        ("^lo", "error"),
        ("eth0,wlan0", "error"),
    ],
)
def test_gloo_takes_whole_names_only(ifname, severity):
    """Neither prefixes nor signs; without a name it needs no advice."""
    found = judged(LO, ETH0, profile=CPU, GLOO_SOCKET_IFNAME=ifname)

    assert severity == (found.severity if found else None)
    if severity == "error":
        assert "there are: eth0, lo" in found.summary
        assert ("eth0, lo", ifname) == (found.measured, found.wanted)
        assert "export GLOO_SOCKET_IFNAME=eth0" in found.hint


names = st.sampled_from(["lo", "eth0", "eth1", "docker0", "virbr0", "ib0", "enp3s0f0"])
rules = st.from_regex(r"=?[a-z01:, ]{2,15}", fullmatch=True)


@settings(max_examples=100)
@given(st.lists(names, unique=True), rules)
def test_leaving_out_is_the_opposite_of_taking(there, rule):
    """Whatever the list: each interface is on one side, and on one only."""
    interfaces = [Interface(name=name, addresses=("10.0.0.1",)) for name in there]

    taken = nccl_interfaces(interfaces, rule)
    left = nccl_interfaces(interfaces, f"^{rule}")

    assert sorted(there) == sorted(one.name for one in [*taken, *left])
