"""Polls the GPUs of a job in a thread, so that the job's supervisor never waits for them."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection
from contextlib import AbstractContextManager

from gpuops.core.machine.device import Device
from gpuops.system.gpus.nvml import Reader

EVERY_S = 10.0
DENSER_S = 200.0  # the first minutes are what a short run has
OVERDUE_S = 20.0  # a driver that wakes its GPUs, or is stuck, takes as long


class GpuPoller(AbstractContextManager["GpuPoller"]):
    """The newest reading of some GPUs, from a thread.

    A thread, because a driver may be slow, and because the reading process ends with the thread
    that started it. Without GPUs nothing is started.
    """

    def __init__(self, indices: Collection[int], every_s: float = EVERY_S) -> None:
        self._indices = frozenset(indices)
        self._every_s = every_s
        self._newest: tuple[Device, ...] = ()
        self._good_until_s = 0.0
        self._closed = threading.Event()
        if self._indices:
            threading.Thread(target=self._read, name="the job's GPUs", daemon=True).start()

    def __exit__(self, *_exc: object) -> None:
        self._closed.set()  # and not waited for

    @property
    def newest(self) -> tuple[Device, ...]:
        """The last reading of the GPUs; empty before the first, or if the next is overdue."""
        return self._newest if time.monotonic() < self._good_until_s else ()

    def _read(self) -> None:
        begun_s, pause_s = time.monotonic(), 0.0
        with Reader() as reader:
            while not self._closed.wait(pause_s):
                devices = reader.read().devices
                now = time.monotonic()
                pause_s = self._every_s * min(1.0, max(0.1, (now - begun_s) / DENSER_S))
                self._newest = tuple(one for one in devices if one.index in self._indices)
                self._good_until_s = now + pause_s + OVERDUE_S
