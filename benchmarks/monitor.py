"""What it costs to watch: `gpuops monitor` beside `nvitop`, live at 2 s, on the same mock driver.

    pip install nvitop        # in any environment; --nvitop PATH names it
    python benchmarks/monitor.py [--seconds 60] [--rounds 9] [--nvitop nvitop] [--json]

Simulated RTX 4090 with a process each, which are the ranks of a run and beat. Both programs run on
a terminal of 80 x 24 (a pty) at the same time, each refresh of the one beside one of the other; CPU
time and memory are the kernel's, children included. Then 16 GPUs with 64 ranks; then one driver
call that is stuck for as long as one looks.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import importlib.util
import itertools
import json
import os
import pty
import select
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

MOCK = Path(__file__).parents[1] / "tests" / "mocknvml" / "mocknvml.py"
RANK = """
import os, time
from gpuops import heartbeat
step = 0
while True:
    step += 1
    heartbeat.beat(step=step, total_steps=100000, loss=1 / step, data_wait=0.05)
    time.sleep(0.2)
"""
INTERVAL_S = 2.0
ROWS, COLUMNS = 24, 80
# What comes after the eighth GPU: there the head of the processes, here its rank.
LAST = (b"Processes:", b"rank 7")
Command = Sequence[str]
Environment = Mapping[str, str]
Row = tuple[float | None, float, str]
TICKS = os.sysconf("SC_CLK_TCK")


class Terminal:
    """A program on a terminal of its own."""

    def __init__(
        self, command: Command, environment: Environment, columns: int = COLUMNS, rows: int = ROWS
    ) -> None:
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.begun_s = time.monotonic()
        self.process = psutil.Popen(
            command,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            env={**environment, "TERM": "xterm-256color"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        os.close(slave)
        self.said = b""

    def read(self, until_s: float) -> list[float]:
        """Take what it writes, until then; the times at which it wrote."""
        moments = []
        while (left := until_s - time.monotonic()) > 0:
            if not select.select([self.master], [], [], left)[0]:
                break
            with contextlib.suppress(OSError):
                piece = os.read(self.master, 1 << 16)
                self.said = (self.said + piece)[-(1 << 18) :]
                moments.append(time.monotonic())
                continue
            break
        return moments

    def shows(self, text: bytes, timeout_s: float = 30) -> float:
        """How long after its start a text stood on the screen."""
        end = time.monotonic() + timeout_s
        while text not in self.said:
            if time.monotonic() > end:
                sys.exit(f"{text!r} never came: {self.said[-2000:]!r}")
            self.read(time.monotonic() + 0.002)
        return time.monotonic() - self.begun_s

    def types(self, keys: bytes) -> None:
        """Press keys."""
        os.write(self.master, keys)

    def tree(self) -> list[psutil.Process]:
        """It and its children."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Of all its processes, also of those that have ended and were waited for."""
        total = 0.0
        for one in self.tree():
            fields = Path(f"/proc/{one.pid}/stat").read_text().rpartition(")")[2].split()
            total += sum(map(int, fields[11:15])) / TICKS
        return total

    def memory_mib(self) -> tuple[float, float]:
        """Resident, children included: as it is counted (RSS), and shared pages divided (PSS)."""
        full = [one.memory_full_info() for one in self.tree()]
        return sum(m.rss for m in full) / 2**20, sum(m.pss for m in full) / 2**20

    def ends(self) -> None:
        """End it."""
        with contextlib.suppress(psutil.Error, OSError):
            self.process.send_signal(signal.SIGTERM)
            self.read(time.monotonic() + 0.2)
            self.process.kill()
        self.process.wait()
        os.close(self.master)


