"""A worker that beats STEPS times and leaves at the next step when it is asked to.

FAULT=ignore: does not leave. FAULT=crash: rank 1 raises at step 3. FAULT=silent: never beats.
FAULT=unsaved: raises where it should save.
"""

import os
import signal
import sys
import time

from gpuops import heartbeat

steps, fault = int(os.environ.get("STEPS", "20")), os.environ.get("FAULT")
asked = []
signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
print("begins", *sys.argv[1:], flush=True)
for step in range(1, steps + 1):
    time.sleep(0.01)
    if fault != "silent":
        heartbeat.beat(step=step, total_steps=steps, loss=1.0 / step)
    if fault == "crash" and step == 3 and os.environ["RANK"] == "1":
        raise ValueError("the data is of no use")
    if asked and fault == "unsaved":
        raise OSError("no space left to save on")
    if asked and fault != "ignore":
        print(f"saved at step {step}", flush=True)
        sys.exit(0)
print("done", flush=True)
