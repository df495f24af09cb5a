"""What would go wrong, before it does: each check is a plain function of what was seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gpuops.core.device import Device
from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.node import NodeSnapshot, Requirements
from gpuops.core.profile import Profile

GIB = 1024**3
Check = Callable[[NodeSnapshot, Profile, Requirements], Finding | None]


def preflight(node: NodeSnapshot, profile: Profile, needs: Requirements) -> list[Finding]:
    """Every check's finding, in the order in which a person would look."""
    findings = (check(node, profile, needs) for check in CHECKS)
    return [finding for finding in findings if finding is not None]


def has_errors(findings: Sequence[Finding]) -> bool:
    """Whether any finding stops a launch."""
    return any(finding.severity == "error" for finding in findings)


def check_torch(node: NodeSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """Torch must be in the interpreter that will train, with CUDA where the profile has GPUs."""
    found = node.interpreter
    if found is None or found.python is None:
        path = found.path if found else "the interpreter"
        return error(
            "torch",
            f"{path} does not run as a Python interpreter",
            "Give another with `--python PATH`.",
        )
    if found.torch is None:
        return error(
            "torch",
            f"torch is not installed in {found.path}",
            f"Install it there (`{found.path} -m pip install torch`), "
            "or give an interpreter that has it with `--python PATH`.",
        )
    versions = f"Python {found.python}, torch {found.torch}"
    if profile.device == "cuda" and found.cuda is None:
        return error(
            "torch",
            f"{versions} of {found.path} is built without CUDA",
            "Install a CUDA build of torch, or use `--profile cpu`.",
        )
    return ok("torch", f"{versions}{f', CUDA {found.cuda}' if found.cuda else ''}")


def check_gpus(node: NodeSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """Enough usable cards, and none of somebody else's."""
    if profile.device == "cpu":
        return None
    if "gpus" in node.gaps:
        return error(
            "gpus",
            f"the GPUs cannot be read: {node.gaps['gpus']}",
            "Check that `nvidia-smi` works; `--profile cpu` runs without a GPU.",
        )
    taken = [device for device in node.devices if device.index in needs.gpu_indices]
    chosen = f"GPU {', '.join(str(device.index) for device in taken)}"
    busy = [device for device in taken if device.busy]
    if busy:
        return warning(
            "gpus",
            f"{chosen} of {len(node.devices)}, but somebody computes on "
            + "; ".join(f"{device.index} ({_holders(device)})" for device in busy),
            "The job would share a card. `--exclude-gpu I` leaves one alone.",
        )
    unread = [str(device.index) for device in taken if device.busy is None]
    if unread:
        return warning(
            "gpus",
            f"{chosen} of {len(node.devices)}; the users of {', '.join(unread)} are hidden",
            "`nvidia-smi` as root shows it.",
        )
    faulty = "; ".join(f"GPU {d.index}: {d.fault}" for d in node.devices if d.fault)
    if faulty:
        return warning("gpus", f"{chosen} are free; {faulty}", "The faulty cards are not used.")
    return ok("gpus", f"{chosen} of {len(node.devices)}, all free")


def _holders(device: Device) -> str:
    return ", ".join(
        f"{process.user or 'unknown user'}: {process.command or 'unknown'}, pid {process.pid}"
        for process in device.processes or ()
    )


def check_workers(node: NodeSnapshot, profile: Profile, needs: Requirements) -> Finding | None:
    """More workers than cores are slow, more than the memory holds are killed."""
    cores, available = node.cpu_cores, node.memory_available_bytes
    wanted = needs.workers * needs.memory_per_worker_bytes
    if available is not None and wanted > available:
        fits = available // needs.memory_per_worker_bytes
        if profile.device == "cpu" and cores is not None:
            fits = min(fits, cores)
        return error(
            "workers",
            f"{needs.workers} workers need about {wanted / GIB:.1f} GiB of memory, "
            f"{available / GIB:.1f} GiB are available",
            f"Use `--nproc-per-node {fits}` or fewer."
            if fits
            else "Free some memory: not even one worker fits.",
        )
    if profile.device == "cpu" and cores is not None and needs.workers > 4 * cores:
        return error(
            "workers",
            f"{needs.workers} CPU workers on {cores} cores would hardly move",
            f"Use `--nproc-per-node {cores}` or fewer.",
        )
    if profile.device == "cpu" and cores is not None and needs.workers > cores:
        return warning(
            "workers",
            f"{needs.workers} CPU workers share {cores} cores",
            f"`--nproc-per-node {cores}` is as fast.",
        )
    return ok("workers", f"{needs.workers} worker(s) on {cores or 'unknown'} CPU cores")


def check_memory(node: NodeSnapshot, _profile: Profile, _needs: Requirements) -> Finding | None:
    """Host memory, shown for the record; workers are checked against it."""
    if node.memory_available_bytes is None or node.memory_total_bytes is None:
        return warning("memory", "the host memory could not be read", "See /proc/meminfo.")
    available, total = node.memory_available_bytes / GIB, node.memory_total_bytes / GIB
    return ok("memory", f"{available:.1f} of {total:.1f} GiB available")


def check_shm(node: NodeSnapshot, _profile: Profile, _needs: Requirements) -> Finding | None:
    """Data loader workers hand batches over through /dev/shm."""
    if node.shm_free_bytes is None:
        return None
    if node.shm_free_bytes < GIB // 4:
        return warning(
            "shm",
            f"/dev/shm has only {node.shm_free_bytes / GIB:.2f} GiB free",
            "Keep `--num-workers 0`, or enlarge it (Docker: `--shm-size 8g`).",
        )
    return ok("shm", f"/dev/shm has {node.shm_free_bytes / GIB:.1f} GiB free")


def check_output(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The run folder must be writable, and have room for the checkpoints."""
    if node.output_writable is False:
        return error(
            "output",
            f"{needs.output_dir} cannot be written: {node.gaps.get('output', 'no permission')}",
            "Choose another folder with `--runs-dir DIR` or the trainer's `--out-dir DIR`.",
        )
    if node.disk_free_bytes is None:
        return warning("output", f"free space at {needs.output_dir} is unknown", "Look with `df`.")
    free, needed = node.disk_free_bytes / GIB, needs.disk_bytes / GIB
    if node.disk_free_bytes < needs.disk_bytes:
        return error(
            "output",
            f"{needs.output_dir} has {free:.2f} GiB free, the checkpoints want {needed:.2f} GiB",
            "Make room, or choose another disk with `--runs-dir DIR`.",
        )
    return ok("output", f"{needs.output_dir}: {free:.1f} GiB free, about {needed:.1f} wanted")


def check_port(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Torchrun's rendezvous needs its port."""
    if node.port_free is None:
        return None
    if not node.port_free:
        free = node.next_free_port
        return error(
            "port",
            f"port {needs.master_port} is {node.gaps.get('port', 'in use')}",
            f"Another job may run: `gpuops runs list`. Port {free} is free: `--master-port {free}`."
            if free
            else "Another job may run: `gpuops runs list`. Choose one with `--master-port P`.",
        )
    return ok("port", f"rendezvous port {needs.master_port} is free")


def check_data(node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The data set must be there, with every split that training reads."""
    if needs.data_built_in is not None:
        return ok("data", f"built-in data ({needs.data_built_in})")
    if needs.data_root is None:
        return None
    found = node.data
    if found is None:
        return error(
            "data",
            node.gaps.get("data", f"{needs.data_root} is not a data set"),
            "`--data synthetic` trains without files; `gpuops data import --help` brings yours in.",
        )
    for split in needs.data_splits:
        if not found.samples.get(split):
            there = ", ".join(found.folders) or "nothing"
            return error(
                "data",
                f"{found.root} has no samples in its {split} split (it holds: {there})",
                f"Samples belong in {found.root}/{split}/<sample>/.",
            )
    counts = ", ".join(f"{count} {split}" for split, count in found.samples.items())
    if found.incomplete:
        named = ", ".join(found.incomplete[:3])
        more = f" and {len(found.incomplete) - 3} more" if len(found.incomplete) > 3 else ""
        return warning(
            "data",
            f"{found.root}: {counts}; incomplete: {named}{more}",
            "Incomplete samples make training stop; move them away or complete them.",
        )
    return ok("data", f"{found.root}: {counts}")


def check_resume(_node: NodeSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Whether there is anything to go on from."""
    if needs.resume is None:
        return None
    if needs.resume_checkpoint is None:
        return warning(
            "resume",
            f"{needs.resume} has no checkpoint: it begins anew",
            "`gpuops runs show RUN` lists what a run keeps.",
        )
    return ok("resume", f"goes on from {needs.resume_checkpoint}")


CHECKS: tuple[Check, ...] = (
    check_torch,
    check_gpus,
    check_workers,
    check_memory,
    check_shm,
    check_output,
    check_port,
    check_data,
    check_resume,
)
