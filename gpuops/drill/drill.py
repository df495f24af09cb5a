"""A drill: launch a small job as a user would, inject a fault, and record the outcome."""

from __future__ import annotations

import contextlib
import json
import os
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

from gpuops.core.drill import RANKS, STEPS, Injection, Observed, Step
from gpuops.core.run import paths
from gpuops.errors import GpuopsError
from gpuops.system import files, leases
from gpuops.system.runs import events, run_dir, supervisor_lock

WORKER = Path(__file__).with_name("worker.py")
HANG_TIMEOUT_S = 4.0  # a step takes 0.05 s; real jobs get more time
TOO_LONG_S = 240.0
POLL_S = 0.02


@contextlib.contextmanager
def temporary_folder(prefix: str, *, keep: bool = False) -> Iterator[Path]:
    """A folder that is removed at the end, also after SIGTERM or SIGHUP, unless it is kept."""
    if keep:
        yield Path(tempfile.mkdtemp(prefix=prefix))
        return

    def leave(number: int, _frame: object) -> None:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, leave) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True) as folder:
            yield Path(folder)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a drill takes place: everything is written below ``folder``."""

    folder: Path
    python: str
    seed: int = 0
    steps: int = STEPS


class Scene:
    """One run of the drill's job, in a folder of its own."""

    def __init__(self, site: Site, name: str) -> None:
        self._site = site
        self._folder = site.folder / name
        self.runs, self.notes = self._folder / "runs", self._folder / "notes"
        self.screen, self.temporary = self._folder / "screen.log", self._folder / "tmp"
        self._children: list[subprocess.Popen[bytes]] = []
        self._begun_s = time.time()

    def __enter__(self) -> Scene:
        for folder in (self.notes, self.temporary):
            folder.mkdir(parents=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        """Kill what is left: a drill that is interrupted leaves nothing behind."""
        for child in self._children:
            child.kill()
            child.wait()
        for process in self.processes():
            with contextlib.suppress(psutil.Error):
                process.kill()

    def launch(self, faults: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Start the job; ``faults`` are those that it causes itself, as ``1:23:kill``."""
        words = (word for fault in faults for word in ("--fault", fault))
        return self.gpuops(
            "launch", str(WORKER), "--profile", "cpu", "--nproc-per-node", str(RANKS),
            "--python", self._site.python, "--hang-timeout", f"{HANG_TIMEOUT_S:g}s",
            "--", "--notes", str(self.notes), "--steps", str(self._site.steps),
            "--seed", str(self._site.seed), *words,
        )  # fmt: skip

    def gpuops(self, *words: str) -> subprocess.Popen[bytes]:
        """Start a command. Its output goes to ``screen``."""
        places = {run_dir.RUNS_VARIABLE: str(self.runs), "TMPDIR": str(self.temporary)}
        with self.screen.open("ab") as screen:
            child = subprocess.Popen(
                [sys.executable, "-m", "gpuops", *words],
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
        return next((plan.parent for plan in self.runs.glob(f"*/{paths.PLAN}")), None)

    @property
    def plan(self) -> dict[str, Any] | None:
        """The plan of its newest attempt."""
        return files.read_json(self.root / paths.PLAN) if self.root is not None else None

    def mark(self, fault: str) -> dict[str, Any] | None:
        """When (``time``) and in which ``attempt`` a fault happened, if it has."""
        return files.read_json(self._mark(fault))

    def set_mark(self, fault: str, attempt: int) -> None:
        """Record a fault that is caused from outside."""
        mark = {"time": time.time(), "attempt": f"{paths.ATTEMPT}{attempt}"}
        files.write_json(self._mark(fault), mark)

    def _mark(self, fault: str) -> Path:
        return self.notes / f"fault-{fault.replace(':', '-')}.json"

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
        for name, claim in leases.holders().items():
            if claim.run_dir == str(self.root):
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
            begun_s=self._begun_s,
            took_s=time.time() - self._begun_s,
        )


def run_undisturbed(site: Site) -> Observed:
    """Run the job without a fault: all other runs are compared with this one.

    Raises:
        GpuopsError: it does not finish.
    """
    with Scene(site, "undisturbed") as scene:
        code = wait_or_kill(scene.launch())
        seen = scene.observe(code)
        if code or len(seen.weights) != RANKS:
            raise GpuopsError(
                f"the undisturbed run ended with exit code {code}: a drill proves nothing here.",
                f"`gpuops drill --keep`, then see {scene.screen.name} in the folder it names.",
            )
    return seen


def run_with_fault(site: Site, injection: Injection) -> Observed:
    """Run the job with the fault, and run the command that gpuops then asks the user to type."""
    name = injection.fault.name
    with Scene(site, name) as scene:
        child = scene.launch(injection.words)
        with _port_taken(scene, child, injection) if name == "port" else contextlib.nullcontext():
            if name == "supervisor":
                child = _adopted(scene, child, injection)
            code = wait_or_kill(child)
        resumed = None
        if injection.fault.then == "given up" and scene.root is not None:
            resumed = wait_or_kill(scene.gpuops("launch", "--resume", str(scene.root)))
        mark = scene.mark(injection.words[-1])
        return scene.observe(code, resumed, mark["time"] if mark else None)


def _adopted(
    scene: Scene, child: subprocess.Popen[bytes], injection: Injection
) -> subprocess.Popen[bytes]:
    """Kill the supervisor once the job trains, and start another one."""
    while child.poll() is None and not scene.mark(injection.words[0]):
        time.sleep(POLL_S)
    child.kill()
    child.wait()
    adopter = scene.gpuops("supervise", str(scene.root))
    while adopter.poll() is None and scene.root and supervisor_lock.holder(scene.root) is None:
        time.sleep(POLL_S)
    files.write_json(scene.notes / "adopted.json", {"time": time.time()})
    return adopter


@contextlib.contextmanager
def _port_taken(
    scene: Scene, child: subprocess.Popen[bytes], injection: Injection
) -> Iterator[None]:
    """Take the planned port before torchrun does, and hold it inside the context."""
    while child.poll() is None and scene.root is None:
        time.sleep(POLL_S / 10)
    plan = scene.plan
    taken = take_port(plan["master_port"]) if plan is not None else None
    with taken or contextlib.nullcontext():
        if plan is not None and taken is not None:
            scene.set_mark(injection.words[0], plan["attempt"])
        yield


def take_port(port: int) -> socket.socket | None:
    """Listen at a port; ``None`` if another process already does."""
    taken = socket.socket()
    # Connections of the previous run may still be closing.
    taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        taken.bind(("127.0.0.1", port))
        taken.listen()
    except OSError:
        taken.close()
        return None
    return taken


def wait_or_kill(child: subprocess.Popen[bytes]) -> int:
    """The exit code of a process; one that does not end is killed."""
    try:
        return child.wait(TOO_LONG_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait() or -signal.SIGKILL
