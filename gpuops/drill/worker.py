"""The job of ``gpuops drill``: a tiny model on two ranks, and faults that it causes itself.

torchrun runs it by path, in the interpreter that trains; gpuops itself never imports it. Data and
weights are the same in every run: a run with a fault must end with bit-equal weights.

``--notes`` is a folder for the drill: the time of each step, the faults that have happened (each
only once), and the checksum of each rank's final weights.
"""

from __future__ import annotations

import argparse
import ctypes
import hashlib
import io
import json
import os
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import torch
import torch.distributed as dist
from torch import nn
from torch.utils.data import DataLoader, Dataset

from gpuops import heartbeat
from gpuops.reaper import PROCESS, write_json

SAVE_EVERY = 5
STEP_S = 0.05
BATCH, WIDTH = 16, 32
RATE, MOMENTUM = 0.05, 0.9


class Faults:
    """The faults of this rank, as ``RANK:STEP:NAME`` words."""

    def __init__(self, words: list[str], rank: int, notes: Path, attempt: str) -> None:
        self._notes, self._attempt = notes, attempt
        self._due = {word for word in words if int(word.partition(":")[0]) == rank}
        self._rank = rank

    def due(self, name: str, step: int) -> bool:
        """Whether a fault must happen now; it is recorded, and not due again."""
        word = f"{self._rank}:{step}:{name}"
        mark = self._notes / f"fault-{word.replace(':', '-')}.json"
        if word not in self._due or mark.exists():
            return False
        while name == "kill-later" and not (self._notes / "ready.json").exists():
            time.sleep(STEP_S)
        write_json(mark, {"time": time.time(), "attempt": self._attempt, "pid": os.getpid()})
        return True


class Samples(Dataset[torch.Tensor]):
    """One batch a step, (BATCH, WIDTH), drawn from the step's number."""

    def __init__(self, steps: range, rank: int, seed: int, faults: Faults) -> None:
        self._steps, self._rank, self._seed, self._faults = steps, rank, seed, faults

    def __len__(self) -> int:
        return len(self._steps)

    def __getitem__(self, index: int) -> torch.Tensor:
        step = self._steps[index]
        while self._faults.due("loader", step):
            time.sleep(86400)
        random = torch.Generator().manual_seed((self._seed * 100_003 + step) * 16 + self._rank)
        return torch.randn(BATCH, WIDTH, generator=random)


class Training:
    """A tiny model under gradient descent with momentum; weights and momentum are vectors.

    Without ``torch.optim``, and without ``use_deterministic_algorithms`` below: either imports
    ``torch._dynamo``, which takes as long as the rest of a start.
    """

    def __init__(self) -> None:
        self._model = nn.Sequential(nn.Linear(WIDTH, 64), nn.Tanh(), nn.Linear(64, WIDTH))
        self.momentum = torch.zeros_like(self.weights)

    def step(self, sample: torch.Tensor, *, alone: bool) -> float:
        """Train on a batch, (BATCH, WIDTH), by one collective; return the loss."""
        self._model.zero_grad()
        loss = (self._model(sample) - sample).square().mean()
        loss.backward()
        gradients = [one.grad for one in self._model.parameters() if one.grad is not None]
        mean = nn.utils.parameters_to_vector(gradients)
        if not alone:
            dist.all_reduce(mean)
            mean /= dist.get_world_size()
        self.momentum = MOMENTUM * self.momentum + mean
        self.weights = self.weights - RATE * self.momentum
        return float(loss.item())

    @property
    def weights(self) -> torch.Tensor:
        """All parameters in one vector."""
        return nn.utils.parameters_to_vector(self._model.parameters()).detach()

    @weights.setter
    def weights(self, vector: torch.Tensor) -> None:
        nn.utils.vector_to_parameters(vector, self._model.parameters())


