"""A profile written for a host, from what its driver shows."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import replace

from gpuops.core.launch.choice import choose, wish_of
from gpuops.core.launch.profile import NAME, Gpus, Torchrun
from gpuops.core.machine.device import Device, GpuInventory
from gpuops.core.machine.gpu_use import showing
from gpuops.errors import MachineError
from gpuops.text import GIB, many, printable

CPU_WORKERS = 2
TORCHRUN = f"torchrun: {{master_port: {Torchrun().master_port}}}"

_MAKER = re.compile(r"^(NVIDIA\s+)?((GeForce|Tesla)\s+)?")
# Where a GPU's name turns from its model to its memory, its plug or its cooling.
_MORE = re.compile(
    r"[\s-]+(\d+\s?GB|HBM\w*|SXM\w*|PCIE|Generation|GPU|(with\s)?Max-Q|Workstation|Server)\b.*",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"(\d+ )?[A-Za-z]\w*([ .+-]\w+)*")
_NOT_TEXT = {"true", "false", "yes", "no", "on", "off", "null", "y", "n"}


def model_of(name: str) -> str:
    """A GPU's model as people write it: ``H100`` of ``NVIDIA H100 80GB HBM3``."""
    return _MORE.sub("", _MAKER.sub("", name)) or name


def detect(inventory: GpuInventory, *, hostname: str, cores: int, name: str | None = None) -> str:
    """The text of a profile for a host: its GPUs, or its cores if it has no GPUs.

    Of two models the one with more GPUs is taken. GPUs that cannot be used, and one that drives
    a display beside others, are left alone; comments say why. GPUs that a scheduler gave to
    others are not counted, and not excluded either: it may give other ones next time.

    Raises:
        MachineError: it has GPUs, and none of them can be used; or its driver does not answer.
    """
    if inventory.devices:
        body, summary = _gpus(inventory.devices, cores)
    elif "gpus" in inventory.gaps and not inventory.absent:
        raise MachineError(
            f"the GPUs of this host cannot be read: {inventory.gaps['gpus'].rstrip('.')}.",
            "Check that `nvidia-smi` works; a profile without GPUs would be wrong for this host.",
        )
    else:
        body, summary = _cpu(inventory, cores)
    head = [
        f"# What `gpuops profiles detect` found on {_one_line(hostname)}.",
        f"name: {_quoted(name or _as_name(hostname))}",
        f"summary: {_quoted(summary)}",
    ]
    return "\n".join([*head, *body]) + "\n"


def _cpu(inventory: GpuInventory, cores: int) -> tuple[list[str], str]:
    workers = max(1, min(CPU_WORKERS, cores))
    why = _one_line(inventory.gaps.get("gpus", "the driver shows none"))
    body = [
        f"device: cpu  # no GPU: {why}",
        f"workers: {workers}",
        TORCHRUN,
        "environment:",
        _threads(cores, workers),
    ]
    return body, f"{workers} CPU workers"


def _gpus(every: Sequence[Device], cores: int) -> tuple[list[str], str]:
    devices = [device for device in every if device.withheld_by is None]
    if not devices:
        raise MachineError(
            f"none of the {len(every)} GPUs is yours: {every[0].withheld_by}.",
            "Ask the scheduler for GPUs; `--profile cpu` runs without a GPU.",
        )
    left_alone = {device.index: why for device in devices if (why := _unusable(device))}
    usable = [device for device in devices if device.index not in left_alone]
    if not usable:
        named = "; ".join(f"GPU {index} {why}" for index, why in left_alone.items())
        raise MachineError(
            f"none of the {len(devices)} GPUs can be used: {named}.",
            "Check them with `nvidia-smi`; `--profile cpu` runs without a GPU.",
        )
    model, taken = _largest(usable)
    shown = {device.index: why for device in taken if (why := _display(device))}
    if len(shown) < len(taken):
        left_alone |= shown
        taken = [device for device in taken if device.index not in shown]
        shown = {}
    gpus = Gpus(count=len(taken), model=model, memory_gib=_least_gib(taken))
    # A name may hold another one's words: an RTX 4090 D is found by `RTX 4090` as well.
    alike = choose(replace(wish_of(gpus, count=len(devices)), share=True), devices).devices
    left_alone |= {
        device.index: f"is {_name(device)}"
        for device in alike
        if device in usable and device not in taken and device.index not in left_alone
    }
    others = [d for d in usable if d not in taken and d.index not in left_alone]
    withheld = [d for d in every if d.withheld_by is not None]
    body = [
        *(f"# GPU {d.index} is not counted: it is not yours ({d.withheld_by})." for d in withheld),
        *(
            f"# GPU {d.index} is not taken: it is {_one_line(d.name or 'nameless')}."
            for d in others
        ),
        *(f"# GPU {index} is taken, although it {why}: all do." for index, why in shown.items()),
        "device: cuda",
        "gpus:",
        f"  count: {gpus.count}",
        *([f"  model: {_quoted(gpus.model)}"] if gpus.model else []),
        *([f"  memory_gib: {gpus.memory_gib:.0f}"] if gpus.memory_gib else []),
        *(["  exclude:"] if left_alone else []),
        *(f"    - {index}  # {why}" for index, why in sorted(left_alone.items())),
        TORCHRUN,
        "environment:",
        "  NCCL_DEBUG: WARN",
        "  NCCL_SOCKET_IFNAME: ^docker0,lo",
        _threads(cores, gpus.count),
    ]
    return body, f"{gpus.count} x {model or 'GPU'}"


def _largest(usable: Sequence[Device]) -> tuple[str | None, list[Device]]:
    """The model with the most GPUs; of equals the one with more memory."""
    by_model: dict[str, list[Device]] = {}
    for device in usable:
        by_model.setdefault(model_of(_one_line(device.name or "")), []).append(device)
    taken = max(by_model.values(), key=lambda some: (len(some), some[0].memory_total_bytes or 0))
    return next(model for model, some in by_model.items() if some is taken) or None, taken


def _unusable(device: Device) -> str | None:
    if device.fault is not None:
        return f"cannot be used: {_one_line(device.fault)}"
    if device.compute_mode == "prohibited":
        return "is closed to computation"
    return "is in MIG mode" if device.mig else None


def _display(device: Device) -> str | None:
    """What shows a picture on a GPU, if anything does."""
    names = [process.command or f"pid {process.pid}" for process in showing(device)]
    return f"drives a display ({_one_line(', '.join(names))})" if names else None


def _least_gib(taken: Sequence[Device]) -> float | None:
    sizes = [d.memory_total_bytes for d in taken if d.memory_total_bytes is not None]
    return float(round(min(sizes) / GIB)) or None if sizes else None


def _threads(cores: int, ranks: int) -> str:
    each, sharing = max(1, cores // ranks), many(ranks, "rank")
    return f'  OMP_NUM_THREADS: "{each}"  # {cores} cores, {sharing}'


def _name(device: Device) -> str:
    return _one_line(device.name or "nameless")


def _one_line(text: str) -> str:
    """A text of unknown origin on one line, with the characters that YAML takes."""
    return printable(" ".join(text.split()), 2000)


def _as_name(hostname: str) -> str:
    words = re.sub(r"[^\w.+-]+", "-", hostname.partition(".")[0])
    return words if re.match(NAME, words) else "this-host"


def _quoted(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT
    return text if plain else json.dumps(text, ensure_ascii=False)
