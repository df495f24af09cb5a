"""How much of a device's memory a training step takes, without the device and the data.

The step that ``loop.fit`` takes is rehearsed on torch's fake tensors, which have shape, type and
storage but no data: a model of any size, anywhere, in a fraction of a second. A ``MemoryTracker``
counts the bytes of tensors; memory below them (contexts, workspaces, copies inside a kernel) is not
counted.

Fake tensors are of the CPU whatever device is meant: a build of torch without CUDA ends the
process when a fake CUDA tensor meets autograd. If CUDA keeps other tensors, they are counted.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast
from unittest.mock import patch

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensorMode,
)
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.optim.lr_scheduler import LambdaLR

from trainers.engine.checkpoint.state import TrainState
from trainers.engine.distributed import World
from trainers.engine.errors import TrainerError
from trainers.engine.loop import Passes, update
from trainers.engine.memory.tracker import MemoryTracker, Need
from trainers.engine.optim import autocast_dtype, build_ema, build_optimizer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from trainers.engine.config.sections import LoopConfig, OptimConfig
    from trainers.engine.loop import Losses
    from trainers.engine.progress import Progress

TRIES = 5  # rehearsals that look for the largest batch
LONG_S = 15.0  # of the first two: after that the line through them must do
FULL = (0.99, 0.995)  # shares of the room: what is full enough, and what is aimed at
_CPU = torch.device("cpu")
_ALONE = World(rank=0, local_rank=0, world_size=1, device=_CPU)


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What is asked: for a step of so many ranks, on GPUs or CPUs, and what fits into the room."""

    ranks: int = 1
    on_gpu: bool = True
    room_bytes: int | None = None
    one_size: bool = False  # the configured size alone


@dataclass(frozen=True, slots=True, kw_only=True)
class StepSpec:
    """A trainer's step: what ``loop.fit`` is given of it.

    ``batches`` make those that may be the fullest, with a part of the step's samples that only
    this rank and pass have; the step is taken with each of them.
    """

    model: nn.Module
    losses: Losses
    batches: Sequence[Callable[[], Any]]
    after_step: Callable[[int], None] | None = None


def parse_question(argv: Sequence[str]) -> tuple[Question, list[str]]:
    """Parse the question that a command line asks; the trainer's own flags are returned too."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # no driver need answer, no GPU is touched
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--ranks", type=int, default=1)
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--room-bytes", type=int)
    given, flags = parser.parse_known_args(argv)
    asked = Question(ranks=given.ranks, on_gpu=given.device == "cuda", room_bytes=given.room_bytes)
    return asked, flags


def answer(
    asked: Question,
    stage: Callable[[int], StepSpec],
    *,
    loop: LoopConfig,
    optim: OptimConfig,
    size: int,
    **about: Any,
) -> dict[str, Any]:
    """What batches of several sizes need, as values for JSON; ``about`` goes with them.

    ``stage(size)`` builds model, loss and batches of ``size`` as ``train.py`` does, but its
    tensors are fake.

    Raises:
        TrainerError: the step depends on the values of its data.
    """

    def of(one: int) -> Need:
        return need(lambda: stage(one), loop=loop, optim=optim, asked=asked)

    found = {size: of(size)} if asked.one_size else needs(of, size, asked.room_bytes)
    dtype = _precision(loop, on_gpu=asked.on_gpu) or torch.float32
    # The flags that would make less of the activations.
    savers = [] if loop.gradient_checkpointing else ["--gradient-checkpointing"]
    savers += ["--mixed-precision"] if asked.on_gpu and dtype is torch.float32 else []
    return {
        **about,
        "size": size,
        "ranks": asked.ranks,
        "device": "cuda" if asked.on_gpu else "cpu",
        "passes": loop.accumulation(asked.ranks),
        "precision": str(dtype).removeprefix("torch."),
        "savers": savers,
        "needs": [{"size": one, **asdict(what)} for one, what in found.items()],
    }


def needs(
    of: Callable[[int], Need], size: int, room_bytes: int | None = None
) -> Mapping[int, Need]:
    """What ``size``, twice that, and the largest size that fits (within 1 %) need.

    Memory grows with the batch along a line (or along several: first the optimizer's step is the
    fullest moment, then the backward pass). Two sizes give the line, the line the size that should
    just fit, and a rehearsal with that size says whether it does. A model of billions takes a
    while to rehearse: then one with that size is the last.
    """
    begun = time.monotonic()
    found = {one: of(one) for one in (size, 2 * size)}
    tries = TRIES if time.monotonic() - begun < LONG_S else 1
    for _ in range(tries if room_bytes is not None else 0):
        room = (room_bytes or 0) - max(what.rounding_bytes for what in found.values())
        takes = {one: what.peak_bytes for one, what in found.items()}
        enough, aim = (int(share * room) for share in FULL)
        full = _just_fits(takes, aim)
        known = full < 1 or full in found
        if known or any(enough <= took <= room for took in takes.values()):
            break
        found[full] = of(full)
    return dict(sorted(found.items()))


def _just_fits(takes: Mapping[int, int], room_bytes: int) -> int:
    """The largest size that fits, by the line through its neighbours, or the nearest two."""
    sizes = sorted(takes)
    fitting = [size for size in sizes if takes[size] <= room_bytes]
    place = min(max(len(fitting), 1), len(sizes) - 1)
    low, high = sizes[place - 1 : place + 1]
    if takes[high] <= takes[low]:  # it is not the batch that fills the memory
        return 16 * high if fitting else 0
    per_sample = (takes[high] - takes[low]) / (high - low)
    return low + math.floor((room_bytes - takes[low]) / per_sample)


def need(
    stage: Callable[[], StepSpec],
    *,
    loop: LoopConfig,
    optim: OptimConfig,
    asked: Question,
) -> Need:
    """What a step needs: it is taken once, for the optimizer's state, and then with each batch."""
    tracker = MemoryTracker()
    try:
        with ExitStack() as around:
            around.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
            around.enter_context(tracker)
            # Replaced in torch itself: a mode would not see what the backward pass computes again.
            around.enter_context(patch.object(Tensor, "__deepcopy__", _copy))
            if asked.on_gpu:
                around.enter_context(patch.object(F, "dropout", _dropout))
            _rehearse(stage, tracker, loop, optim, asked)
    except (DataDependentOutputException, DynamicOutputShapeException) as error:
        msg = f"what the step needs depends on its data: {error}"
        raise TrainerError(msg, "a step that is rehearsed reads no tensor's value") from None
    return tracker.need


