"""gpuops' supervision beside torchrun's own restarts and NVIDIA's ft_launcher, in one run.

    pip install nvidia-resiliency-ext        # in an environment of its own, with the same torch
    python benchmarks/supervision [--rows 1 2 3 4 5 6 7] [--seeds 20] [--peer-seeds 5]
        [--rounds 3] [--ft-launcher ENVIRONMENT] [--json FILE]

Two gloo ranks on the CPU, steps of 0.1 s, the job and the faults of `gpuops drill`. torchrun gets
--max-restarts 3, the variable without which its restarts hang, and a collective timeout of 10 s,
without which hangs would last half an hour. ft_launcher's ranks call its client: a heartbeat each
step, or a section around each collective. Rows 1 and 2 are measured together, and so are 3 and 7.
False alarms in a million simulated steps: benchmarks/hang_alarms.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cost
import hangs
import recovery
from jobs import leave_in_order
from launchers import (
    COLLECTIVE_S,
    QUICK_S,
    Launcher,
    ft_defaults,
    ft_launcher,
    gpuops,
    torchrun,
)

NEVER_S = 3600
SUSPECT_S = 5  # gpuops' own default, and so ft_launcher's in rows 1 and 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="+", default=list(range(1, 8)), metavar="ROW")
    parser.add_argument("--seeds", type=int, default=20, help="of each hang under gpuops")
    parser.add_argument("--peer-seeds", type=int, default=5, help="of each hang under the others")
    parser.add_argument("--rounds", type=int, default=3, help="of each fault of row 3")
    parser.add_argument("--pairs", type=int, default=6, help="of runs of row 6")
    parser.add_argument("--steps", type=int, default=8000, help="of the calm job of row 4")
    parser.add_argument("--seconds", type=float, default=60, help="of row 5; a third in row 6")
    parser.add_argument(
        "--only", nargs="+", default=[""], help="launchers by the beginning of their names"
    )
    parser.add_argument("--ft-launcher", type=Path, help="an environment that has it")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    leave_in_order()
    ft = ft_defaults(_python(options)) if options.ft_launcher else None
    found: dict[str, Any] = {"machine": _machine(), "ft_launcher": ft}
    print(f"{found['machine']}\nft_launcher: {ft or 'not given'}")
    print(f"torchrun alone: --max-restarts 3, collectives raise after {COLLECTIVE_S} s\n")
    for numbers, measure in MEASURES:
        if numbers & set(options.rows):
            found |= measure(options)
        if options.json:  # as far as it has come
            options.json.write_text(json.dumps(found, indent=2) + "\n")


def _hanging(options: argparse.Namespace) -> dict[str, Any]:
    launchers = _launchers(options, SUSPECT_S)
    seeds = {one.name: min(options.seeds, options.peer_seeds) for one in launchers}
    return hangs.measure(launchers, {**seeds, "gpuops": options.seeds})


def _recovering(options: argparse.Namespace) -> dict[str, Any]:
    launchers = _launchers(options, QUICK_S, f"--hang-timeout={QUICK_S}s")
    return recovery.measure(launchers, options.rounds)


def _calm(options: argparse.Namespace) -> dict[str, Any]:
    return cost.calm(gpuops(), options.steps)


def _costing(options: argparse.Namespace) -> dict[str, Any]:
    return cost.costs(_launchers(options, NEVER_S, sections=False), options.seconds)


def _racing(options: argparse.Namespace) -> dict[str, Any]:
    launchers = _launchers(options, NEVER_S, sections=False)
    return cost.speeds(launchers, options.pairs, options.seconds / 3)


MEASURES = (
    ({1, 2}, _hanging),
    ({3, 7}, _recovering),
    ({4}, _calm),
    ({5}, _costing),
    ({6}, _racing),
)


def _launchers(
    options: argparse.Namespace, timeout_s: float, *own: str, sections: bool = True
) -> list[Launcher]:
    """All that are to be measured; the timeout is ft_launcher's, ``own`` are gpuops' options."""
    ways = (False, True) if sections else (False,)
    peers = [ft_launcher(_python(options), timeout_s, sections=way) for way in ways]
    found = [torchrun(), *(peers if options.ft_launcher else ()), gpuops(*own)]
    return [one for one in found if one.name.startswith(tuple(options.only))]


def _python(options: argparse.Namespace) -> str:
    return str(options.ft_launcher and options.ft_launcher / "bin" / "python")


def _machine() -> str:
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        cwd=Path(__file__).parent,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    load = os.getloadavg()[0]
    return (
        f"gpuops at {commit or '?'}, Python {platform.python_version()}, torch {version('torch')}, "
        f"{os.cpu_count()} cores, load {load:.1f} at the start"
    )


if __name__ == "__main__":
    sys.exit(main())
