"""A worker that beats: STEPS steps of STEP_S seconds; leaves at the next step when asked to."""

import os
import signal
import sys
import time

from gpuops import heartbeat

steps = int(os.environ.get("STEPS", "20"))
step_s = float(os.environ.get("STEP_S", "0.02"))
stopped: list[int] = []
signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))

for step in range(1, steps + 1):
    time.sleep(step_s)
    heartbeat.beat(step=step, total_steps=steps, loss=1.0 / step)
    if stopped:
        print(f"saved at step {step}", flush=True)
        sys.exit(0)
print("done", flush=True)
