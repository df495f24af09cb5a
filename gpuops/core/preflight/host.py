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
# The least with which a job of torch 2.13 and gloo was seen to train. Libraries start threads of
# their own: for each core, for each GPU, for each connection.
AGENT_FILES, RANK_FILES = 16, 4
AGENT_THREADS, RANK_THREADS = 4, 4
LIBRARY_THREADS = {"cpu": 16, "cuda": 48}
CROWD = 4  # CPU ranks per core: above this a job hardly makes progress


def check_memory(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Workers that need more memory than there is are killed."""
    total, available = snapshot.memory_total_bytes, snapshot.memory_available_bytes
    if total is None or available is None:
        return warning("memory", "the host memory could not be read", "Look at /proc/meminfo.")
    each = needs.memory_per_worker_bytes
    wanted = needs.workers * each
    limit = snapshot.address_space_bytes
    if limit is not None and limit < each:
        measured, want = f"{limit / GIB:.1f} GiB", f"{each / GIB:.1f} GiB"
        summary = f"a process may use {measured} of address space, a rank needs more than {want}"
        hint = "Type `ulimit -v unlimited` before the launch."
        return error("memory", summary, hint, measured=measured, wanted=want)
    measured, want = f"{available / GIB:.1f} GiB", f"{wanted / GIB:.1f} GiB"
    if wanted > available:
        fits = available // each
        if profile.device == "cpu" and snapshot.cpu_cores is not None:
            fits = min(fits, snapshot.cpu_cores)
        summary = f"{_workers(needs)} need about {want} of memory, {measured} are available"
        hint = f"Use `--nproc-per-node {fits}` or fewer."
        hint = hint if fits > 0 else "Free some memory: not even one worker fits."
        return error("memory", summary, hint, measured=measured, wanted=want)
    summary = f"{available / GIB:.1f} of {total / GIB:.1f} GiB available, about {want} needed"
    return ok("memory", summary, measured=measured, wanted=want)


def check_cores(snapshot: HostSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Each rank keeps a core busy, and so does each process that reads data for it."""
    cores, wanted = snapshot.cpu_cores, needs.workers * (1 + needs.loader_workers)
    if cores is None:
        return None
    there, workers = many(cores, "core"), _workers(needs)
    on_cpu, simulated = profile.device == "cpu", snapshot.inventory.simulated
    if simulated is not None and wanted > cores:
        summary = f"{wanted} processes would share {there} of this host, not of {simulated}"
        hint = "Count the cores there: each rank needs one, each process that reads data another."
    elif on_cpu and needs.workers > CROWD * cores:
        summary = f"{workers} on {there} would hardly make progress"
        hint = f"Use `--nproc-per-node {cores}` or fewer."
        return error("cores", summary, hint, measured=cores, wanted=wanted)
    elif needs.workers > cores:
        summary = f"{workers} share {there}"
        hint = "The GPUs will wait for them: ask for more cores, or use fewer GPUs."
        hint = f"`--nproc-per-node {cores}` is as fast." if on_cpu else hint
    elif wanted > cores:
        summary = f"{workers} with {needs.loader_workers} reading data for each share {there}"
        hint = f"`--num-workers {cores // needs.workers - 1}` leaves each a core."
    else:
        readers = f" and {wanted - needs.workers} that read data" if needs.loader_workers else ""
        return ok("cores", f"{there} for {workers}{readers}", measured=cores, wanted=wanted)
    return warning("cores", summary, hint, measured=cores, wanted=wanted)


def check_shm(snapshot: HostSnapshot, _profile: Profile, _needs: Requirements) -> Finding | None:
    """Data loaders pass batches through /dev/shm, and NCCL keeps buffers there."""
    free = snapshot.shm_free_bytes
    if free is None:
        return None
    measured, want = f"{free / GIB:.2f} GiB", f"{SHM_BYTES / GIB:.2f} GiB"
    if free < SHM_BYTES:
        summary = f"/dev/shm has only {measured} free, at least {want} are needed"
        hint = "Enlarge it (Docker: `--shm-size 8g`), or keep `--num-workers 0`."
        return warning("shm", summary, hint, measured=measured, wanted=want)
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
    hint = "Type `ulimit -n 65536` before the launch; limits.conf sets the hard limit."
    least = AGENT_FILES + RANK_FILES * needs.workers
    if snapshot.open_files < least:
        summary = f"a process may open {measured} files, torchrun alone needs {least}"
        return error("open-files", summary, hint, measured=measured, wanted=wanted)
    if snapshot.open_files < wanted:
        summary = f"a process may open {measured} files, a rank of this job may need {wanted}"
        return warning("open-files", summary, hint, measured=measured, wanted=wanted)
    return ok("open-files", f"{measured} for each process", measured=measured, wanted=wanted)


def check_processes(
    snapshot: HostSnapshot, profile: Profile, needs: Requirements
) -> Finding | None:
    """The ranks, their threads and the processes that read data all count towards a limit.

    The threads of libraries need what is above the least.
    """
    if not snapshot.process_limits:
        return None
    least = least_threads(needs.workers, needs.loader_workers)
    wanted = least + needs.workers * (LIBRARY_THREADS[profile.device] + needs.loader_workers)
    limit = min(snapshot.process_limits, key=lambda limit: limit.left)
    unseen = ", more may be outside of this container" if limit.unseen else ""
    there = f"{limit.left} more processes and threads of {limit.limit} are allowed{unseen}"
    if limit.left >= wanted:
        return ok(
            "processes", f"{there}, about {wanted} needed", measured=limit.left, wanted=wanted
        )
    raised = limit.used + wanted
    hint = "Raise `pids.max` of the control group (Docker: `--pids-limit`, systemd: `TasksMax=`)."
    if limit.of == "user":
        raise_it = f"Type `ulimit -u {raised}` before the launch (limits.conf sets the hard limit)"
        hint = f"{raise_it}, or end some of your own: `ps -Lu $USER` lists them."
    summary = f"{there}, {_workers(needs)} need about {wanted}"
    if limit.left < least:
        summary = f"{there}, {_workers(needs)} need at least {least}"
        return error("processes", summary, hint, measured=limit.left, wanted=least)
    return warning("processes", summary, hint, measured=limit.left, wanted=wanted)


def least_threads(workers: int, loader_workers: int = 0) -> int:
    """With fewer processes and threads no job with a collective starts."""
    return AGENT_THREADS + workers * (RANK_THREADS + loader_workers)


def check_memlock(snapshot: HostSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """InfiniBand reads and writes memory that is locked in place."""
    if (
        profile.device == "cpu"
        or not snapshot.infiniband
        or snapshot.memlock_bytes is None
        or setting(snapshot, profile, "NCCL_IB_DISABLE") == "1"
    ):
        return None
    adapters, want = ", ".join(snapshot.infiniband), "no limit"
    if snapshot.memlock_bytes != float("inf"):
        measured = f"{snapshot.memlock_bytes / MIB:.0f} MiB"
        summary = f"a process may lock {measured} of memory, InfiniBand ({adapters}) needs no limit"
        raised = "Type `ulimit -l unlimited` before the launch (Docker: `--ulimit memlock=-1`)"
        hint = f"{raised}, or set `NCCL_IB_DISABLE=1`."
        return warning("memlock", summary, hint, measured=measured, wanted=want)
    summary = f"no limit on locked memory, as InfiniBand ({adapters}) needs it"
    return ok("memlock", summary, measured=want, wanted=want)


def check_output(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The run folder must be writable, and have room for the checkpoints."""
    folder, free = needs.output_dir, snapshot.disk_free_bytes
    if snapshot.output_writable is False:
        summary = f"{folder} cannot be written: {snapshot.gaps.get('output', 'no permission')}"
        hint = "Choose another folder with `--runs-dir DIR` or the trainer's `--out-dir DIR`."
        return error("output", summary, hint)
    if free is None:
        return warning("output", f"free space at {folder} is unknown", "`df` may show it.")
    measured, want = f"{free / GIB:.1f} GiB", f"{needs.disk_bytes / GIB:.1f} GiB"
    if free < needs.disk_bytes:
        need = f"the checkpoints need {needs.disk_bytes / GIB:.2f} GiB"
        summary = f"{folder} has {free / GIB:.2f} GiB free, {need}"
        hint = "Free some space, or choose another disk with `--runs-dir DIR`."
        return error("output", summary, hint, measured=measured, wanted=want)
    summary = f"{folder}: {measured} free, about {want} needed"
    return ok("output", summary, measured=measured, wanted=want)


def check_runs(snapshot: HostSnapshot, _profile: Profile, _needs: Requirements) -> Finding | None:
    """Who can replace a run's files decides how it ends, and what the next attempt starts."""
    if "runs" not in snapshot.gaps:
        return None
    hint = "Keep runs in a folder of yours (`--runs-dir DIR`), or type `chmod +t` on this one."
    return warning("runs", snapshot.gaps["runs"], hint)


def check_clock(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Ages of files are wrong if another host's clock dates them."""
    skew = snapshot.clock_skew_s
    if skew is None:
        return None
    adrift = "; the host's is not synchronised" if snapshot.clock_synchronised is False else ""
    measured, want = f"{skew:+.1f} s", f"within {SKEW_S:.0f} s"
    if abs(skew) > SKEW_S:
        way = "ahead of" if skew > 0 else "behind"
        summary = (
            f"the disk of {needs.output_dir} is {abs(skew):.1f} s {way} the host's clock{adrift}"
        )
        server = "Synchronise both clocks with a time server (`timedatectl set-ntp true`)"
        hint = f"{server}, or keep runs on a local disk with `--runs-dir DIR`."
        return warning("clock", summary, hint, measured=measured, wanted=want)
    summary = f"the clocks of the host and of the disk of {needs.output_dir} agree{adrift}"
    return ok("clock", summary, measured=measured, wanted=want)


def check_port(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The rendezvous of torchrun needs its port."""
    if snapshot.port_free is None:
        return None
    if not snapshot.port_free:
        free, why = snapshot.next_free_port, snapshot.gaps.get("port", "in use")
        other = f"Port {free} is free: `--master-port {free}`."
        other = other if free else "Choose one with `--master-port P`."
        hint = f"Another job may run: `gpuops runs list`. {other}"
        summary = f"port {needs.master_port} is {why}"
        return error("port", summary, hint, measured=why, wanted="free")
    instead = needs.usual_port not in {None, needs.master_port}
    summary = f"rendezvous port {needs.master_port} is free"
    summary += f" ({needs.usual_port} is not)" if instead else ""
    return ok("port", summary, measured="free", wanted="free")


def _workers(needs: Requirements) -> str:
    return many(needs.workers, "worker")
