"""A drill: launch a small job as a person would, harm it, and see what becomes of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from gpuops.core.drill import RANKS, STEPS, Injection, Seen, Step
from gpuops.errors import GpuopsError
from gpuops.system import files, leases, run_dir

WORKER = Path(__file__).with_name("drill_worker.py")
HANG_TIMEOUT_S = 4.0
"""Standing still so long counts as a hang. Steps take 0.05 s; a person's job gets more time."""
TOO_LONG_S = 240.0
POLL_S = 0.02
RUN_ID_VARIABLE = "GPUOPS_RUN_ID"


@dataclass(frozen=True, slots=True, kw_only=True)
class Yard:
    """Where a drill takes place: everything is written below ``folder``."""

    folder: Path
    python: str
    seed: int = 0


class _Scene:
    """One run of the drill's job, in a folder of its own."""

    def __init__(self, yard: Yard, name: str) -> None:
        self._yard = yard
        self._folder = yard.folder / name
        self.runs, self.notes = self._folder / "runs", self._folder / "notes"
        self.screen, self.temporary = self._folder / "screen.log", self._folder / "tmp"
        self._children: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> _Scene:
        for folder in (self.notes, self.temporary):
            folder.mkdir(parents=True)
        return self

    def __exit__(self, *_exc: object) -> None:
        """End whatever is left: a drill that is broken off leaves nothing behind."""
        for child in self._children:
            if child.poll() is None:
                child.kill()
                child.wait()
        for process in _of_run(self.root):
            with contextlib.suppress(psutil.Error):
                process.kill()

    def launch(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        return self.gpuops(
            "launch", str(WORKER), "--profile", "cpu", "--nproc-per-node", str(RANKS),
            "--python", self._yard.python, "--hang-timeout", f"{HANG_TIMEOUT_S:g}s",
            "--", "--notes", str(self.notes), "--steps", str(STEPS),
            "--seed", str(self._yard.seed), *words,
        )  # fmt: skip

    def gpuops(self, *words: str) -> subprocess.Popen[bytes]:
        """Type a command. What it says goes to a file, like every run's."""
        places = {run_dir.RUNS_VARIABLE: str(self.runs), "TMPDIR": str(self.temporary)}
        with self.screen.open("ab") as screen:
            child = subprocess.Popen(
                [sys.executable, "-m", "gpuops", *words],
                env={**os.environ, **places},
                stdin=subprocess.DEVNULL,
                stdout=screen,
                stderr=screen,
                start_new_session=True,  # Ctrl-C is for the drill: it ends them in order
            )
        self._children.append(child)
        return child

    @property
    def root(self) -> Path | None:
        """The run's folder, once there is a plan in it."""
        return next((plan.parent for plan in self.runs.glob("*/plan.json")), None)

    def seen(
        self, exit_code: int, resumed: int | None, fault_s: float | None, begun_s: float
    ) -> Seen:
        """What the run left behind."""
        if self.root is None:
            said = self.screen.read_text(errors="replace").strip().splitlines()
            raise GpuopsError(
                f"the drill's job did not start: {said[-1] if said else 'nothing was said'}",
                "`gpuops preflight --profile cpu` looks at the machine.",
            )
        return Seen(
            exit_code=exit_code,
            resumed=resumed,
            fault_s=fault_s,
            steps=tuple(
                Step(at_s=line["time"], attempt=line["attempt"], number=line["step"])
                for line in run_dir.json_lines(self.notes / "steps.jsonl")
            ),
            events=run_dir.events(self.root),
            weights=_weights(self.notes),
            left=(*_left(self.root), *_temporary(self.temporary)),
            begun_s=begun_s,
            took_s=time.time() - begun_s,
        )


def undisturbed(yard: Yard) -> Seen:
    """The run that all others are compared with.

    Raises:
        GpuopsError: not even that one comes to its end.
    """
    begun_s = time.time()
    with _Scene(yard, "undisturbed") as scene:
        code = _end(scene.launch(()))
        seen = scene.seen(code, None, None, begun_s)
        if code or len(seen.weights) != RANKS:
            raise GpuopsError(
                f"the undisturbed run ended with exit code {code}: a drill shows nothing here.",
                f"`gpuops drill --keep`, then see {scene.screen.name} in the folder it names.",
            )
    return seen


def struck(yard: Yard, injection: Injection) -> Seen:
    """Run the job, let the fault happen, and do what a person would who is asked to."""
    name, begun_s = injection.fault.name, time.time()
    with _Scene(yard, name) as scene:
        child = scene.launch(("--fault", injection.word))
        with _thief(scene, child) if name == "port" else contextlib.nullcontext():
            if name == "supervisor":
                child = _adopted(scene, child)
            code = _end(child)
        resumed = None
        if injection.fault.then == "given up" and scene.root is not None:
            resumed = _end(scene.gpuops("launch", "--resume", str(scene.root)))
        return scene.seen(code, resumed, _fault_s(scene, name), begun_s)


def _adopted(scene: _Scene, child: subprocess.Popen[bytes]) -> subprocess.Popen[bytes]:
    """Kill the supervisor once the job trains; somebody else takes its place."""
    mark = scene.notes / "fault-supervisor.json"
    while child.poll() is None and not mark.exists():
        time.sleep(POLL_S)
    child.kill()
    child.wait()
    files.write_json(mark, {"time": time.time()})
    return scene.gpuops("supervise", str(scene.root))


@contextlib.contextmanager
def _thief(scene: _Scene, child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Take the port that was planned, before torchrun gets to it."""
    while child.poll() is None and scene.root is None:
        time.sleep(POLL_S / 10)
    plan = files.read_json(scene.root / "plan.json") if scene.root is not None else None
    with socket.socket() as taken:
        # Connections of the run before may still be closing.
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with contextlib.suppress(OSError):  # torchrun was faster
            if plan is not None:
                taken.bind(("127.0.0.1", plan["master_port"]))
                taken.listen()
                files.write_json(scene.notes / "fault-port.json", {"time": time.time()})
        yield


def _end(child: subprocess.Popen[bytes]) -> int:
    """How it ends; what does not end is killed."""
    try:
        return child.wait(TOO_LONG_S)
    except subprocess.TimeoutExpired:
        child.kill()
        return child.wait() or -signal.SIGKILL


def _fault_s(scene: _Scene, name: str) -> float | None:
    mark = files.read_json(scene.notes / f"fault-{name}.json")
    return mark["time"] if mark else None


def _weights(notes: Path) -> tuple[str, ...]:
    found = (files.read_json(path) for path in sorted(notes.glob("final-*.json")))
    return tuple(json.dumps(one, sort_keys=True) for one in found if one)


def _left(root: Path) -> Iterator[str]:
    """What should have gone with the run, and has not."""
    for process in _of_run(root):
        with contextlib.suppress(psutil.Error):
            yield f"process {process.pid} ({process.name()})"
    for name, claim in leases.holders().items():
        if claim.run_dir == str(root):
            yield f"the claim on {name}"
    for path in sorted(root.rglob(".*")):
        if not path.name.startswith(".broken-"):
            yield f"the file {path.relative_to(root)}"


def _temporary(folder: Path) -> Iterator[str]:
    """What stays in the folder for temporary files, but for torch's cache, which is meant to."""
    for path in sorted(folder.iterdir()):
        if not path.name.startswith("torchinductor_"):
            yield f"the temporary file {path.name}"


def _of_run(root: Path | None) -> list[psutil.Process]:
    """The processes of a run, by the run's name in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            ours = root is not None and process.environ().get(RUN_ID_VARIABLE) == root.name
            if ours and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found
