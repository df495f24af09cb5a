"""What the watch says of simulated jobs: of healthy ones nothing, of hung ones how soon.

    python benchmarks/hang_alarms.py [--steps 1000000] [--seeds 20] [--seed 0] [--json]

The jobs are those of tests/core/hang_jobs.py and hang_faults.py. Healthy ones are short, so that
each first evaluation, first save and first long step is met anew thousands of times. Hung ones are
watched until they count as hung. Exits with 1 where a healthy job would have been ended, or a hang
was suspected later than max(10 s, 20 usual steps).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import random
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from gpuops import reaper
from gpuops.core.hang.detector import HangPolicy, assess
from gpuops.core.hang.observation import HangState, update_state
from gpuops.system.processes import vitals
from gpuops.system.processes.identity import Identity

sys.path.append(str(Path(__file__).parents[1] / "tests" / "core"))

from hang_faults import FAULTS, prey, struck
from hang_jobs import LOOK_S, World, healthy, watched

GOAL_S, GOAL_STEPS = 10.0, 20


def cost_us(ranks: int = 8, looks: int = 4000) -> tuple[float, float]:
    """Microseconds for a look and for a judgement of a job of many ranks that moves."""
    world = World(ranks=ranks)
    seen = []
    for n in range(looks):
        world.passes(LOOK_S, (1.0,))
        world.beat(5 * n, "train")
        seen.append(world.observed())
    watch, looked, assessed = HangState(), [], []
    for observation in seen:
        begin = time.perf_counter_ns()
        watch = update_state(watch, observation)
        between = time.perf_counter_ns()
        assess(watch, HangPolicy())
        looked.append(between - begin)
        assessed.append(time.perf_counter_ns() - between)
    return statistics.median(looked) / 1000, statistics.median(assessed) / 1000


def vitals_us(ranks: int = 8, threads: int = 120, reads: int = 400) -> float:
    """Microseconds of CPU for one reading of real processes with many threads."""
    program = (
        "import threading, time\n"
        f"for _ in range({threads}):\n"
        "    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()\n"
        "print(flush=True); input()"
    )
    with contextlib.ExitStack() as started:
        found = []
        for rank in range(ranks):
            child = started.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE
                )
            )
            started.callback(child.kill)
            assert child.stdout is not None
            child.stdout.readline()
            found.append((rank, Identity(**(reaper.identity(child.pid) or {}))))
        begin = time.process_time()
        for _ in range(reads):
            vitals.read(found)
        return (time.process_time() - begin) / reads * 1e6


def alarms(steps: int, seed: int) -> list[dict[str, Any]]:
    """The first table: what was said of healthy jobs."""
    rows = []
    for scenario in healthy():
        tally = watched(scenario, round(steps * scenario.share), seed)
        rows.append(
            {
                "scenario": scenario.name,
                "steps": tally.steps,
                "looks": tally.looks,
                "suspicions": tally.suspicions,
                "hung": len(tally.hung),
                "first": tally.hung[:1],
            }
        )
    return rows


def delays(seeds: int, seed: int) -> list[dict[str, Any]]:
    """The second table: the longest times from the last progress, over all seeds."""
    rows = []
    for victim in prey():
        for fault in FAULTS:
            times = [
                struck(victim, fault, random.Random(f"{seed} {victim.name} {fault.name} {n}"))  # noqa: S311
                for n in range(seeds)
            ]
            suspect, hung = ([pair[i] for pair in times] for i in (0, 1))
            rows.append(
                {
                    "job": victim.name,
                    "fault": fault.name,
                    "suspect_s": None if None in suspect else max(suspect),
                    "goal_s": max(GOAL_S, GOAL_STEPS * victim.job.step_s(1))
                    if victim.soon
                    else None,
                    "hung_s": None if None in hung else max(hung),
                }
            )
    return rows


def late(row: dict[str, Any]) -> bool:
    """Whether a hang was suspected too late, or never."""
    return row["suspect_s"] is None or row["suspect_s"] > (row["goal_s"] or math.inf)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1_000_000, help="of all healthy jobs")
    parser.add_argument("--seeds", type=int, default=20, help="hangs of each kind")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    calm, struck_rows = alarms(options.steps, options.seed), delays(options.seeds, options.seed)
    look_us, judge_us = cost_us()
    cost = {"look_us": look_us, "judge_us": judge_us, "vitals_us": vitals_us()}
    if options.json:
        print(json.dumps({"healthy": calm, "hung": struck_rows, "cost": cost}, indent=2))
    else:
        print(f"{'healthy jobs':<48} {'steps':>8} {'suspicions':>10} {'hung':>5}")
        for row in calm:
            print(
                f"{row['scenario']:<48} {row['steps']:>8} {row['suspicions']:>10} {row['hung']:>5}",
                *row["first"],
            )
        total = [sum(row[name] for row in calm) for name in ("steps", "suspicions", "hung")]
        print(f"{'all':<48} {total[0]:>8} {total[1]:>10} {total[2]:>5}")
        head = "hung jobs: the longest of all seeds"
        print(f"\n{head:<54} {'suspect s':>9} {'goal':>6} {'hung s':>8}")
        for row in struck_rows:
            figures = [row["suspect_s"], row["goal_s"], row["hung_s"]]
            shown = ["-" if figure is None else f"{figure:.0f}" for figure in figures]
            print(f"{row['job']:<29} {row['fault']:<24} {shown[0]:>9} {shown[1]:>6} {shown[2]:>8}")
        print(
            f"\n8 ranks: look {look_us:.0f} us, assess {judge_us:.0f} us, vitals "
            f"{cost['vitals_us']:.0f} us of CPU; twice a second "
            f"{2 * sum(cost.values()) / 1e4:.3f} % of a core"
        )
    sys.exit(any(row["hung"] for row in calm) or any(late(row) for row in struck_rows))


if __name__ == "__main__":
    main()
