"""A stand-in for torchrun without torch: its arguments, log folders, signals and exit codes."""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

parser = argparse.ArgumentParser()
parser.add_argument("--nnodes")
parser.add_argument("--nproc-per-node", type=int)
parser.add_argument("--max-restarts")
parser.add_argument("--master-addr")
parser.add_argument("--master-port")
parser.add_argument("--rdzv-id")
parser.add_argument("--log-dir")
parser.add_argument("--redirects")
parser.add_argument("-m", dest="module", action="store_true")
parser.add_argument("entry")
parser.add_argument("arguments", nargs=argparse.REMAINDER)
options = parser.parse_args()

if os.environ.get("FAULT") == "port":
    sys.exit("DistNetworkError: The server socket has failed to listen: EADDRINUSE")
base = Path(tempfile.mkdtemp(prefix=f"{options.rdzv_id}_", dir=options.log_dir)) / "attempt_0"
workers = []
for rank in range(options.nproc_per_node):
    logs = base / str(rank)
    logs.mkdir(parents=True)
    command = [sys.executable, *(["-m"] if options.module else []), options.entry]
    environment = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": options.nproc_per_node}
    with (logs / "stdout.log").open("wb") as out, (logs / "stderr.log").open("wb") as err:
        workers.append(
            subprocess.Popen(
                [*command, *options.arguments],
                env={**os.environ, **{key: str(value) for key, value in environment.items()}},
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        )


def end(number):
    for worker in workers:
        if worker.poll() is None:
            worker.send_signal(number)
    for worker in workers:
        worker.wait()


def terminated(number, _frame):
    end(number)
    sys.exit(1)


signal.signal(signal.SIGTERM, terminated)
left = True
while left:
    left = any(worker.poll() is None for worker in workers)
    for rank, worker in enumerate(workers):
        if worker.poll():
            print("Root Cause (first observed failure):\n[0]:", flush=True)
            print(f"  rank      : {rank} (local_rank: {rank})\n  exitcode  : {worker.returncode}")
            end(signal.SIGTERM)
            sys.exit(1)
    time.sleep(0.01)
