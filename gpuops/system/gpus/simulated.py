"""Simulated GPUs from a description: for learning, planning and tests."""

from __future__ import annotations

import difflib
import re
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, model_validator

from gpuops.core.launch.validation import Section, describe_mistake
from gpuops.core.machine.device import Claim, Device, GpuInventory, GpuProcess, Memory, Pcie, Xid
from gpuops.errors import UsageError
from gpuops.system import files
from gpuops.system.gpus import nvml
from gpuops.system.yaml_files import read_yaml
from gpuops.text import GIB, MIB

MOST_GPUS = 64
SHOWN = 5
DOCUMENT = "docs/simulate.md explains the keys."


class Model(NamedTuple):
    """A GPU model: name and memory (MiB) as the driver gives them, power limit, NVLinks."""

    name: str
    memory_mib: int
    power_w: float
    nvlinks: int = 0


MODELS = {
    "t4": Model("Tesla T4", 15360, 70),
    "l4": Model("NVIDIA L4", 23034, 72),
    "l40s": Model("NVIDIA L40S", 46068, 350),
    "a6000": Model("NVIDIA RTX A6000", 49140, 300),
    "3090": Model("NVIDIA GeForce RTX 3090", 24576, 350),
    "4090": Model("NVIDIA GeForce RTX 4090", 24564, 450),
    "5090": Model("NVIDIA GeForce RTX 5090", 32607, 575),
    "v100": Model("Tesla V100-SXM2-32GB", 32768, 300, 6),
    "a100": Model("NVIDIA A100-SXM4-80GB", 81920, 400, 12),
    "h20": Model("NVIDIA H20", 97871, 500, 18),
    "h100": Model("NVIDIA H100 80GB HBM3", 81559, 700, 18),
    "h200": Model("NVIDIA H200", 143771, 700, 18),
    "b200": Model("NVIDIA B200", 183359, 1000, 18),
}
SOME = "`8x4090` and `4xh100+4xa100` are hosts; a scenario file can describe more"

Word = Annotated[str, Field(min_length=1, max_length=200)]
Gib = Annotated[float, Field(gt=0, le=1024)]
Count = Annotated[int, Field(ge=0, le=1024)]


class Busy(Section):
    """A process of another user that computes on a GPU."""

    user: Word
    command: Word = "python train.py"
    memory_gib: Gib = 4.0


class Claimed(Section):
    """A run that holds a GPU through gpuops."""

    user: Word
    run: Word


class Matter(Section):
    """The problems of a GPU; none by default."""

    state: Literal["ok", "lost", "stuck", "unreadable"] = "ok"
    busy: Busy | None = None
    claimed: Claimed | None = None
    unowned_gib: Gib | None = None
    temperature_c: Annotated[int, Field(ge=1, le=150)] | None = None
    slowed_by: list[Word] = Field([])
    mig: bool = False
    persistence: bool = True
    ecc_uncorrected: Count | None = None
    remap_pending: bool | None = None
    remap_failed: bool | None = None
    pcie_width: Literal[1, 2, 4, 8, 16] = 16
    nvlinks_down: list[Annotated[int, Field(ge=0, le=17)]] = Field([])
    xids: list[Count] = Field([])
    numa_node: Count | None = None

    @model_validator(mode="before")
    @classmethod
    def _by_one_word(cls, value: object) -> object:
        return {"state": value} if isinstance(value, str) else value


class Scenario(Section):
    """A host: its GPUs, and the problems of some of them."""

    gpus: str
    but: dict[int, Matter] = Field({})
    driver: Word = "580.95.05"
    cuda: Annotated[str, Field(pattern=r"^[0-9]{1,3}\.[0-9]{1,3}$")] = "13.0"


SECTIONS = (Scenario, Matter, Busy, Claimed)


def read(spec: str) -> GpuInventory:
    """The host that ``8x4090``, ``4xh100+4xa100`` or the path of a scenario file describes.

    Raises:
        UsageError: it does not describe a host.
    """
    if "/" not in spec and Path(spec).suffix not in {".yaml", ".yml"}:
        return replace(_host(Scenario(gpus=spec), "--simulate"), simulated=spec)
    if not files.exists(Path(spec)):
        raise UsageError(f"{spec} cannot be read: there is no such file.", f"{SOME}.")
    return replace(_host(_parse(read_yaml(Path(spec)), spec), f"{spec}, GPUs:"), simulated=spec)


def _parse(document: object, source: str) -> Scenario:
    if not isinstance(document, Mapping):
        raise UsageError(
            f"{source} is not a scenario: it must be a mapping of keys to values.",
            f"`gpus: 8x4090` is the smallest one; {DOCUMENT}",
        )
    try:
        return Scenario.model_validate(dict(document))
    except ValidationError as problem:
        wrong = [_sentence(error) for error in problem.errors(include_url=False)]
        more = f"; and {len(wrong) - SHOWN} more" if len(wrong) > SHOWN else ""
        raise UsageError(
            f"{source} is not a scenario: {'; '.join(wrong[:SHOWN])}{more}.", DOCUMENT
        ) from None


