"""Jobs whose pace is the point: ``calm``, ``compute`` and ``beat``. No faults, no checkpoints.

``beat`` needs no torch, so that eight ranks of it leave two cores alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from gpuops import heartbeat

CALM_STEP_S = 0.02
WARM_UP = 20
MATMULS, WIDTH = 14, 512  # about a tenth of a second of one core


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--home", type=Path)
    parser.add_argument("--notes", type=Path)
    parser.add_argument("--collective-timeout")
    parser.add_argument("--tell-ft")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=0.0)
    parser.add_argument("kind", choices=("calm", "compute", "beat"))
    options = parser.parse_args()
    rank, beat = os.environ["RANK"], _beating(options.tell_ft)
    (options.notes / f"pid-{rank}.json").write_text(json.dumps({"pid": os.getpid()}))
    if options.kind == "beat":
        for step in _steps(options.seconds):
            beat(step=step, loss=0.5)
            time.sleep(0.1)
        return
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=600))
    if options.kind == "calm":
        _calm(options.steps, lambda: dist.all_reduce(torch.ones(64)))
    else:
        a, b = torch.randn(WIDTH, WIDTH), torch.randn(WIDTH, WIDTH)
        times = []
        for step in _steps(options.seconds):
            for _ in range(MATMULS):
                torch.mm(a, b)
            done = torch.tensor([step])
            dist.all_reduce(done)
            beat(step=step, loss=0.5)
            times.append(time.perf_counter())
            # All stop at the same step: rank 0 has the watch.
            last = torch.tensor([time.perf_counter() - times[0] > options.seconds])
            dist.broadcast(last, 0)
            if last.item():
                break
        _note(options.notes, rank, {"steps": len(times) - 1, "took_s": times[-1] - times[0]})
    dist.destroy_process_group()


def _beating(ft: str | None) -> Callable[..., None]:
    """How to say where one is: to gpuops, and to ft_launcher where that is who asks."""
    if not ft:
        return heartbeat.beat
    from nvidia_resiliency_ext.fault_tolerance import RankMonitorClient

    client = RankMonitorClient()
    client.init_workload_monitoring()
    return lambda **_said: client.send_heartbeat()


def _steps(seconds: float) -> Iterator[int]:
    """Numbers, for a minute longer: whoever measures ends this, and not this the measuring."""
    end_s = time.monotonic() + seconds + 60
    for step in itertools.count():
        if time.monotonic() > end_s:
            return
        yield step


def _calm(steps: int, collective: Callable[[], object]) -> None:
    """What healthy jobs do at times: start slowly, evaluate and save for long, take long steps.

    In its first half it does not say what it does; in the second it says its phases.
    """
    for step in range(1, steps + 1):
        long = 50 if step <= WARM_UP else 30 if step % 1000 == 700 else 1
        time.sleep(long * CALM_STEP_S)
        collective()
        heartbeat.beat(step=step, total_steps=steps)
        for every, phase, lasts in ((500, "evaluate", 200), (1000, "save", 100)):
            if step % every == 0:
                if step > steps / 2:
                    heartbeat.beat(step=step, total_steps=steps, phase=phase)
                time.sleep(lasts * CALM_STEP_S)
                collective()
    heartbeat.beat(step=steps, total_steps=steps, phase="done")


def _note(notes: Path, rank: str, value: object) -> None:
    temporary = notes / f".pace-{rank}"
    temporary.write_text(json.dumps(value))
    temporary.replace(notes / f"pace-{rank}.json")


if __name__ == "__main__":
    main()