def main() -> None:
    """Train to the end, from the newest intact checkpoint."""
    options = _options()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # a crash on purpose leaves no core file
    rank = int(os.environ["RANK"])
    attempt = Path(os.environ[heartbeat.BEAT_DIR_VARIABLE]).parent
    kept = attempt.parents[1] / "checkpoints"
    faults = Faults(options.fault, rank, options.notes, attempt.name)
    torch.set_num_threads(1)
    torch.set_deterministic_debug_mode("error")
    torch.manual_seed(options.seed)
    dist.init_process_group("gloo")
    training = Training()
    done = _resume(kept, training, rank)
    todo = range(done + 1, options.steps + 1)
    loader = DataLoader(Samples(todo, rank, options.seed, faults), batch_size=None)
    with (options.notes / "steps.jsonl").open("a", buffering=1) as journal:
        for step, sample in zip(todo, loader, strict=True):
            _commit(faults, step, kept, attempt)
            loss = training.step(sample, alone=faults.due("skip", step))
            time.sleep(STEP_S)
            heartbeat.beat(step=step, total_steps=options.steps, loss=loss)
            if rank == 0:
                line = {"time": time.time(), "attempt": attempt.name, "step": step}
                journal.write(json.dumps(line) + "\n")
            if step % SAVE_EVERY == 0:
                dist.barrier()
                if rank == 0:
                    _save(kept, step, training, full=faults.due("disk", step))
    final = _checksum(training.weights)
    write_json(options.notes / f"final-{rank}.json", {"step": options.steps, "sha256": final})
    heartbeat.beat(step=options.steps, total_steps=options.steps, phase="done")
    print(f"final weights {final}", flush=True)
    dist.destroy_process_group()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    parser.add_argument("--notes", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--fault", action="append", default=[], metavar="RANK:STEP:NAME")
    return parser.parse_args()


# ------------------------------------------------------------------------------------- checkpoints


def _save(kept: Path, step: int, training: Training, *, full: bool) -> None:
    """Write a checkpoint atomically; ``full``: as if the disk were full."""
    state = {"step": step, "weights": training.weights, "momentum": training.momentum}
    buffer = io.BytesIO()
    torch.save(state, buffer)
    payload = buffer.getvalue()
    kept.mkdir(exist_ok=True)
    temporary = kept / f".step-{step:08d}"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    if full:  # a limit of the file's size fails like a quota: Python ignores SIGXFSZ
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, limits[1]))
    try:
        with temporary.open("wb") as file:
            file.write(hashlib.sha256(payload).digest() + payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(kept / f"step-{step:08d}")
    finally:
        temporary.unlink(missing_ok=True)
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def _resume(kept: Path, training: Training, rank: int) -> int:
    """Load the newest intact checkpoint, the same on all ranks; return its step."""
    found = torch.tensor(_newest(kept) if rank == 0 else 0)
    dist.broadcast(found, src=0)
    step = int(found.item())
    if step:
        state = _load(kept / f"step-{step:08d}")
        if state is None:
            raise ValueError(f"the checkpoint of step {step} is not what rank 0 has read")
        training.weights, training.momentum = state["weights"], state["momentum"]
    print(f"begins after step {step}", flush=True)
    return step


def _newest(kept: Path) -> int:
    """The step of the newest intact checkpoint; broken ones are renamed."""
    for left in kept.glob(".step-*"):
        left.unlink()  # its writer was killed
    for path in sorted(kept.glob("step-*"), reverse=True):
        if _load(path) is not None:
            return int(path.name.rpartition("-")[2])
        print(f"{path.name} is broken: renamed", flush=True)
        path.replace(path.with_name(f".broken-{path.name}"))
    return 0


def _load(path: Path) -> dict[str, Any] | None:
    data = path.read_bytes()
    digest, payload = data[:32], data[32:]
    if hashlib.sha256(payload).digest() != digest:
        return None
    state: dict[str, Any] = torch.load(io.BytesIO(payload), weights_only=True)
    return state


def _checksum(weights: torch.Tensor) -> str:
    """The SHA-256 of all weights."""
    return hashlib.sha256(bytes(weights.view(torch.uint8).tolist())).hexdigest()


# ------------------------------------------------------------------------------------------ faults


def _commit(faults: Faults, step: int, kept: Path, attempt: Path) -> None:
    """The faults that happen to this rank before it trains a step."""
    acts: dict[str, Callable[[], object]] = {
        "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "kill-later": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "stop": lambda: os.kill(os.getpid(), signal.SIGSTOP),
        "segv": lambda: ctypes.string_at(0),
        "exception": _raise,
        "spin": lambda: sum(iter(int, 1)),  # never ends, nor releases the interpreter's lock
        "oom": _exhaust_memory,
        "agent": lambda: os.kill(os.getppid(), signal.SIGKILL),
        "reaper": lambda: _kill(attempt, "reaper"),
        "orphans": lambda: _kill(attempt, "reaper", "agent"),
        "checkpoint": lambda: _cut_checkpoint(kept),
        # Only recorded: the drill then acts from outside.
        **dict.fromkeys(("supervisor", "suspend", "locks"), lambda: None),
    }
    for name, act in acts.items():
        if faults.due(name, step):
            act()


def _raise() -> NoReturn:
    raise ValueError("a fault of the drill: this happens once")


def _cut_checkpoint(kept: Path) -> None:
    newest = max(kept.glob("step-*"))
    os.truncate(newest, newest.stat().st_size // 2)
    os.kill(os.getpid(), signal.SIGKILL)


def _kill(attempt: Path, *names: str) -> None:
    """SIGKILL to processes of the attempt, so that none of them sees another one end."""
    record = json.loads((attempt / PROCESS).read_text())
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for name in names:
            os.kill(record[name]["pid"], number)


def _exhaust_memory() -> NoReturn:
    """Ask for more memory than the limit of this process's address space."""
    resource.setrlimit(resource.RLIMIT_AS, (1 << 40, resource.getrlimit(resource.RLIMIT_AS)[1]))
    bytearray(1 << 42)
    raise SystemExit("the limit of the address space did not hold")


if __name__ == "__main__":
    main()
