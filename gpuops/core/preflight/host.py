"""Checks of the host around the GPUs."""

from __future__ import annotations

from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.snapshot import HostSnapshot
from gpuops.core.preflight.network import setting
from gpuops.core.preflight.requirements import Requirements
from gpuops.text import GIB, MIB, many

# Docker's default is 64 MiB; a batch in transfer and the buffers of a few NCCL rings need more.
SHM_BYTES = GIB // 4
# The clock of the disk may differ this much from the host's without misleading ages of files.
SKEW_S = 2.0
CROWD = 4  # CPU ranks per core: above this a job hardly makes progress


def check_memory(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Workers that need more memory than there is are killed."""
    total, available = snapshot.memory_total_bytes, snapshot.memory_available_bytes
    if total is None or available is None:
        return warning("memory", "the host memory could not be read", "Look at /proc/meminfo.")
    each = needs.memory_per_worker_bytes
    wanted = needs.workers * each
    measured, want = f"{available / GIB:.1f} GiB", f"{wanted / GIB:.1f} GiB"
    if wanted > available:
        fits = available // each
        if profile.device == "cpu" and snapshot.cpu_cores is not None:
            fits = min(fits, snapshot.cpu_cores)
        return error(
            "memory",
            f"{_workers(needs)} need about {want} of memory, {measured} are available",
            f"Use `--nproc-per-node {fits}` or fewer."
            if fits > 0
            else "Free some memory: not even one worker fits.",
            measured=measured,
            wanted=want,
        )
    return ok(
        "memory",
        f"{available / GIB:.1f} of {total / GIB:.1f} GiB available, about {want} needed",
        measured=measured,
        wanted=want,
    )


def check_cores(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Each rank keeps a core busy, and so does each process that reads data for it."""
    cores, loaders = snapshot.cpu_cores, needs.loader_workers
    if cores is None:
        return None
    wanted = needs.workers * (1 + loaders)
    if snapshot.inventory.simulated is not None and wanted > cores:
        return warning(
            "cores",
            f"{wanted} processes would share {many(cores, 'core')} of this host, "
            f"not of {snapshot.inventory.simulated}",
            "Count the cores there: each rank needs one, and each process that reads data another.",
            measured=cores,
            wanted=wanted,
        )
    if profile.device == "cpu" and needs.workers > CROWD * cores:
        return error(
            "cores",
            f"{_workers(needs)} on {many(cores, 'core')} would hardly make progress",
            f"Use `--nproc-per-node {cores}` or fewer.",
            measured=cores,
            wanted=wanted,
        )
    if needs.workers > cores:
        return warning(
            "cores",
            f"{_workers(needs)} share {many(cores, 'core')}",
            f"`--nproc-per-node {cores}` is as fast."
            if profile.device == "cpu"
            else "The GPUs will wait for them: ask for more cores, or use fewer GPUs.",
            measured=cores,
            wanted=wanted,
        )
    if wanted > cores:
        return warning(
            "cores",
            f"{_workers(needs)} with {loaders} reading data for each share {many(cores, 'core')}",
            f"`--num-workers {cores // needs.workers - 1}` leaves each a core.",
            measured=cores,
            wanted=wanted,
        )
    readers = f" and {wanted - needs.workers} that read data" if loaders else ""
    summary = f"{many(cores, 'core')} for {_workers(needs)}{readers}"
    return ok("cores", summary, measured=cores, wanted=wanted)


def check_shm(snapshot: HostSnapshot, _profile: Profile, _needs: Requirements) -> Finding | None:
    """Data loaders pass batches through /dev/shm, and NCCL keeps buffers there."""
    free = snapshot.shm_free_bytes
    if free is None:
        return None
    measured, want = f"{free / GIB:.2f} GiB", f"{SHM_BYTES / GIB:.2f} GiB"
    if free < SHM_BYTES:
        return warning(
            "shm",
            f"/dev/shm has only {measured} free, at least {want} are needed",
            "Enlarge it (Docker: `--shm-size 8g`), or keep `--num-workers 0`.",
            measured=measured,
            wanted=want,
        )
    return ok("shm", f"/dev/shm has {free / GIB:.1f} GiB free", measured=measured, wanted=want)


def check_open_files(
    snapshot: HostSnapshot, _profile: Profile, needs: Requirements
) -> Finding | None:
    """A rank holds a descriptor for each tensor that its loaders have ready, and for its peers.

    The limit is per process. A loader has two batches ready, of up to 16 tensors each; torch,
    CUDA and their libraries hold a few hundred files.
    """
    if snapshot.open_files is None:
        return None
    wanted = 256 + 16 * needs.workers + 32 * needs.loader_workers
    measured = "no limit" if snapshot.open_files == float("inf") else int(snapshot.open_files)
    if snapshot.open_files < wanted:
        return warning(
            "open-files",
            f"a process may open {measured} files, a rank of this job may need {wanted}",
            "`ulimit -n 65536` before the launch (above the hard limit: limits.conf).",
            measured=measured,
            wanted=wanted,
        )
    return ok("open-files", f"{measured} for each process", measured=measured, wanted=wanted)


def check_memlock(snapshot: HostSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """InfiniBand reads and writes memory that is locked in place."""
    if (
        profile.device == "cpu"
        or not snapshot.infiniband
        or snapshot.memlock_bytes is None
        or setting(snapshot, profile, "NCCL_IB_DISABLE") == "1"
    ):
        return None
    gpus = ", ".join(snapshot.infiniband)
    if snapshot.memlock_bytes != float("inf"):
        measured = f"{snapshot.memlock_bytes / MIB:.0f} MiB"
        return warning(
            "memlock",
            f"a process may lock {measured} of memory, InfiniBand ({gpus}) needs no limit",
            "`ulimit -l unlimited` before the launch (Docker: `--ulimit memlock=-1`), "
            "or `NCCL_IB_DISABLE=1`.",
            measured=measured,
            wanted="no limit",
        )
    return ok(
        "memlock",
        f"no limit on locked memory, as InfiniBand ({gpus}) needs it",
        measured="no limit",
        wanted="no limit",
    )


def check_output(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The run folder must be writable, and have room for the checkpoints."""
    if snapshot.output_writable is False:
        return error(
            "output",
            f"{needs.output_dir} cannot be written: {snapshot.gaps.get('output', 'no permission')}",
            "Choose another folder with `--runs-dir DIR` or the trainer's `--out-dir DIR`.",
        )
    if snapshot.disk_free_bytes is None:
        return warning("output", f"free space at {needs.output_dir} is unknown", "Look with `df`.")
    measured, want = (
        f"{snapshot.disk_free_bytes / GIB:.1f} GiB",
        f"{needs.disk_bytes / GIB:.1f} GiB",
    )
    if snapshot.disk_free_bytes < needs.disk_bytes:
        return error(
            "output",
            f"{needs.output_dir} has {snapshot.disk_free_bytes / GIB:.2f} GiB free, "
            f"the checkpoints need {needs.disk_bytes / GIB:.2f} GiB",
            "Free some space, or choose another disk with `--runs-dir DIR`.",
            measured=measured,
            wanted=want,
        )
    return ok(
        "output",
        f"{needs.output_dir}: {measured} free, about {want} needed",
        measured=measured,
        wanted=want,
    )


def check_clock(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Ages of files are wrong if another host's clock dates them."""
    skew = snapshot.clock_skew_s
    if skew is None:
        return None
    adrift = "; ours is not synchronised" if snapshot.clock_synchronised is False else ""
    measured, want = f"{skew:+.1f} s", f"within {SKEW_S:.0f} s"
    if abs(skew) > SKEW_S:
        way = "ahead of" if skew > 0 else "behind"
        return warning(
            "clock",
            f"the disk of {needs.output_dir} is {abs(skew):.1f} s {way} our clock{adrift}",
            "Synchronise both clocks with a time server (`timedatectl set-ntp true`), "
            "or keep runs on a local disk with `--runs-dir DIR`.",
            measured=measured,
            wanted=want,
        )
    summary = f"our clock and the disk of {needs.output_dir} agree{adrift}"
    return ok("clock", summary, measured=measured, wanted=want)


def check_port(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The rendezvous of torchrun needs its port."""
    if snapshot.port_free is None:
        return None
    if not snapshot.port_free:
        free, why = snapshot.next_free_port, snapshot.gaps.get("port", "in use")
        return error(
            "port",
            f"port {needs.master_port} is {why}",
            f"Another job may run: `gpuops runs list`. Port {free} is free: `--master-port {free}`."
            if free
            else "Another job may run: `gpuops runs list`. Choose one with `--master-port P`.",
            measured=why,
            wanted="free",
        )
    instead = needs.usual_port not in {None, needs.master_port}
    summary = f"rendezvous port {needs.master_port} is free"
    summary += f" ({needs.usual_port} is not)" if instead else ""
    return ok("port", summary, measured="free", wanted="free")


def _workers(needs: Requirements) -> str:
    return many(needs.workers, "worker")
