"""A rank that is watched: it takes a step for each line that it is sent, and beats."""

import sys

from gpuops import heartbeat

for step, _ in enumerate(sys.stdin, start=1):
    heartbeat.beat(step=step, total_steps=1000, loss=1 / step, data_wait=0.25)
    print(step, flush=True)
