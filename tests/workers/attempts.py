"""A rank of a run of two attempts: the first stands until it is ended, the second finishes.

The processes of the first leave their pids in MARKS; the second marks there whether one of them
lives BESIDE it. HELPER: rank 0 has a child without its environment, in a session of its own.
FAULT=ignore: SIGTERM ends nothing. GO: the first finishes as well once that file is there.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from gpuops import heartbeat

marks, rank = Path(os.environ["MARKS"]), os.environ["RANK"]


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


if Path(os.environ["GPUOPS_BEAT_DIR"]).parent.name != "attempt-1":
    if any(lives(mark.name.removeprefix("pid-")) for mark in marks.glob("pid-*")):
        (marks / "BESIDE").touch()
    heartbeat.beat(step=2, total_steps=2)
    sys.exit()
if os.environ.get("FAULT") == "ignore":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
if "HELPER" in os.environ and rank == "0":
    helper = subprocess.Popen(["sleep", "600"], env={}, start_new_session=True)
    (marks / f"pid-{helper.pid}").touch()
heartbeat.beat(step=1, total_steps=2)
(marks / f"pid-{os.getpid()}").touch()
while not Path(os.environ.get("GO", "/none")).exists():
    time.sleep(0.05)
