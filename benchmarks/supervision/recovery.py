"""Rows 3 and 7: from a fault to the first new step, what was lost, and whether the bits are right.

Each launcher restarts by itself, told that standing still for 4 s is a hang where it can be told.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from jobs import POLL_S, Job, tried
from launchers import Launcher

from gpuops.core.drill import FAULTS, RANKS, Observed, Step, assess, place_fault

SUFFERED = ("kill", "exception", "agent", "stop", "skip", "spin")
LIMIT_S = 180.0
GOAL_COLD, GOAL_TORCHRUN = 1.25, 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recovery:
    """One fault; ``found_s`` of ``recovered_s`` went by before anything was done about it.

    ``begun_s``: until gpuops began the next attempt; what is left is a start like any other.
    """

    launcher: str
    fault: str
    seed: int
    cold_start_s: float
    found_s: float | None
    begun_s: float | None
    recovered_s: float | None
    restarts: int
    steps_lost: int | None
    same_weights: bool


def undisturbed(launcher: Launcher) -> tuple[tuple[str, ...], float]:
    """The weights that have to come out, and how long a cold start takes."""
    with Job(launcher, "drilled.py", "--steps=60") as job:
        job.must(lambda: len(_weights(job)) == RANKS, LIMIT_S, "the end")
        return _weights(job), job.steps[0].at_s - job.begun_s


def recovery(launcher: Launcher, fault: str, seed: int, weights: tuple[str, ...]) -> Recovery:
    """Harm a job, and let whoever started it do what it does."""
    done = place_fault(FAULTS[fault], seed)
    with Job(launcher, "drilled.py", "--steps=60", f"--fault={done.words[0]}") as job:
        job.must(lambda: job.fault(done), 120, "the fault")
        fault_s = (job.fault(done) or {})["time"]
        found_s = job.until(lambda: launcher.acted(job.screen, job.events), LIMIT_S)
        # An end is enough: ft_launcher lingers for seconds after the last step.
        job.until(lambda: len(_weights(job)) == RANKS, LIMIT_S)
        time.sleep(POLL_S)
        seen = Observed(
            exit_code=job.child.poll() or 0,
            fault_s=fault_s,
            steps=job.steps,
            events=job.events,
            weights=_weights(job),
            left=(),
            begun_s=job.begun_s,
            took_s=time.time() - job.begun_s,
        )
    row = assess(done, seen, weights)
    restarted = row.recovered_s is not None
    begun = [event["time"] for event in seen.events if event["event"] == "attempt_started"]
    return Recovery(
        launcher=launcher.name,
        fault=fault,
        seed=seed,
        cold_start_s=seen.cold_start_s or 0.0,
        found_s=found_s - fault_s if found_s is not None and restarted else None,
        begun_s=begun[1] - fault_s if len(begun) > 1 else None,
        recovered_s=row.recovered_s,
        restarts=_number(seen.steps[-1]) - _number(seen.steps[0]),
        steps_lost=row.steps_lost,
        same_weights=restarted and row.same_weights,
    )


def _number(step: Step) -> int:
    """Of the attempt that trained it."""
    return int(step.attempt.rpartition("-")[2])


def _weights(job: Job) -> tuple[str, ...]:
    found = (job.noted(path.stem) for path in sorted(job.notes.glob("final-*.json")))
    return tuple(one["sha256"] for one in found if one)


def measure(launchers: Sequence[Launcher], rounds: int) -> dict[str, Any]:
    """Each fault under each launcher in turn."""
    rows: list[Recovery] = []
    weights, cold = {}, {}
    for launcher in launchers:
        weights[launcher.name], cold_s = tried(
            partial(undisturbed, launcher), launcher.name, "undisturbed"
        )
        cold[launcher.name] = [cold_s]
        print(f"  {launcher.name:<21} undisturbed: first step after {cold_s:.1f} s", flush=True)
    for seed in range(rounds):
        for fault in SUFFERED:
            for launcher in launchers:
                measured = partial(recovery, launcher, fault, seed, weights[launcher.name])
                one = tried(measured, launcher.name, fault, seed)
                rows.append(one)
                cold[launcher.name].append(one.cold_start_s)
                print(f"  {launcher.name:<21} {fault:<10} {_sentence(one)}", flush=True)
    _print(launchers, rows, cold)
    return {"recoveries": [asdict(one) for one in rows], "cold_start_s": cold}


def _sentence(one: Recovery) -> str:
    if one.recovered_s is None:
        return "never trains again (its ranks may train on, as orphans)"
    found = "-" if one.found_s is None else f"{one.found_s:.1f}"
    bits = "bit-equal" if one.same_weights else "OTHER WEIGHTS"
    again = f", at the {one.restarts}th restart" if one.restarts != 1 else ""
    begun = "" if one.begun_s is None else f", {one.begun_s:.1f} until begun again"
    return (
        f"new step after {one.recovered_s:5.1f} s, {found} of them finding out{begun}; "
        f"{one.steps_lost} steps lost, {bits}{again}"
    )


def _print(
    launchers: Sequence[Launcher], rows: Sequence[Recovery], cold: dict[str, list[float]]
) -> None:
    def of(name: str, fault: str, figure: str) -> float | None:
        found = [getattr(o, figure) for o in rows if o.launcher == name and o.fault == fault]
        return None if not found or None in found else statistics.median(found)

    starts = {name: statistics.median(times) for name, times in cold.items()}
    print("\n3. Fault to first new step: median s (of which finding out)")
    print(f"{'':<12}" + "".join(f"{one.name:>22}" for one in launchers), end="")
    print(f"{'gpuops / cold start':>22}{'gpuops / torchrun':>20}")
    print(f"{'cold start':<12}" + "".join(f"{starts[one.name]:>22.1f}" for one in launchers))
    for fault in SUFFERED:
        cells = []
        for launcher in launchers:
            took = of(launcher.name, fault, "recovered_s")
            found = of(launcher.name, fault, "found_s")
            shown = "never" if took is None else f"{took:.1f} ({found or 0:.1f})"
            cells.append(f"{shown:>22}")
        ours, theirs = (of(name, fault, "recovered_s") for name in ("gpuops", "torchrun"))
        by_cold = f"{ours / starts['gpuops']:.2f}" if ours else "-"
        by_peer = f"{ours / theirs:.2f}" if ours and theirs else "-"
        print(f"{fault:<12}" + "".join(cells) + f"{by_cold:>22}{by_peer:>20}")
    print(f"goals: {GOAL_COLD} x cold start, {GOAL_TORCHRUN} x torchrun's own restart")
    print("\n7. Steps lost (each run); final weights bit-equal to the undisturbed run's")
    print(f"{'':<12}" + "".join(f"{one.name:>22}" for one in launchers))
    for fault in SUFFERED:
        cells = []
        for launcher in launchers:
            found = [o for o in rows if o.launcher == launcher.name and o.fault == fault]
            lost = ", ".join("-" if o.steps_lost is None else str(o.steps_lost) for o in found)
            same = f"{sum(o.same_weights for o in found)}/{len(found)} equal"
            cells.append(f"{f'{lost}; {same}':>22}")
        print(f"{fault:<12}" + "".join(cells))
    print()
