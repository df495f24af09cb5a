"""A job under one of the launchers: started as a person would, and gone without a trace."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import psutil
from launchers import Launcher, events_of

from gpuops.core.drill import Injection, Step
from gpuops.system import files
from gpuops.system.runs import run_dir

HERE = Path(__file__).parent
MARK = "GPUOPS_SUPERVISION_BENCHMARK"
POLL_S = 0.05
TRIES = 3
T = TypeVar("T")


class Job:
    """A folder, a command, and all processes that come of it."""

    def __init__(self, launcher: Launcher, script: str, *words: str, ranks: int = 2) -> None:
        self.launcher = launcher
        self._script, self._words, self._ranks = HERE / script, words, ranks

    def __enter__(self) -> Job:
        self.folder = Path(tempfile.mkdtemp(prefix="supervision-"))
        self.notes, self.runs = self.folder / "notes", self.folder / "runs"
        self.notes.mkdir()
        words = ("--home", str(self.folder), "--notes", str(self.notes), *self._words)
        environment = {
            **os.environ,
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "PYTHONWARNINGS": "ignore",
            "PYTHONPATH": str(HERE.parents[1]),
            "TMPDIR": str(self.folder),
            run_dir.RUNS_VARIABLE: str(self.runs),
            MARK: self.folder.name,
            **self.launcher.environment,
        }
        with self._screen.open("ab") as screen:
            self.begun_s = time.time()
            self.child = subprocess.Popen(
                self.launcher.argv(self._script, words, ranks=self._ranks, port=_free_port()),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                start_new_session=True,
            )
        return self

    def __exit__(self, *_exc: object) -> None:
        """End all that came of it: some are stopped, some are orphans, some start others."""
        while left := self.processes():
            for process in left:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            psutil.wait_procs(left, timeout=5)
        self.child.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def _screen(self) -> Path:
        return self.folder / "screen.log"

    @property
    def screen(self) -> str:
        """What the launcher, and the ranks of those who do not keep them apart, said."""
        return self._screen.read_text(errors="replace")

    @property
    def events(self) -> list[dict[str, Any]]:
        """What gpuops recorded, if it is the launcher."""
        return events_of(self.runs)

    @property
    def steps(self) -> tuple[Step, ...]:
        """The steps that the drill's job has trained."""
        return tuple(
            Step(at_s=line["time"], attempt=line["attempt"], number=line["step"])
            for line in files.read_json_lines(self.notes / "steps.jsonl")
        )

    def noted(self, name: str) -> dict[str, Any] | None:
        """What the job has left in its folder of notes under this name."""
        return files.read_json(self.notes / f"{name}.json")

    def fault(self, done: Injection) -> dict[str, Any] | None:
        """When it happened to the drill's job, once it has."""
        return self.noted(f"fault-{done.words[0].replace(':', '-')}")

    def processes(self) -> list[psutil.Process]:
        """All that run of it, by the mark in their environment."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get(MARK) == self.folder.name
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def until(self, seen: Callable[[], object], limit_s: float) -> float | None:
        """When something was first seen; ``None`` where the job, or the time, ended before."""
        end_s = time.time() + limit_s
        while time.time() < end_s:
            over = self.child.poll() is not None
            if seen():
                return time.time()
            if over:
                return None
            time.sleep(POLL_S)
        return None

    def must(self, seen: Callable[[], object], limit_s: float, what: str) -> float:
        """The same of what has to come, or there is nothing to measure."""
        found = self.until(seen, limit_s)
        if found is None:
            said = self.screen.strip().splitlines()
            raise RuntimeError(f"{what} did not come; last said: {said[-1] if said else 'nothing'}")
        return found


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        number: int = taken.getsockname()[1]
        return number


def leave_in_order() -> None:
    """Let a signal that would end the benchmark end its jobs first."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, leave)


def tried(measure: Callable[[], T], *what: object) -> T:
    """A measurement; on a busy machine one that does not come is tried again, and it is said."""
    for _ in range(TRIES - 1):
        try:
            return measure()
        except RuntimeError as error:
            print(f"  {' '.join(map(str, what))}: once more, for {error}")
    return measure()
