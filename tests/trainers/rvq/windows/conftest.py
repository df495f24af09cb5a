"""A data set, the settings to cut it into windows, and a cache of them."""

from __future__ import annotations

import pytest
from motion_data import write_data
from window_caches import built

from trainers.rvq.config import DatasetConfig
from trainers.rvq.windows import cache_file


@pytest.fixture(name="root")
def _root(tmp_path):
    return write_data(tmp_path / "data", {"train": [40, 10, 33, 70], "val": [21, 8]})


@pytest.fixture(name="config")
def _config(root):
    return DatasetConfig(
        data=str(root), window_size=16, window_stride=8, multi_length_training=(0.5, 1.0, 1.5)
    )


@pytest.fixture(name="path")
def _path(root, config, tmp_path):
    """A cache of the training split."""
    path = tmp_path / "caches" / "train.npz"
    cache_file.write(built(root, config), path)
    return path
