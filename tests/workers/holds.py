"""A worker that marks the GPUs it was given; GPUs that are marked already make it fail.

HOLD: it keeps them until that file is there.
"""

import os
import sys
import time
from pathlib import Path

place = Path(os.environ["MARKS"])
gpus = [gpu for gpu in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if gpu]
if os.environ["RANK"] == "0":
    for gpu in gpus:
        try:
            (place / gpu).touch(exist_ok=False)
        except FileExistsError:
            sys.exit(f"{gpu} is shared")
    (place / f"order-{time.monotonic_ns()}").write_text(os.environ["GPUOPS_RUN_ID"])
    while "HOLD" in os.environ and not Path(os.environ["HOLD"]).exists():
        time.sleep(0.01)
    for gpu in gpus:
        (place / gpu).unlink()
print("held", *gpus, flush=True)
