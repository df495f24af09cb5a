"""One run of the drill's job, in a folder of its own, and what is seen of it."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil

from gpuops import run_module
from gpuops.core.drill import HANG_TIMEOUT_S, RANKS, STEPS, Observed, Step
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import claims, files
from gpuops.system.runs import events, run_dir

Process = subprocess.Popen[bytes]
WORKER = Path(__file__).with_name("worker.py")
TOO_LONG_S = 240.0
POLL_S = 0.02
PROFILE = "name: two-gpus\ngpus: {{count: {gpus}}}\ntorchrun: {{master_port: {port}}}\n"


@contextlib.contextmanager
def leaving_in_order() -> Iterator[None]:
    """After SIGTERM or SIGHUP, leave as after an exception: what was started is ended."""

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def temporary_folder(prefix: str, *, keep: bool = False) -> Iterator[Path]:
    """A folder that is removed at the end, unless it is kept."""
    with leaving_in_order():
        if keep:
            yield Path(tempfile.mkdtemp(prefix=prefix))
            return
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
            yield Path(folder)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a drill takes place: everything is written below ``folder``."""

    folder: Path
    python: str
    seed: int = 0
    steps: int = STEPS
    hang_timeout_s: float = HANG_TIMEOUT_S


class Scene:
    """One run of the drill's job, in a folder of its own.

    With ``gpus`` it claims simulated GPUs, by locks in ``locks`` that no other user sees.
    ``wrong`` has a sentence for each thing that went wrong beside the run.
    """

    def __init__(self, site: Site, name: str, *, gpus: bool = False) -> None:
        self._site = site
        self._folder = site.folder / name
        self._gpus = gpus
        self.runs, self.notes = self._folder / "runs", self._folder / "notes"
        self.screen, self.temporary = self._folder / "screen.log", self._folder / "tmp"
        self.locks, self._profile = self._folder / "locks", self._folder / "two-gpus.yaml"
        self.wrong: list[str] = []
        self._children: list[Process] = []
        self._environment = contextlib.ExitStack()
        self._begun_s = time.time()

    def __enter__(self) -> Scene:
        for folder in (self.notes, self.temporary):
            folder.mkdir(parents=True)
        if self._gpus:
            self._profile.write_text(PROFILE.format(gpus=RANKS, port=_free_port()))
            self._environment.enter_context(_variable(claims.VARIABLE, str(self.locks)))
        return self

    def __exit__(self, *_exc: object) -> None:
        """Kill what is left: a drill that is interrupted leaves nothing behind."""
        self._environment.close()
        for child in self._children:
            child.kill()
            child.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def launch(self, faults: Sequence[str] = ()) -> Process:
        """Start the job; ``faults`` are those that it causes itself, as ``1:23:kill``."""
        words = (word for fault in faults for word in ("--fault", fault))
        return self.gpuops(
            "launch", str(WORKER), *self._where(), "--hang-timeout",
            f"{self._site.hang_timeout_s:g}s",
            "--", "--notes", str(self.notes), "--steps", str(self._site.steps),
            "--seed", str(self._site.seed), *words,
        )  # fmt: skip

    def launch_waiter(self) -> Process:
        """Start another launch, which waits for the GPUs of the job."""
        words = ("--runs-dir", str(self._waiters), "--wait", "--", "--notes", str(self._waiters))
        return self.gpuops("launch", str(WORKER), *self._where(), *words)

    def end_waiter(self, waiter: Process) -> None:
        """End that launch, and forget its run."""
        waiter.terminate()
        wait_or_kill(waiter)
        shutil.rmtree(self._waiters, ignore_errors=True)

    def resume(self) -> Process:
        """Start the run again, as gpuops asks for after it gave up."""
        words = ("--force", "torch") if self._gpus else ()
        return self.gpuops("launch", "--resume", str(self.root), *words)

    def _where(self) -> tuple[str, ...]:
        words = ("--python", self._site.python)
        if not self._gpus:
            return ("--profile", "cpu", "--nproc-per-node", str(RANKS), *words)
        return ("--profile", str(self._profile), "--force", "torch", *words)

    def gpuops(self, *words: str) -> Process:
        """Start a command. Its output goes to ``screen``."""
        places = {run_dir.RUNS_VARIABLE: str(self.runs), "TMPDIR": str(self.temporary)}
        module = "gpuops.drill.simulated_gpus" if self._gpus else "gpuops"
        with self.screen.open("ab") as screen:
            child = subprocess.Popen(
                [sys.executable, run_module.__file__, module, *words],
                env={**os.environ, **places},
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                start_new_session=True,  # Ctrl-C reaches only the drill, which ends them in order
            )
        self._children.append(child)
        return child

    @property
    def root(self) -> Path | None:
        """The run's folder, once there is a plan in it."""
        return _only_run(self.runs)

    @property
    def waiters_root(self) -> Path | None:
        """The folder of the run that waited, once it is planned."""
        return _only_run(self._waiters)

    @property
    def _waiters(self) -> Path:
        return self._folder / "waiter"

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan of its newest attempt."""
        return files.read_json(self.root / paths.PLAN) if self.root is not None else None

    def mark(self, fault: str) -> dict[str, Any] | None:
        """When (``time``) and in which ``attempt`` a fault happened, if it has."""
        return files.read_json(self._fault_file(fault))

    def set_mark(self, fault: str, attempt: int) -> None:
        """Record a fault that is caused from outside."""
        mark = {"time": time.time(), "attempt": f"{paths.ATTEMPT}{attempt}"}
        files.write_json(self._fault_file(fault), mark)

    def _fault_file(self, fault: str) -> Path:
        return self.notes / f"fault-{fault.replace(':', '-')}.json"

    def let_kill(self) -> None:
        """Let the rank be killed that waits for what the drill has done from outside."""
        files.write_json(self.notes / "ready.json", {"time": time.time()})

    def steps(self) -> tuple[Step, ...]:
        """Every step that was trained so far."""
        return tuple(
            Step(at_s=line["time"], attempt=line["attempt"], number=line["step"])
            for line in files.read_json_lines(self.notes / "steps.jsonl")
        )

    def weights(self) -> tuple[str, ...]:
        """The checksum of each rank's final weights."""
        found = (files.read_json(path) for path in sorted(self.notes.glob("final-*.json")))
        return tuple(json.dumps(one, sort_keys=True) for one in found if one)

    def processes(self) -> list[psutil.Process]:
        """All descendants of the commands: they have this run's ``TMPDIR``."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                ours = process.environ().get("TMPDIR") == str(self.temporary)
                if ours and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
        return found

    def left(self) -> Iterator[str]:
        """Name what should be gone with the run and is not."""
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                yield f"process {process.pid} ({process.name()})"
        for name, claim in claims.holders().items():
            if self._gpus or (claim.ours and claim.run_dir == str(self.root)):
                yield f"the claim on {name}"
        for path in sorted(self.runs.rglob(".*")):
            if not path.name.startswith(".broken-"):
                yield f"the file {path.relative_to(self.runs)}"
        for path in sorted(self.temporary.iterdir()):
            if not path.name.startswith("torchinductor_"):  # torch's cache is meant to stay
                yield f"the temporary file {path.name}"

    def observe(
        self, exit_code: int, resumed: int | None = None, fault_s: float | None = None
    ) -> Observed:
        """Gather what is left of the run.

        Raises:
            GpuopsError: the job did not start.
        """
        if self.root is None:
            printed = self.screen.read_text(errors="replace").strip() or "it printed nothing"
            raise GpuopsError(
                f"the drill's job did not start: {printed.splitlines()[-1]}",
                "`gpuops preflight --profile cpu` checks this host.",
            )
        return Observed(
            exit_code=exit_code,
            resumed=resumed,
            fault_s=fault_s,
            steps=self.steps(),
            events=events.read(self.root),
            weights=self.weights(),
            left=tuple(self.left()),
            wrong=tuple(self.wrong),
            begun_s=self._begun_s,
            took_s=time.time() - self._begun_s,
        )


def wait_or_kill(child: Process) -> int:
    """The exit code of a process; one that does not end is killed."""
    try:
        return child.wait(TOO_LONG_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait() or -signal.SIGKILL


@contextlib.contextmanager
def _variable(name: str, value: str) -> Iterator[None]:
    """Set a variable of the environment, of this process and of those that it starts."""
    before = os.environ.get(name)
    os.environ[name] = value
    try:
        yield
    finally:
        if before is None:
            del os.environ[name]
        else:
            os.environ[name] = before


def _only_run(runs: Path) -> Path | None:
    return next((plan.parent for plan in runs.glob(f"*/{paths.PLAN}")), None)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