class GpuInventory:
    """A mock driver, and a run whose ranks hold its GPUs."""

    def __init__(self, folder: str, mock: Any, gpus: int, ranks: int) -> None:
        self.mock = mock
        name = f"20261121-061230-{gpus}x{ranks}"
        root = Path(folder, name)
        beats = root / "state" / "attempt-1" / "beats"
        beats.mkdir(parents=True)
        plan = {
            "run_id": name,
            "profile": "host",
            "target": {"kind": "trainer", "name": "rvq"},
        }
        (root / "plan.json").write_text(json.dumps(plan))
        own = {"GPUOPS_RUN_ID": name, "GPUOPS_BEAT_DIR": str(beats), "TORCHELASTIC_RUN_ID": name}
        self.ranks = [
            subprocess.Popen(
                [sys.executable, "-c", RANK],
                env={**os.environ, **own, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            )
            for rank in range(ranks)
        ]
        held = [
            f"proc gpu={rank % gpus} pid={process.pid} mem=2048"
            for rank, process in enumerate(self.ranks)
        ]
        work = "util=rnd:80,100 power=rnd:300,400 temp=rnd:55,65 clk=rnd:2000,2500"
        gpus = f"gpu 0-{gpus - 1} model=rtx4090 {work}"
        self.lines = ["driver 580.95.05", "cuda 13.0", gpus, *held]
        self.mock.set(self.lines)
        while len(list(beats.iterdir())) < ranks:
            time.sleep(0.05)

    def ends(self) -> None:
        """End the ranks."""
        for rank in self.ranks:
            rank.kill()
            rank.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=60, help="of watching each host")
    parser.add_argument("--rounds", type=int, default=9, help="of first frames")
    parser.add_argument("--nvitop", default="nvitop")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if shutil.which(options.nvitop) is None:
        sys.exit(f"{options.nvitop} is not there: pip install nvitop, and name it with --nvitop.")
    spec = importlib.util.spec_from_file_location("mocknvml", MOCK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder, module.MockNvml() as mock:
        environment = {
            **os.environ,
            **mock.env,
            "XDG_CACHE_HOME": folder,
            "GPUOPS_RUNS_DIR": folder,
        }
        environment |= {"GPUOPS_LEASE_DIR": f"{folder}/claims"}
        del environment["MOCK_NVML_LOG"]
        found = measured(options, folder, mock, environment)
    if options.json:
        print(json.dumps(found, indent=2))
        return
    print(f"{'':44}{'nvitop':>10}{'gpuops':>10}{'ratio':>8}{'goal':>9}")
    for name, (peer, own, goal) in found.items():
        shown = "" if peer is None else f"{peer:.3g}"
        ratio = "" if not peer else f"{own / peer:.2f}"
        print(f"{name:44}{shown:>10}{own:>10.3g}{ratio:>8}{goal:>9}")


def measured(
    options: argparse.Namespace, folder: str, mock: Any, environment: Environment
) -> dict[str, Row]:
    """Each row: the peer's figure, ours, and what was aimed at."""
    gpuops = [sys.executable, "-m", "gpuops", "monitor", "--interval", f"{INTERVAL_S:g}"]
    nvitop = [options.nvitop, "-m", "full", "--interval", f"{INTERVAL_S:g}"]
    found = {}
    inventory = GpuInventory(folder, mock, 8, 8)
    try:
        peer, own = first_frames(options.rounds, [options.nvitop, "-1"], gpuops, environment)
        found["first frame, s (nvitop -1)"] = (peer, own, "1.0 x")
        peer, own = watched([nvitop, gpuops], environment, options.seconds)
        found |= {
            "CPU a refresh, ms": (peer[0] * 1e3 * INTERVAL_S, own[0] * 1e3 * INTERVAL_S, "0.5 x"),
            "share of a core, %": (peer[0] * 100, own[0] * 100, "0.8"),
            "resident memory, MiB": (peer[1], own[1], "1.3 x"),
            "the same, shared pages divided (PSS)": (peer[2], own[2], ""),
        }
        found |= stuck(inventory, gpuops, environment)
    finally:
        inventory.ends()
    shutil.rmtree(folder, ignore_errors=True)
    Path(folder).mkdir(exist_ok=True)
    large = GpuInventory(folder, mock, 16, 64)
    try:
        peer, many = watched([nvitop, gpuops], environment, options.seconds)
        ratio = many[0] / own[0]
        found["16 GPUs, 64 ranks: CPU a refresh, ms"] = (
            peer[0] * 1e3 * INTERVAL_S,
            many[0] * 1e3 * INTERVAL_S,
            f"{2 * own[0] * 1e3 * INTERVAL_S:.3g}",
        )
        found["the same / 8 GPUs and 8 ranks"] = (None, ratio, "2 x")
    finally:
        large.ends()
    return found


def first_frames(
    rounds: int, peer: Command, own: Command, environment: Environment
) -> tuple[float, float]:
    """Medians of the time to the end of the last GPU's row, in turn."""
    times = ([], [])
    for round_ in range(rounds + 1):
        for place, command in enumerate((peer, own)):
            terminal = Terminal(command, environment, columns=120, rows=60)
            took = terminal.shows(LAST[place])
            terminal.ends()
            if round_:  # the first fills caches
                times[place].append(took)
    return statistics.median(times[0]), statistics.median(times[1])


def watched(
    commands: Sequence[Command], environment: Environment, seconds: float
) -> list[tuple[float, float, float]]:
    """CPU seconds a second and memory of programs that run side by side, after their start."""
    terminals = [Terminal(command, environment) for command in commands]
    try:
        until = time.monotonic() + 3 * INTERVAL_S
        while time.monotonic() < until:
            for terminal in terminals:
                terminal.read(time.monotonic() + 0.05)
        before = [terminal.cpu_s() for terminal in terminals]
        begun = time.monotonic()
        while (took := time.monotonic() - begun) < seconds:
            for terminal in terminals:
                terminal.read(time.monotonic() + 0.05)
        shares = [(t.cpu_s() - was) / took for t, was in zip(terminals, before, strict=True)]
        return [(share, *t.memory_mib()) for share, t in zip(shares, terminals, strict=True)]
    finally:
        for terminal in terminals:
            terminal.ends()


def stuck(inventory: GpuInventory, command: Command, environment: Environment) -> dict[str, Row]:
    """One driver call that does not return: the distance of frames, and how soon q is obeyed."""
    terminal = Terminal(command, environment)
    terminal.shows(LAST[1])
    inventory.mock.set([*inventory.lines, "hang 5 nvmlDeviceGet* 600"])
    moments = terminal.read(time.monotonic() + 24)
    frames = [m for before, m in itertools.pairwise([0.0, *moments]) if m - before > 0.3]
    periods = [later - sooner for sooner, later in itertools.pairwise(frames[2:])]
    worst = max(abs(period - INTERVAL_S) / INTERVAL_S for period in periods) * 100
    typed = time.monotonic()
    terminal.types(b"q")
    terminal.process.wait(30)
    answered = time.monotonic() - typed
    inventory.mock.set(inventory.lines)
    terminal.ends()
    return {
        "stuck driver: period off by at most, %": (None, worst, "10"),
        "stuck driver: q is obeyed after, s": (None, answered, "0.2"),
    }


if __name__ == "__main__":
    main()
