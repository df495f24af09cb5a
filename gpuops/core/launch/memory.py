"""What a training step takes of a GPU's memory, and whether the GPU has it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from gpuops.core.launch.manifest import flag
from gpuops.core.launch.profile import Limits, Profile
from gpuops.core.launch.validation import describe_first
from gpuops.core.machine.device import Device
from gpuops.errors import GpuopsError
from gpuops.text import GIB, MIB

# Beside a process's tensors; docs/estimate.md says where the figures come from.
CONTEXT_BYTES = 512 * MIB  # the driver's, and the kernels that were loaded
WORKSPACE_BYTES = 160 * MIB  # cuBLAS's, and what cuDNN's convolutions take while they run
NCCL_BYTES = 688 * MIB  # buffers towards the other ranks

NEARLY_FULL = 0.95  # a size that takes as much of the room is the largest for all purposes

Bytes = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Need(_Answer):
    """What a batch of ``size`` takes: all tensors at the fullest moment, and those by part.

    ``at`` is the phase of that moment; ``phases`` holds the fullest moment of each.
    ``rounding_bytes`` is what the allocator's blocks and segments take beyond the tensors.
    """

    size: Count
    peak_bytes: Bytes
    at: str
    parts: dict[str, Bytes]
    phases: dict[str, Bytes] = {}
    rounding_bytes: Bytes = 0


class Estimate(_Answer):
    """A trainer's answer: what several sizes of ``setting`` need, ``size`` among them.

    ``batch`` says in words what ``size`` comes to, ``assumed`` what could not be known here, and
    ``savers`` are flags by which the trainer would take less.
    """

    setting: str
    size: Count
    batch: str
    ranks: Count
    device: Literal["cuda", "cpu"]
    passes: Count = 1
    precision: str
    needs: Annotated[list[Need], Field(min_length=1)]
    assumed: str = ""
    savers: list[str] = []

    @property
    def asked(self) -> Need:
        """What the configured size needs."""
        return next(need for need in self.needs if need.size == self.size)


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """The GPU that is planned for, and the share of it that must stay free."""

    name: str
    memory_bytes: int
    headroom: float

    @property
    def usable_bytes(self) -> int:
        """What a job may take of it."""
        return int(self.memory_bytes * (1 - self.headroom))


@dataclass(frozen=True, slots=True, kw_only=True)
class Beside:
    """What a rank's process takes of a GPU beside its tensors: a margin, not a measurement."""

    context_bytes: int = 0
    workspace_bytes: int = 0
    nccl_bytes: int = 0

    @property
    def total_bytes(self) -> int:
        """All of it."""
        return self.context_bytes + self.workspace_bytes + self.nccl_bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """Whether the configured size fits, and the largest that does; ``None`` without a GPU.

    ``largest`` is 0 if no size fits. ``per_sample_bytes`` is what one more sample takes.
    """

    fits: bool | None
    largest: int | None
    per_sample_bytes: float | None
    sentence: str
    hint: str = ""


def parse(document: Mapping[str, object], module: str) -> Estimate:
    """Validate what a trainer's module printed.

    Raises:
        GpuopsError: it is not an estimate; the sentence names the dotted path.
    """
    try:
        found = Estimate.model_validate(document)
    except ValidationError as problem:
        raise GpuopsError(
            f"{module} printed no estimate: {describe_first(problem)}.",
            "docs/estimate.md says what must be printed.",
        ) from None
    if all(need.size != found.size for need in found.needs):
        raise GpuopsError(f"{module} printed no estimate: needs has none of size {found.size}.")
    return found


def gpu(profile: Profile | None, devices: Sequence[Device]) -> Gpu | None:
    """The GPU to plan for: the profile's, or else the smallest there is; ``None`` without one."""
    limits = profile.limits if profile else Limits()
    gpus = profile.gpus if profile else None
    if profile is not None and gpus is None:
        return None
    if gpus is not None and gpus.memory_gib is not None:
        known = [(int(gpus.memory_gib * GIB), gpus.model or "gpu")]
    else:
        sizes = [(one.memory_total_bytes, one.name or "gpu") for one in devices if not one.fault]
        known = [(size, name) for size, name in sizes if size]
    if not known:
        return None
    memory_bytes, name = min(known)
    return Gpu(name=name, memory_bytes=memory_bytes, headroom=limits.memory_headroom)