def _rehearse(
    stage: Callable[[], StepSpec],
    tracker: MemoryTracker,
    loop: LoopConfig,
    optim: OptimConfig,
    asked: Question,
) -> None:
    with tracker.part("buffers"):
        spec = stage()
    spec.model.train()
    tracker.assign("parameters", spec.model.parameters())
    with tracker.part("average"):
        ema = build_ema(spec.model, optim)
    optimizer = build_optimizer(spec.model, replace(optim, scale_lr=False), samples_per_step=1)
    state = TrainState(
        model=spec.model,
        optimizer=optimizer,
        schedule=LambdaLR(optimizer, lambda _step: 1.0),
        scaler=None,  # it has two numbers
        ema=ema,
    )
    step = _Step(spec, tracker, _precision(loop, on_gpu=asked.on_gpu))
    step.share_gradients(in_buckets=asked.ranks > 1)
    count = loop.accumulation(asked.ranks)
    plain = replace(loop, mixed_precision="off", global_batch=None, accumulate=count)
    passes = Passes(state, step.losses, plain, _ALONE)
    unhurried = cast("Progress", SimpleNamespace(waited=float))  # that records nothing
    for number, batch in enumerate((spec.batches[0], *spec.batches)):
        # Two passes are as full as many, but for what a first step may collect of all.
        passes.count = step.left = count if number == 0 else min(count, 2)
        values = passes.gradients(step.stream(batch), unhurried)
        tracker.phase = "optimizer"
        passes.clip(optim.grad_clip, values)
        with tracker.part("optimizer"):
            update(state)
        passes.clear()
        tracker.phase = "after"
        if spec.after_step is not None:
            spec.after_step(number + 1)
        if state.ema is not None:
            state.ema.update_parameters(state.bare)


def _precision(loop: LoopConfig, *, on_gpu: bool) -> torch.dtype | None:
    """What the forward pass computes in. A GPU's best is taken for bfloat16; float16 is as big."""
    if not on_gpu:
        return autocast_dtype(loop, _CPU)
    halves = {"auto": torch.bfloat16, "bf16": torch.bfloat16, "fp16": torch.float16}
    return halves.get(loop.mixed_precision)


class _Step:
    """What the loop's passes are given, telling the ledger how far they are."""

    def __init__(self, spec: StepSpec, tracker: MemoryTracker, dtype: torch.dtype | None) -> None:
        self.left = 0
        self._play = spec
        self._ledger = tracker
        self._cast = torch.autocast("cpu", dtype, enabled=dtype is not None)

    def stream(self, batch: Callable[[], Any]) -> Iterator[tuple[Any, float]]:
        """Batches of weight 1, each made when it is asked for and then let go."""
        while True:
            self._ledger.phase = "forward"
            yield self._made(batch), 1.0

    def _made(self, batch: Callable[[], Any]) -> Any:
        with self._ledger.part("batch"):
            return batch()

    def losses(self, model: nn.Module, batch: Any) -> dict[str, Tensor]:
        """The trainer's losses in the precision of the run; what follows is the backward pass."""
        self.left -= 1
        with self._cast:
            parts = self._play.losses(model, batch)
        self._ledger.phase = "backward"
        return parts

    def share_gradients(self, *, in_buckets: bool) -> None:
        """Assign each gradient when it arrives, and move it into its bucket if ranks share them.

        DistributedDataParallel makes its buckets once, of all gradients' size. After the last pass
        of a step each gradient is a view of one; those of the passes before lie beside them.
        """
        for parameter in self._play.model.parameters():
            if not parameter.requires_grad:
                continue
            with self._ledger.part("gradients"):
                bucket = torch.empty_like(parameter) if in_buckets else None

            def arrived(parameter: Tensor, bucket: Tensor | None = bucket) -> None:
                if bucket is not None and not self.left:
                    parameter.grad = bucket
                elif parameter.grad is not None:
                    self._ledger.assign("gradients", [parameter.grad])

            parameter.register_post_accumulate_grad_hook(arrived)


_plain_dropout = F.dropout


def _dropout(
    input: Tensor,  # noqa: A002 - as torch calls it
    p: float = 0.5,
    training: bool = True,  # noqa: FBT001, FBT002 - as in torch
    inplace: bool = False,  # noqa: FBT001, FBT002 - as in torch
) -> Tensor:
    """As on CUDA: it keeps a mask of one byte a value; on a CPU the mask is of the values' type."""
    if inplace or not training or not 0 < p < 1:
        return _plain_dropout(input, p, training, inplace)
    return torch.native_dropout(input, p, True)[0]


def _copy(tensor: Tensor, memo: dict[int, Tensor]) -> Tensor:
    """The deep copy of a tensor, whose own way is by its data; a parameter's copy is one too."""
    copied = tensor.detach().clone()
    if isinstance(tensor, nn.Parameter):
        copied = nn.Parameter(copied, tensor.requires_grad)
    return memo.setdefault(id(tensor), copied)
