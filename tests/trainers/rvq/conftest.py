"""Makes the builders importable, here and in the processes that act as ranks."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are quickest on one thread, and the same on every machine."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
