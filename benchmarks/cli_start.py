"""How much CPU time the command line takes to answer, beside a Typer program of two commands.

    python benchmarks/cli_start.py [--rounds 11] [--json]

Both sides are given one option, so that typer validates as much for both. Each round runs every
program once, in turn, so that a slow moment of the machine hits all of them; user + system time of
the finished processes is compared by the median.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

GOAL = 1.3
PEER = '''import typer
app = typer.Typer()
@app.command()
def hello(name: str = "you") -> None:
    """Say hello."""
    print(name)
@app.command()
def bye() -> None:
    """Say good-bye."""
    print("bye")
app()
'''


def cpu_s(command: list[str], cwd: str, ends: tuple[int, ...] = (0,)) -> float:
    """User and system seconds of one finished run, which ended with one of these exit codes."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    ended = subprocess.run(command, cwd=cwd, check=False, capture_output=True)
    if ended.returncode not in ends:
        sys.exit(f"{command[0]} failed: {ended.stderr.decode(errors='replace')}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--runs", default="runs", help="folder of runs to list")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    options.runs = str(Path(options.runs).absolute())
    with tempfile.TemporaryDirectory() as folder:
        peer = Path(folder, "peer.py")
        peer.write_text(PEER)
        gpuops = [sys.executable, "-c", "from gpuops.__main__ import main; main()"]
        commands = {
            "peer --help": [sys.executable, str(peer), "--help"],
            "peer hello": [sys.executable, str(peer), "hello", "--name", "you"],
            "gpuops --help": [*gpuops, "--help"],
            "gpuops runs list": [*gpuops, "runs", "list", "--runs-dir", options.runs],
            "gpuops runs list --json": [
                *gpuops,
                "runs",
                "list",
                "--json",
                "--runs-dir",
                options.runs,
            ],
        }
        for command in commands.values():  # warm the page cache and the .pyc files
            cpu_s(command, folder)
        times = {name: [] for name in commands}
        for _ in range(options.rounds):
            for name, command in commands.items():
                times[name].append(cpu_s(command, folder))
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {
        "gpuops --help / peer --help": medians["gpuops --help"] / medians["peer --help"],
        "gpuops runs list / peer hello": medians["gpuops runs list"] / medians["peer hello"],
        "gpuops runs list --json / peer hello": medians["gpuops runs list --json"]
        / medians["peer hello"],
    }
    if options.json:
        print(json.dumps({"cpu_s": medians, "ratios": ratios, "goal": GOAL}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:<30} {value * 1000:7.1f} ms CPU (median of {options.rounds})")
    for name, value in ratios.items():
        print(f"{name:<30} {value:7.2f} x (goal <= {GOAL})")


if __name__ == "__main__":
    main()
