"""Trainers are tested on CPUs, wherever that is, and what they save is compared here."""

from __future__ import annotations

import os
import sys
from pathlib import Path

# Before torch looks for GPUs; the processes that act as ranks inherit it.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

sys.path.insert(0, str(Path(__file__).parent))
