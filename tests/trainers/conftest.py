"""Trainers are tested on CPUs, on one thread; what several of their tests build lies here."""

from __future__ import annotations

import os

# Before torch looks for GPUs; the processes that act as ranks inherit it.
os.environ["CUDA_VISIBLE_DEVICES"] = ""

import pytest
import torch


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors are quickest on one thread, and the same on every machine."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
