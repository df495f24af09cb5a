"""All checks before a launch, and which of their errors stop it."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence

from gpuops.core.finding import Finding
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.snapshot import HostSnapshot
from gpuops.core.preflight import gpu_health, gpus, host, job, network
from gpuops.core.preflight.requirements import Requirements
from gpuops.errors import UsageError

Check = Callable[[HostSnapshot, Profile, Requirements], Finding | Sequence[Finding] | None]

CHECKS: tuple[Check, ...] = (
    job.check_torch, job.check_imports, job.check_driver, gpus.check_gpus, gpus.check_claims,
    gpu_health.check_gpus, host.check_memory, host.check_cores, host.check_shm,
    host.check_open_files, host.check_processes, host.check_memlock, host.check_output,
    host.check_runs, host.check_clock, network.check_network, host.check_port, job.check_data,
    job.check_resume,
)  # fmt: skip

# Every name that --force accepts, so that a script can pass one that finds nothing today.
NAMES = (
    "torch", "imports", "driver", "gpus", "claims", "gpu-health", "temperature", "ecc", "remap",
    "xid", "throttle", "pcie", "nvlink", "persistence", "headroom", "topology", "others", "memory",
    "cores", "shm", "open-files", "processes", "memlock", "output", "runs", "clock", "network",
    "port", "data", "resume",
)  # fmt: skip


def preflight(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> list[Finding]:
    """The findings of all checks, in the order in which a user would look; the trainer's last."""
    findings: list[Finding] = []
    for check in CHECKS:
        found = check(snapshot, profile, needs) or ()
        findings += (found,) if isinstance(found, Finding) else found
    return [*findings, *snapshot.trainer_findings]


def stopping(findings: Sequence[Finding], force: Sequence[str] = ()) -> list[Finding]:
    """The errors that stop a launch: those not named in ``force``, or not forcible.

    Raises:
        UsageError: a name is not that of a check.
    """
    known = dict.fromkeys((*NAMES, *(found.check for found in findings)))
    for name in force:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            raise UsageError(
                f"--force {name} names no check{f'; did you mean {near[0]}?' if near else '.'}",
                f"The checks: {', '.join(known)}.",
            )
    errors = [found for found in findings if found.severity == "error"]
    return [found for found in errors if found.check not in force or not found.forcible]
