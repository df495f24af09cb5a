"""Which network interface the ranks will use, by the rules of NCCL and gloo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from gpuops.core.finding import Finding, error, ok
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.snapshot import HostSnapshot, Interface
from gpuops.core.preflight.requirements import Requirements

# What NCCL tries in turn by default: https://docs.nvidia.com/deeplearning/nccl, "env".
NCCL_PREFERS = ("ib", "^docker,lo,virbr", "docker", "lo", "virbr")
LAST_RESORTS = ("docker", "lo", "virbr")
FAMILIES = ("AF_INET", "AF_INET6")


def check_network(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Even ranks of one host connect over a network interface, and meet at the loopback."""
    if "loopback" in snapshot.gaps:
        why = snapshot.gaps["loopback"]
        summary = f"127.0.0.1, where the ranks meet, cannot be reached: {why}"
        address = "`sudo ip address add 127.0.0.1/8 dev lo`"
        hint = (
            f"`sudo ip link set lo up` starts it; if lo has only ::1, {address} adds the address."
        )
        return error("network", summary, hint, measured=why, wanted="127.0.0.1")
    if snapshot.interfaces is None:
        return None
    if profile.device == "cpu":
        return _gloo(snapshot, profile)
    return _nccl(snapshot, profile, needs)


def setting(snapshot: HostSnapshot, profile: Profile, name: str) -> str:
    """A variable as the ranks will see it: the profile overrides the shell."""
    return profile.environment.get(name, snapshot.environment.get(name, ""))


def nccl_interfaces(
    interfaces: Sequence[Interface], ifname: str = "", family: str = ""
) -> list[Interface]:
    """The interfaces that NCCL takes, in its order; empty if it would fail.

    ``ifname`` and ``family`` are NCCL_SOCKET_IFNAME and NCCL_SOCKET_FAMILY. ``ifname`` lists
    prefixes; after ``=`` exact names, after ``^`` prefixes to leave out. NCCL ignores a value of
    one letter, and takes blanks as part of a name.
    """
    usable = [interface for interface in interfaces if _address(interface, family)]
    for rule in [ifname] if len(ifname) > 1 else NCCL_PREFERS:
        if found := [interface for interface in usable if _matches(interface.name, rule)]:
            return found
    return []


def _matches(name: str, rule: str) -> bool:
    without = rule.startswith("^")
    rule = rule.removeprefix("^")
    exact = rule.startswith("=")
    # A port may follow a name; NCCL reads it for a fixed port only.
    names = [entry.partition(":")[0] for entry in rule.removeprefix("=").split(",")]
    names = [one for one in names if one]
    found = not names or (name in names if exact else name.startswith(tuple(names)))
    return found != without


def _address(interface: Interface, family: str) -> str | None:
    """The address that NCCL would use: never IPv6's loopback, only of the family if one is set."""
    families = (family,) if family in FAMILIES else FAMILIES
    usable = (a for a in interface.addresses if a != "::1" and FAMILIES[":" in a] in families)
    return next(usable, None)


def _nccl(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding:
    ifname = setting(snapshot, profile, "NCCL_SOCKET_IFNAME")
    family = setting(snapshot, profile, "NCCL_SOCKET_FAMILY")
    interfaces = snapshot.interfaces or ()
    chosen = nccl_interfaces(interfaces, ifname, family)
    if chosen:
        named = " and ".join(f"{one.name} ({_address(one, family)})" for one in chosen)
        resort = not ifname and chosen[0].name.startswith(LAST_RESORTS)
        summary = f"NCCL uses {named}{', as there is no other' if resort else ''}"
        measured = ", ".join(one.name for one in chosen)
        return ok("network", summary, measured=measured, wanted=ifname or "any")
    there = ", ".join(interface.name for interface in interfaces) or "none"
    what, variable = "NCCL finds no interface", "NCCL_SOCKET_IFNAME"
    if len(ifname) > 1:
        what = f"{variable}={ifname} ({_origin(profile, variable)}) leaves NCCL no interface"
    summary = f"{what} (up and with an address: {there})"
    hint = _way_out(profile, variable, nccl_interfaces(interfaces, "", family))
    found = error("network", summary, hint, measured="none", wanted=ifname or "any")
    # With one rank NCCL may never be used.
    return found if needs.workers > 1 else replace(found, severity="warning")


def _gloo(snapshot: HostSnapshot, profile: Profile) -> Finding | None:
    """Gloo takes exact names only: neither prefixes nor signs."""
    variable = "GLOO_SOCKET_IFNAME"
    ifname = setting(snapshot, profile, variable)
    if len(ifname) <= 1:
        return None  # the address of the host's own name, or else the loopback
    interfaces = snapshot.interfaces or ()
    names = [name for name in ifname.split(",") if name]
    known = {interface.name for interface in interfaces}
    if known.issuperset(names):
        return ok("network", f"gloo uses {', '.join(names)}", measured=ifname, wanted=ifname)
    there = ", ".join(sorted(known)) or "none"
    wrong = f"{variable}={ifname} ({_origin(profile, variable)})"
    summary = f"{wrong} must list exact names of interfaces; there are: {there}"
    hint = _way_out(profile, variable, nccl_interfaces(interfaces))
    return error("network", summary, hint, measured=there, wanted=ifname)


def _origin(profile: Profile, name: str) -> str:
    return f"of profile {profile.name}" if name in profile.environment else "of the environment"


def _way_out(profile: Profile, name: str, usable: Sequence[Interface]) -> str:
    if not usable:
        return "`ip address` shows the interfaces; `sudo ip link set lo up` starts the loopback."
    if name in profile.environment:
        this = f"`gpuops profiles show {profile.name}` prints this one"
        entry = f"`{name}: {usable[0].name}`"
        return f"Write {entry} under `environment` in your own profile: {this}."
    return f"`unset {name}`, or `export {name}={usable[0].name}`."