def ranks(profile: Profile | None, devices: Sequence[Device], asked: int | None) -> int:
    """How many ranks to plan for: as many as asked for, the profile's, or one on each GPU."""
    if asked is not None:
        return asked
    if profile is not None:
        return profile.nproc_per_node
    return max(1, sum(not device.fault for device in devices))


def beside(*, on_gpu: bool, ranks: int) -> Beside:
    """What a rank takes beside its tensors."""
    nccl_bytes = NCCL_BYTES if ranks > 1 else 0
    on_it = Beside(
        context_bytes=CONTEXT_BYTES, workspace_bytes=WORKSPACE_BYTES, nccl_bytes=nccl_bytes
    )
    return on_it if on_gpu else Beside()


def room_bytes(gpu: Gpu | None, margin: Beside) -> int | None:
    """What a GPU leaves for tensors."""
    return None if gpu is None else max(0, gpu.usable_bytes - margin.total_bytes)


def assess_fit(estimate: Estimate, gpu: Gpu | None, margin: Beside) -> Fit:
    """Whether the configured size fits, and which would."""
    takes = {need.size: need.peak_bytes + need.rounding_bytes for need in estimate.needs}
    per_sample = _per_sample(takes)
    room = room_bytes(gpu, margin)
    fit = partial(Fit, per_sample_bytes=per_sample)
    if gpu is None or room is None:
        sentence = "No GPU is known to compare it with."
        hint = "`--profile NAME` plans for one; `gpuops profiles list` shows them."
        if estimate.device == "cpu":
            total = f"{takes[estimate.size] * estimate.ranks / MIB:,.0f} MiB"
            sentence = (
                f"No GPU is needed: the tensors of all ranks take {total} of the machine's "
                "memory, beside torch itself."
            )
            hint = "`gpuops preflight` says how much of it is free."
        return fit(fits=None, largest=None, sentence=sentence, hint=hint)
    setting, size = estimate.setting, estimate.size
    largest = _largest(takes, room, per_sample)
    whole = f"{(takes[size] + margin.total_bytes) / GIB:.1f}"
    usable = f"{gpu.usable_bytes / GIB:.1f} GiB"
    if takes[size] <= room:
        more = f"; up to about {largest:,} would" if largest > size else ""
        sentence = f"It fits: {whole} of {usable} with {setting} {size:,}{more}."
        return fit(fits=True, largest=largest, sentence=sentence)
    less = " or ".join(f"`{saver}`" for saver in estimate.savers)
    other = f"{flag(setting)} {largest} would" if largest else f"no {setting} would"
    return fit(
        fits=False,
        largest=largest,
        sentence=f"It does not fit: {setting} {size:,} needs {whole} GiB, {usable} are available; "
        f"{other}.",
        hint=f"{less} makes it smaller." if less else "",
    )


def _per_sample(takes: Mapping[int, int]) -> float | None:
    """What one more sample of a large batch takes, by the line through the two largest sizes."""
    if len(takes) < 2:
        return None
    low, high = sorted(takes)[-2:]
    return (takes[high] - takes[low]) / (high - low)


def _largest(takes: Mapping[int, int], room: int, per_sample: float | None) -> int:
    """The largest size that is known to fit, or the size at which the line says that it is full."""
    fitting = [size for size, took in takes.items() if took <= room]
    best = max(fitting, default=0)
    if not best or not per_sample or takes[best] >= NEARLY_FULL * room:
        return best
    too_large = [size for size in takes if size not in fitting]
    by_line = best + int((room - takes[best]) / per_sample)
    return min([by_line, *(size - 1 for size in too_large)])
