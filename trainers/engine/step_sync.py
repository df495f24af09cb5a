"""What ranks exchange at every step: losses, what is not finite, which rank wants to stop.

One small all-reduce a step carries it all, so that every rank takes the same decision at the same
step. On a CPU it is read at once, before the optimizer steps. On a GPU reading at once would make
the CPU wait for the GPU: it is copied aside and read one step later, or when ``flush`` is called.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.distributed as dist

from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import FrameType

    from torch import Tensor

    from trainers.engine.distributed import World

_SIGNALS = (signal.SIGINT, signal.SIGTERM)
REPEAT_S = 1.0


@dataclass(slots=True)
class Stop:
    """Whether this process was asked to stop, and by which signal."""

    signum: int | None = None
    asked_at: float = 0.0


@contextmanager
def stop_on_signal() -> Iterator[Stop]:
    """Inside, the first SIGINT or SIGTERM is a request; a second one does what it always does.

    A SIGTERM within a second of another is the same request: launchers send it to the process
    and to its group.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(signum: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if stop.signum is None:
            stop.signum, stop.asked_at = signum, now
            signal.signal(signal.SIGINT, signal.SIG_DFL)
        elif now - stop.asked_at > REPEAT_S:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    before = {signum: signal.signal(signum, ask) for signum in _SIGNALS}
    try:
        yield stop
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


@dataclass(frozen=True, slots=True)
class Report:
    """What all ranks know about a step: values averaged over them, and a signal if one had it."""

    step: int
    values: Mapping[str, float]
    stop: int | None


class StepSync:
    """Sends this rank's part of a step, and returns what all ranks sent.

    The vector of P values and W ranks: P sums, then W x P marks of what is not finite, then one
    count for each of the two signals.
    """

    def __init__(self, world: World, stop: Stop) -> None:
        self._world = world
        self._stop = stop
        self._names: tuple[str, ...] = ()
        # A step's vector on its way from the GPU, and what says that it has arrived.
        self._pending: tuple[int, Tensor, torch.cuda.Event] | None = None

    def send(self, step: int, values: Mapping[str, Tensor]) -> Report | None:
        """Send the values of a step; return the newest report, of this step or of the one before.

        Raises:
            TrainerError: a value of any rank is not finite; on all ranks alike.
        """
        names = tuple(values)
        if self._names not in ((), names):
            raise ValueError(f"losses had the names {self._names} and now have {names}")
        self._names = names
        before = self.flush()
        on_cpu = self._world.device.type == "cpu"
        dtype = torch.float64 if on_cpu else torch.float32
        vector = self._vector(torch.stack([value.to(dtype) for value in values.values()]))
        if not self._world.is_alone:
            dist.all_reduce(vector)
        if on_cpu:
            return self._read(step, vector.tolist())
        aside = torch.empty(vector.shape, pin_memory=True)
        aside.copy_(vector, non_blocking=True)
        copied = torch.cuda.Event()
        copied.record()
        self._pending = step, aside, copied
        return before

    def flush(self) -> Report | None:
        """Return the report of the last step if it was not returned yet; this waits for the GPU."""
        pending, self._pending = self._pending, None
        if pending is None:
            return None
        step, vector, copied = pending
        copied.synchronize()
        return self._read(step, vector.tolist())

    def _vector(self, values_P: Tensor) -> Tensor:
        """This rank's part, made without the device and the CPU waiting for each other."""
        parts = len(values_P)
        vector = values_P.new_zeros(parts * (1 + self._world.world_size) + 2)
        finite_P = values_P.isfinite()
        vector[:parts] = torch.where(finite_P, values_P, 0.0)
        mine = parts * (1 + self._world.rank)
        vector[mine : mine + parts] = ~finite_P
        if self._stop.signum is not None:
            # fill_ takes its value along with the launch; a copy from here would wait.
            vector[-2 + _SIGNALS.index(signal.Signals(self._stop.signum))].fill_(1.0)
        return vector

    def _read(self, step: int, vector: list[float]) -> Report:
        parts, ranks = len(self._names), self._world.world_size
        marks = vector[parts:-2]
        if any(marks):
            ranks_of = {
                name: [rank for rank in range(ranks) if marks[rank * parts + part]]
                for part, name in enumerate(self._names)
            }
            raise _not_finite(step, ranks_of)
        values = dict(zip(self._names, (v / ranks for v in vector[:parts]), strict=True))
        stops = [s for s, votes in zip(_SIGNALS, vector[-2:], strict=True) if votes]
        return Report(step, values, int(stops[0]) if stops else None)


def _not_finite(step: int, ranks_of: Mapping[str, list[int]]) -> TrainerError:
    bad = {name: ranks for name, ranks in ranks_of.items() if ranks}
    # The sum is what its parts make it, and the gradient what the sum makes it.
    causes = (
        [name for name in bad if name not in ("loss", "grad_norm")]
        or [name for name in bad if name != "grad_norm"]
        or list(bad)
    )
    ranks = sorted({rank for name in causes for rank in bad[name]})
    who = f"rank{'s' if len(ranks) > 1 else ''} {', '.join(map(str, ranks))}"
    verb = "are" if len(causes) > 1 else "is"
    msg = f"step {step}: {', '.join(causes)} {verb} not finite on {who}"
    hint = "nothing was saved since the last checkpoint; try a lower --lr, or look at the data"
    return TrainerError(msg, hint)
