"""A worker that marks the cards it was given; cards that are marked already make it fail.

HOLD: it keeps them until that file is there.
"""

import os
import sys
import time
from pathlib import Path

place = Path(os.environ["MARKS"])
cards = [card for card in os.environ["CUDA_VISIBLE_DEVICES"].split(",") if card]
if os.environ["RANK"] == "0":
    for card in cards:
        try:
            (place / card).touch(exist_ok=False)
        except FileExistsError:
            sys.exit(f"{card} is shared")
    (place / f"order-{time.monotonic_ns()}").write_text(os.environ["GPUOPS_RUN_ID"])
    while "HOLD" in os.environ and not Path(os.environ["HOLD"]).exists():
        time.sleep(0.01)
    for card in cards:
        (place / card).unlink()
print("held", *cards, flush=True)
