"""A hundred random faults over a few long jobs: is a run ever lost, or a bit of its weights?

    python benchmarks/chaos.py [--runs 5] [--faults 20] [--seed 0] [--only FAULT]...
                               [--dry-run] [--json] [--keep FOLDER] [--report docs/chaos.md]

The job and the faults are those of `gpuops drill`. Here many happen to the same run, at random
moments: while it trains, starts, restarts or is stopped, and two at once. All runs have simulated
GPUs, so that they have claims to lose. The exit code is 1 if anything is not as it must be.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chaos_account import Account, Left, account
from chaos_page import page
from chaos_run import Person
from chaos_schedule import Strike, schedule, steps_for

from gpuops.core.drill import FAULTS, hang_timeout_s, select_faults, trained_beside
from gpuops.drill.drill import run_undisturbed
from gpuops.drill.scene import Scene, Site, leaving_in_order, temporary_folder
from gpuops.system.runs import events, records


def disturbed(site: Site, name: str, strikes: Sequence[Strike], weights: Sequence[str]) -> Account:
    """One run, from its launch to its end."""
    begun_s = time.time()
    with Scene(site, name, gpus=True) as scene:
        person = Person(scene, strikes)
        person.see_through()
        root = scene.root
        marks = {strike.word: scene.mark(strike.word) for strike in strikes}
        left = Left(
            marks={word: mark for word, mark in marks.items() if mark is not None},
            begun=[
                attempt.number
                for attempt in (records.attempts(root) if root is not None else ())
                if attempt.started_at is not None
            ],
            events=events.read(root) if root is not None else (),
            steps=scene.steps(),
        )
        wrong = [person.lost, *(typed.wrong for typed in person.typed)]
        wrong += [*scene.wrong, *trained_beside(left.steps)]
        if scene.weights() != tuple(weights):
            wrong.append("the final weights are not those of the undisturbed run")
        wrong += [f"left behind: {thing}" for thing in scene.left()]
        return account(
            strikes,
            left,
            typed=[typed.words for typed in person.typed],
            wrong=[one for one in wrong if one],
            took_s=time.time() - begun_s,
        )


def main() -> int:
    options = _options()
    names = [fault.name for fault in select_faults(options.only)]
    seeds = [f"{options.seed} {number}" for number in range(1, options.runs + 1)]
    schedules = [schedule(seed, options.faults, names) for seed in seeds]
    if options.dry_run:
        for number, strikes in enumerate(schedules, start=1):
            for strike in strikes:
                print(f"run {number}: {strike.word} + {strike.delay_s:g} s")
        return 0
    begun_s = time.time()
    with _folder(options.keep) as folder:
        site = Site(
            folder=folder, python=sys.executable, seed=options.seed, steps=steps_for(schedules)
        )
        reference = run_undisturbed(site)
        slow = hang_timeout_s(reference.cold_start_s)
        site = dataclasses.replace(site, hang_timeout_s=slow)
        accounts = []
        for number, strikes in enumerate(schedules, start=1):
            accounts.append(disturbed(site, f"run-{number}", strikes, reference.weights))
            print(_line(number, accounts[-1]), file=sys.stderr, flush=True)
            for wrong in accounts[-1].wrong:
                print(f"  {wrong}", file=sys.stderr, flush=True)
            if options.report is not None:  # a campaign that is cut short has a page too
                text = page(accounts, site, reference.cold_start_s, begun_s)
                options.report.write_text(text)
    if options.json:
        print(json.dumps([dataclasses.asdict(one) for one in accounts], indent=2))
    return int(any(one.wrong for one in accounts))


def _line(number: int, found: Account) -> str:
    wrong = f"{len(found.wrong)} wrong" if found.wrong else "all as it must be"
    return (
        f"run {number}: {len(found.fates)} faults, {found.attempts} attempts, "
        f"{len(found.typed)} commands, {found.took_s:.0f} s: {wrong}"
    )


@contextlib.contextmanager
def _folder(keep: Path | None) -> Iterator[Path]:
    """The folder of the runs: removed at the end unless it is to be kept."""
    if keep is not None:
        keep.mkdir(parents=True)
        with leaving_in_order():
            yield keep.absolute()
        return
    with temporary_folder("gpuops-chaos-") as folder:
        yield folder


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--faults", type=int, default=20, help="of each run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", action="append", default=[], choices=FAULTS, metavar="FAULT")
    parser.add_argument("--dry-run", action="store_true", help="print the schedule")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="leave the runs' folder there")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
