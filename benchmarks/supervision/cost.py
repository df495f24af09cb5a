"""Rows 4, 5 and 6: what supervision costs a job that has nothing."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from jobs import Job, tried
from launchers import Launcher

from gpuops.system import files

TICK_S = 1 / os.sysconf("SC_CLK_TCK")
MIB = 1024**2
RANKS = 8
GOAL_CORE, GOAL_MIB, GOAL_SPEED = 0.5, 60, 0.995


# ----------------------------------------------------------------------------------- false alarms


def calm(launcher: Launcher, steps: int) -> dict[str, Any]:
    """A real job of some minutes that does all that healthy jobs do; nobody may end it."""
    with Job(launcher, "paced.py", f"--steps={steps}", "calm") as job:
        code = job.child.wait()
        events, took_s = job.events, time.time() - job.begun_s
    counts = {
        name: sum(event["event"] == name for event in events)
        for name in ("attempt_started", "diagnosis", "action")
    }
    restarts = counts["attempt_started"] - 1
    print(
        f"\n4. {steps} steps of 0.02 s with a slow warm-up, evaluations of 200 steps, saves of "
        f"100, one step in 1,000 lasting 30: {took_s:.0f} s, exit code {code}, {restarts} restarts "
        f"(goal 0), {counts['diagnosis']} suspicions\n",
        flush=True,
    )
    return {"calm": {"steps": steps, "took_s": took_s, "exit_code": code, **counts}}


# ------------------------------------------------------------------------------------------- cost


def supervising(launcher: Launcher, seconds: float) -> dict[str, Any]:
    """CPU and memory of all that runs beside eight ranks which do nothing but beat."""
    with Job(launcher, "paced.py", f"--seconds={seconds}", "beat", ranks=RANKS) as job:
        job.must(lambda: len(list(job.notes.glob("pid-*.json"))) == RANKS, 180, "the ranks")
        time.sleep(5)  # what is only done at the start
        ranks = {(job.noted(f"pid-{rank}") or {}).get("pid") for rank in range(RANKS)}
        agent = _agent(job)
        roles = {
            process.pid: "torchrun" if process.pid == agent else _role(job, process.pid)
            for process in job.processes()
            if process.pid not in ranks
        }
        before, begin_s = {pid: _cpu_s(pid) for pid in roles}, time.monotonic()
        time.sleep(seconds)
        took_s = time.monotonic() - begin_s
        rows = [
            {
                "role": role,
                "core_percent": 100 * (_cpu_s(pid) - before[pid]) / took_s,
                **_memory_mib(pid),
            }
            for pid, role in roles.items()
        ]
    return {"launcher": launcher.name, "seconds": took_s, "processes": rows}


def _agent(job: Job) -> int | None:
    """torchrun, where gpuops started it: its cost is not supervision's."""
    record = next(job.runs.glob("*/state/attempt-1/process.json"), None)
    return (files.read_json(record) or {})["agent"]["pid"] if record else None


def _role(job: Job, pid: int) -> str:
    if pid != job.child.pid:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        return "reaper" if b"reaper.py" in command else "monitor"
    return {"torchrun": "torchrun", "gpuops": "supervisor"}.get(job.launcher.name, "ft_launcher")


def _cpu_s(pid: int) -> float:
    """Of a process, and of the children it has waited for, but torchrun's, which lasts."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15]) * TICK_S


def _memory_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    sizes = {line.split(":")[0]: int(line.split()[1]) / 1024 for line in lines}
    return {"rss_mib": sizes["Rss"], "pss_mib": sizes["Pss"]}


def costs(launchers: Sequence[Launcher], seconds: float) -> dict[str, Any]:
    """The figures of each launcher, side by side."""
    rows = [tried(partial(supervising, one, seconds), one.name, "cost") for one in launchers]
    print(
        f"\n5. Beside {RANKS} ranks that beat every 0.1 s, without torch, over {seconds:.0f} s "
        f"(goals {GOAL_CORE} % of a core, {GOAL_MIB} MiB)"
    )
    print(f"{'':<22}{'process':<14}{'% of a core':>12}{'RSS MiB':>10}{'PSS MiB':>10}")
    for row in rows:
        found = row["processes"]
        for role in dict.fromkeys(one["role"] for one in found):
            of = [one for one in found if one["role"] == role]
            name = role if len(of) == 1 else f"{len(of)} x {role}"
            sums = [sum(one[key] for one in of) for key in ("core_percent", "rss_mib", "pss_mib")]
            print(
                f"{row['launcher']:<22}{name:<14}{sums[0]:>12.2f}{sums[1]:>10.1f}{sums[2]:>10.1f}"
            )
        ours = [one for one in found if one["role"] in {"supervisor", "reaper"}]
        if ours:
            sums = [sum(one[key] for one in ours) for key in ("core_percent", "rss_mib", "pss_mib")]
            print(f"{'':<22}{'both':<14}{sums[0]:>12.2f}{sums[1]:>10.1f}{sums[2]:>10.1f}")
    print(flush=True)
    return {"costs": rows}


# ------------------------------------------------------------------------------------------ speed


def speed(launcher: Launcher, seconds: float) -> float:
    """Steps a second, by the job's own watch."""
    with Job(launcher, "paced.py", f"--seconds={seconds}", "compute") as job:
        job.must(lambda: job.noted("pace-0"), seconds + 120, "the pace")
        pace = job.noted("pace-0") or {}
        return pace["steps"] / pace["took_s"]


def speeds(launchers: Sequence[Launcher], rounds: int, seconds: float) -> dict[str, Any]:
    """In turn, each round beginning with another, so that nobody always comes after somebody."""
    found: dict[str, list[float]] = {one.name: [] for one in launchers}
    print(f"\n6. Training speed: two ranks that keep both cores busy, {seconds:.0f} s each")
    for number in range(rounds):
        shift = number % len(launchers)
        for launcher in (*launchers[shift:], *launchers[:shift]):
            found[launcher.name].append(
                tried(partial(speed, launcher, seconds), launcher.name, "speed")
            )
        shown = ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items())
        print(f"  round {number + 1}, steps/s: {shown}", flush=True)
    ratios = {}
    bare = found.pop("torchrun")
    for name, values in found.items():
        pairs = [ours / theirs for ours, theirs in zip(values, bare, strict=True)]
        ratios[name] = statistics.median(pairs)
        print(
            f"{name} / torchrun: median {ratios[name]:.4f} of {rounds} pairs, "
            f"{min(pairs):.4f} to {max(pairs):.4f} (goal {GOAL_SPEED})"
        )
    print(flush=True)
    return {"speed": {"steps_per_s": {"torchrun": bare, **found}, "ratio": ratios}}