def _sentence(error: Any) -> str:
    where = [str(part) for part in error["loc"] if part != "[key]"]
    path = ".".join(part if part.isprintable() else repr(part) for part in where)[:80]
    if where[:1] == ["but"] and error["loc"][-1] == "[key]":
        return f"{path} is not a GPU: an index is wanted"
    known = {name for section in SECTIONS for name in section.model_fields}
    return describe_mistake(path, error, known)


def _host(scenario: Scenario, source: str) -> GpuInventory:
    models = _models(scenario.gpus, source)
    strangers = [index for index in scenario.but if not 0 <= index < len(models)]
    if strangers:
        raise UsageError(
            f"{source} {scenario.gpus} has no GPU {strangers[0]}, which `but` names.",
            f"Its GPUs are 0 to {len(models) - 1}.",
        )
    # Up to four GPUs are on one socket, more on two.
    sockets = 1 if len(models) <= 4 else 2
    devices = (
        _device(index, model, scenario.but.get(index, Matter()), index * sockets // len(models))
        for index, model in enumerate(models)
    )
    major, minor = scenario.cuda.split(".")
    return GpuInventory(
        driver=scenario.driver, cuda=(int(major), int(minor)), devices=tuple(devices)
    )


def _models(gpus: str, source: str) -> list[Model]:
    found: list[Model] = []
    for part in gpus.lower().split("+"):
        match = re.fullmatch(r"\s*([0-9]{1,3})\s*x\s*(?:rtx)?\s*([a-z0-9]+)\s*", part)
        if match is None:
            raise UsageError(
                f"{source} {gpus!r:.60} does not describe a host.",
                f"{SOME}. Models: {', '.join(MODELS)}.",
            )
        count, name = int(match[1]), match[2]
        if name not in MODELS:
            near = difflib.get_close_matches(name, MODELS, n=1)
            raise UsageError(
                f"{source} {gpus}: {name} is not a model that can be simulated"
                + (f"; did you mean {near[0]}?" if near else "."),
                f"Models: {', '.join(MODELS)}.",
            )
        if not count or len(found) + count > MOST_GPUS:
            raise UsageError(f"{source} {gpus}: a host has 1 to {MOST_GPUS} GPUs.", f"{SOME}.")
        found += [MODELS[name]] * count
    return found


def _device(index: int, model: Model, matter: Matter, node: int) -> Device:
    claimed = matter.claimed
    identity = Device(
        index=index,
        uuid=f"GPU-5130{index:04d}-0000-4000-8000-000000000000",
        name=model.name,
        bus_id=f"{index // 8:08X}:{index % 8 * 0x20 + 1:02X}:00.0",
        numa_node=node if matter.numa_node is None else matter.numa_node,
        memory_total_bytes=model.memory_mib * MIB,
        claim=Claim(user=claimed.user, run_id=claimed.run) if claimed else None,
        xids=tuple(Xid(code=code, at_s=time.time(), text="simulated") for code in matter.xids),
    )
    if matter.state != "ok":
        fault = {
            "lost": nvml.failure(index, nvml.LOST),
            "stuck": nvml.silence(nvml.READ_TIMEOUT_S),
            "unreadable": nvml.failure(index, nvml.RESET_REQUIRED),
        }[matter.state]
        return replace(identity, state=matter.state, fault=fault)
    busy, unowned = matter.busy, int((matter.unowned_gib or 0) * GIB)
    held = int(busy.memory_gib * GIB) if busy else 0
    process = busy and GpuProcess(
        pid=4000 + index, user=busy.user, command=busy.command, memory_bytes=held
    )
    links = set(range(model.nvlinks))
    uncorrected = 0 if links and matter.ecc_uncorrected is None else matter.ecc_uncorrected
    return replace(
        identity,
        memory_used_bytes=held + unowned,
        utilization_pct=97 if busy else 0,
        temperature_c=matter.temperature_c or (64 if busy else 34),
        power_w=model.power_w * (0.8 if busy else 0.1),
        power_limit_w=model.power_w,
        slowed_by=tuple(matter.slowed_by),
        memory=Memory(
            ecc_enabled=bool(links) or None,
            ecc_uncorrected=uncorrected,
            remap_pending=matter.remap_pending,
            remap_failed=matter.remap_failed,
        ),
        pcie=Pcie(generation=4, generation_max=4, width=matter.pcie_width, width_max=16),
        nvlinks_up=len(links - set(matter.nvlinks_down)) if links else None,
        nvlinks_down=tuple(sorted(links & set(matter.nvlinks_down))) if links else None,
        persistence=matter.persistence,
        mig=matter.mig,
        processes=(process,) if process else (),
    )
