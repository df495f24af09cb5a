"""A worker that beats and keeps checkpoints, and on whose way things happen, once each.

FAULTS: ``RANK:STEP:WHAT`` words; WHAT is kill, stop, raise, spin, sleep, or
pause-kill, which waits for MARKS/go. Only if MARKS/<word> is
not there yet: the next attempt passes by, and goes on from the newest checkpoint.
"""

import os
import signal
import sys
import time
from pathlib import Path

from gpuops import heartbeat

rank, steps = int(os.environ["RANK"]), int(os.environ.get("STEPS", "30"))
marks, kept = Path(os.environ["MARKS"]), Path(os.environ["MARKS"], "checkpoints")
attempt = Path(os.environ["GPUOPS_BEAT_DIR"]).parent.name
asked = []
signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
kept.mkdir(exist_ok=True)
done = [int(path.name.rpartition("-")[2]) for path in kept.glob("step-*")]
print("begins after step", max(done, default=0), flush=True)


def happens(word, what):
    if what != "raise-always":
        (marks / word.replace(":", "-")).touch()
    while what == "pause-kill" and not (marks / "go").exists():
        time.sleep(0.002)
    if what.endswith("kill"):
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    if what.startswith("raise"):
        raise ValueError("the data is of no use")
    while what == "spin":
        pass
    while what == "sleep":
        time.sleep(0.01)


for step in range(max(done, default=0) + 1, steps + 1):
    time.sleep(0.02)
    for word in os.environ.get("FAULTS", "").split():
        who, when, what = word.split(":")
        if (int(who), int(when)) == (rank, step) and not (marks / word.replace(":", "-")).exists():
            happens(word, what)
    (marks / f"at-{rank}-{attempt}-{step}").touch()
    alone = os.environ["WORLD_SIZE"] == "1"
    while not (asked or alone) and not (marks / f"at-{1 - rank}-{attempt}-{step}").exists():
        time.sleep(0.002)  # as in a collective: no rank is ahead of the other
    heartbeat.beat(step=step, total_steps=steps, loss=1.0 / step)
    if rank == 0 and step % 10 == 0:
        (kept / f"step-{step:08d}").mkdir(exist_ok=True)
    if asked:
        print("saved at step", step, flush=True)
        sys.exit(0)
print("done", flush=True)
