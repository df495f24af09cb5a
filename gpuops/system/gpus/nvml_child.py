"""The child process that calls NVML (``nvml_reader.py``), seen from its parent.

If the driver is stuck, the child is stuck too; its parent has a timeout and goes on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, cast

from gpuops.system.gpus import nvml_reader

END_TIMEOUT_S = 0.5
NO_LIBRARY = 12
NOT_STARTED = {
    4: "this user may not open the driver's files: become a member of the group that "
    "`ls -l /dev/nvidia*` shows",
    9: "the NVIDIA driver is not loaded: load it with `sudo modprobe nvidia`, or reinstall it",
    12: "no NVIDIA driver is installed (libnvidia-ml.so.1 is missing): install one, or give the "
    "container its GPUs with `--gpus all`",
    18: "the driver was updated while the old one is loaded: reboot, or reload its modules; in a "
    "container, restart it after that",
    999: "NVIDIA's library does not start (Unknown Error); if this is a container in which it "
    "worked before, the host reloaded systemd and took the GPUs away: restart the container "
    "(GPUs given by CDI, or links in /dev/char on the host, outlast such a reload)",
}


class EndedError(Exception):
    """The child has ended, or could not start: a sentence part that says why."""


class NoDriverError(EndedError):
    """There is no NVML on this host: it has no GPUs, or no driver."""


@dataclass(slots=True)
class Gpu:
    """The child's answers about one GPU: its constant facts, and its last readings.

    ``asked_at`` is the time (monotonic seconds) of the first request without an answer.
    """

    facts: dict[str, Any] = field(default_factory=dict)
    answer: dict[str, Any] | None = None
    asked_at: float = 0.0
    heard: bool = False


class Child:
    """A running child.

    Raises:
        EndedError: it cannot be started.
    """

    def __init__(self) -> None:
        command = [sys.executable, "-I", "-S", nvml_reader.__file__, _folder_of_pynvml()]
        try:
            self._process = subprocess.Popen(
                command,
                bufsize=0,
                cwd="/",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                start_new_session=True,  # Ctrl-C is for us
            )
        except OSError as error:
            words = f"no process can be started to read them ({error.strerror})"
            raise EndedError(words) from error
        self._requests = cast("IO[bytes]", self._process.stdin)
        self._answers = cast("IO[bytes]", self._process.stdout)
        self._poller = select.poll()
        self._poller.register(self._answers, select.POLLIN)
        self._lines: deque[bytes] = deque()
        self._rest = b""
        self._request = 0
        self._asked_at = self._news_at = self.since = time.monotonic()
        self.started = False
        self.driver: str | None = None
        self.cuda: tuple[int, int] | None = None
        self.gpus: list[Gpu] = []

    def look(self, timeout_s: float, start_timeout_s: float) -> None:
        """Ask all GPUs, and wait for those that are not stuck.

        Raises:
            EndedError: the child has ended.
        """
        start_until = self.since + start_timeout_s
        while not self.started:
            if (line := self._next(start_until)) is None:
                return
            self._take(line)
        self._ask()
        while (until := self._until(timeout_s, start_until)) is not None:
            if (line := self._next(until)) is None:
                return
            self._take(line)

    def close(self) -> None:
        """End the child without waiting: one in state D ends when the driver lets it.

        ``subprocess`` collects it when it starts another process.
        """
        self._process.kill()
        self._requests.close()
        self._answers.close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)

    def _ask(self) -> None:
        self._request += 1
        self._asked_at = time.monotonic()
        for gpu in self.gpus:
            if gpu.answer is not None or not gpu.asked_at:
                gpu.answer, gpu.asked_at = None, self._asked_at
        try:
            self._requests.write(b"%d\n" % self._request)
        except BrokenPipeError:
            raise self._ended() from None

    def _until(self, timeout_s: float, start_until: float) -> float | None:
        """Until when to wait for the next line; ``None`` to stop waiting.

        The driver may have to wake its GPUs, seconds each: the first has the time of a start,
        and each that wakes gives the others time.
        """
        waiting = [gpu for gpu in self.gpus if gpu.answer is None]
        if not waiting:
            return None
        if not any(gpu.heard for gpu in self.gpus):
            return max(start_until, self._asked_at + timeout_s)
        return timeout_s + max(
            gpu.asked_at if gpu.heard else max(gpu.asked_at, self._news_at) for gpu in waiting
        )

    def _take(self, line: dict[str, Any]) -> None:
        if "gpus" in line:
            self.started = True
            self.driver, cuda = line["driver"], line["cuda"]  # 12040 is 12.4
            self.cuda = None if cuda is None else (cuda // 1000, cuda % 1000 // 10)
            self.gpus = [Gpu() for _ in range(line["gpus"])]
            return
        if "gpu" not in line:
            words = f"NVIDIA's library does not start ({line['words']})"
            kind = NoDriverError if line["failed"] == NO_LIBRARY else EndedError
            raise kind(NOT_STARTED.get(line["failed"], words))
        gpu = self.gpus[line["gpu"]]
        if not gpu.heard:
            gpu.heard, self._news_at = True, time.monotonic()
        if "facts" in line:  # it is awake: from now on it should answer
            gpu.facts, gpu.asked_at = line["facts"], time.monotonic()
        elif line["request"] == self._request:
            gpu.answer = line
        else:  # it was stuck, and answers the last request only now
            gpu.asked_at = self._asked_at

    def _next(self, until: float) -> dict[str, Any] | None:
        """The next line; ``None`` if none comes in time."""
        while not self._lines:
            left_s = max(0.0, until - time.monotonic())
            if not self._poller.poll(left_s * 1000):
                return None
            piece = os.read(self._answers.fileno(), 65536)
            if not piece:
                raise self._ended()
            *lines, self._rest = (self._rest + piece).split(b"\n")
            self._lines.extend(lines)
        line: dict[str, Any] = json.loads(self._lines.popleft())
        return line

    def _ended(self) -> EndedError:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(END_TIMEOUT_S)
        code = self._process.returncode or 0
        how = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"code {code}"
        return EndedError(f"the process that asks NVIDIA's library ended with {how}")


def _folder_of_pynvml() -> str:
    """The folder of pynvml, which is only located here: only the child imports it."""
    found = importlib.util.find_spec("pynvml")
    if found is None or found.origin is None:
        raise EndedError("the Python package nvidia-ml-py is missing: reinstall gpuops")
    return str(Path(found.origin).parents[1 if found.submodule_search_locations else 0])
