"""What a look before a launch costs: `gpuops preflight` beside `nvitop -1` on the same mock driver.

    pip install nvitop        # in any environment; --nvitop PATH names it
    python benchmarks/preflight.py [--rounds 15] [--nvitop nvitop] [--json]

Eight simulated RTX 4090 with a process each. User + system time of the finished programs, their
children included, each once a round, in turn; compared by the median. The probe of the training
interpreter is cached before the first round, as it is on any host after the first launch. Beside
them a Typer program of two commands, which is where every command of gpuops begins.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from cli_start import PEER, cpu_s

MOCK = Path(__file__).parents[1] / "tests" / "mocknvml" / "mocknvml.py"
GOAL = 1.2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--nvitop", default="nvitop")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    spec = importlib.util.spec_from_file_location("mocknvml", MOCK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sleepers = [subprocess.Popen(["sleep", "600"]) for _ in range(8)]
    gpus = [f"proc gpu={i} pid={p.pid} mem=2048" for i, p in enumerate(sleepers)]
    with tempfile.TemporaryDirectory() as folder, module.MockNvml() as mock:
        mock.set(["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090", *gpus])
        os.environ.update({**mock.env, "XDG_CACHE_HOME": folder, "COLUMNS": "120"})
        del os.environ["MOCK_NVML_LOG"]
        peer = Path(folder, "peer.py")
        peer.write_text(PEER)
        gpuops = [
            sys.executable,
            "-m",
            "gpuops",
            "preflight",
            "--profile",
            "8x4090",
            "--python",
            sys.executable,
        ]
        commands = {
            "nvitop -1": [options.nvitop, "-1"],
            "gpuops preflight": [*gpuops],
            "gpuops preflight --json": [*gpuops, "--json"],
            "typer program": [sys.executable, str(peer), "hello", "--name", "you"],
        }
        try:
            times = {name: [] for name in commands}
            for round_ in range(options.rounds + 1):
                for name, command in commands.items():
                    spent = cpu_s(command, folder, ends=(0, 1))  # 1: torch has no CUDA here
                    if round_:  # the first fills caches
                        times[name].append(spent)
        finally:
            for sleeper in sleepers:
                sleeper.kill()
                sleeper.wait()
    medians = {name: statistics.median(values) for name, values in times.items()}
    ratios = {name: value / medians["nvitop -1"] for name, value in medians.items()}
    if options.json:
        print(json.dumps({"cpu_s": medians, "ratio": ratios, "goal": GOAL}, indent=2))
        return
    for name, value in medians.items():
        print(f"{name:26} {value * 1000:6.0f} ms  {ratios[name]:5.2f} x nvitop")
    print(f"goal for preflight: {GOAL} x")


if __name__ == "__main__":
    main()
