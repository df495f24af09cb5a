"""Rows 1 and 2: how soon a hang has a culprit, and whether it is the right one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

from jobs import Job, tried
from launchers import SETTLE_S, Launcher, Said

from gpuops.core.drill import FAULTS, judge_culprit, place_fault

HANGS = ("stop", "skip", "spin", "loader")
LIMIT_S = 60.0
KINDS = ("right", "unsure", "wrong", "silent")
GOAL_S, GOAL_RIGHT = 10.0, 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Hang:
    """One hang: ``verdict_s`` is from the last progress to the first word on who did it."""

    launcher: str
    fault: str
    seed: int
    struck: int
    verdict_s: float | None
    named: tuple[int, ...]
    sure: bool
    culprit: str


def hang(launcher: Launcher, fault: str, seed: int) -> Hang:
    """Let a job hang, and end it as soon as somebody is blamed."""
    done = place_fault(FAULTS[fault], seed)
    with Job(launcher, "drilled.py", "--steps=60", f"--fault={done.words[0]}") as job:
        job.must(lambda: job.fault(done), 120, "the fault")
        before = len(job.screen)  # whoever was blamed before is not blamed for this

        def word() -> Said | None:
            return launcher.first_word(job.screen[before:], job.events)

        found_s = job.until(word, LIMIT_S)
        if found_s is not None and launcher.name.startswith("ft"):
            time.sleep(SETTLE_S)
        said = word()
        blamed = [event["time"] for event in job.events if event["event"] == "diagnosis"]
        found_s = blamed[0] if blamed else found_s
        progress_s = job.steps[-1].at_s
    only = said.ranks[0] if said is not None and len(said.ranks) == 1 else None
    blame = judge_culprit({done.rank}, {"rank": only, "sure": said.sure}) if said else "silent"
    return Hang(
        launcher=launcher.name,
        fault=fault,
        seed=seed,
        struck=done.rank,
        verdict_s=None if said is None or found_s is None else found_s - progress_s,
        named=said.ranks if said else (),
        sure=said is not None and said.sure,
        culprit=blame,
    )


def measure(launchers: Sequence[Launcher], seeds: dict[str, int]) -> dict[str, Any]:
    """Every launcher in turn for each fault and seed, so that a busy hour is everybody's."""
    hangs: list[Hang] = []
    for seed in range(max(seeds.values())):
        for fault in HANGS:
            for launcher in launchers:
                if seed >= seeds[launcher.name]:
                    continue
                one = tried(partial(hang, launcher, fault, seed), launcher.name, fault, seed)
                hangs.append(one)
                after = "-" if one.verdict_s is None else f"{one.verdict_s:.1f} s"
                named = ", ".join(map(str, one.named)) or "nobody"
                print(
                    f"  {launcher.name:<21} {fault:<6} seed {seed:<2} rank {one.struck}: "
                    f"{after:>7}, names {named:<6} {'sure' if one.sure else 'unsure':<6} "
                    f"{one.culprit}",
                    flush=True,
                )
    _print(launchers, hangs)
    return {"hangs": [asdict(one) for one in hangs]}


def _print(launchers: Sequence[Launcher], hangs: Sequence[Hang]) -> None:
    print(f"\n1. Last progress to a verdict with culprit, median s (goal {GOAL_S:.0f})")
    print(f"{'':<10}" + "".join(f"{one.name:>22}" for one in launchers))
    for fault in HANGS:
        cells = []
        for launcher in launchers:
            times = [
                one.verdict_s
                for one in hangs
                if one.launcher == launcher.name and one.fault == fault and one.verdict_s
            ]
            shown = f"{statistics.median(times):.1f} (max {max(times):.1f})" if times else "none"
            cells.append(f"{shown:>22}")
        print(f"{fault:<10}" + "".join(cells))
    print("\n2. Culprit: right / wrong but said unsure / wrong and sure / nothing said")
    print(f"{'':<10}" + "".join(f"{one.name:>22}" for one in launchers))
    for fault in (*HANGS, "all"):
        cells = []
        for launcher in launchers:
            found = [
                one.culprit
                for one in hangs
                if one.launcher == launcher.name and fault in {one.fault, "all"}
            ]
            counts = " / ".join(str(found.count(kind)) for kind in KINDS)
            cells.append(f"{counts:>22}")
        print(f"{fault:<10}" + "".join(cells))
    ours = [one.culprit for one in hangs if one.launcher == "gpuops"]
    if ours:
        share, wrong = ours.count("right") / len(ours), ours.count("wrong")
        print(
            f"gpuops: {share:.0%} right (goal {GOAL_RIGHT:.0%}), {wrong} wrong and sure (goal 0)\n"
        )
