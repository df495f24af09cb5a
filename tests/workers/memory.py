"""A trainer whose GPU holds no more than FITS samples a pass; takes the flags of rvq."""

import os
import sys

from gpuops import heartbeat
from trainers.engine.config.config import resolve
from trainers.rvq.config import PRESETS, Config

loop = resolve(Config, sys.argv[1:], name="rvq", presets=PRESETS).loop
ranks = int(os.environ["WORLD_SIZE"])
step, passes = loop.samples_per_step(ranks), loop.accumulation(ranks)
print(f"{step} samples a step in {passes} passes", flush=True)
heartbeat.beat(step=1, total_steps=2, loss=1.0)
if step // (ranks * passes) > int(os.environ["FITS"]):
    raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
heartbeat.beat(step=2, total_steps=2, loss=1.0)
