"""NumPy files that end too early are found by their heads."""

from __future__ import annotations

import numpy as np
import pytest

from gpuops.system.trainers import npy_files


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((300, 156), np.float32),
        np.zeros((), np.float64),
        np.zeros((0, 3), np.int16),
        np.asfortranarray(np.ones((4, 5), np.complex64)),
        np.array([True]),
        np.array(["text"]),
        np.zeros(3, [("a", "f4"), ("b", "i8")]),
    ],
)
@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_what_numpy_writes_is_whole(tmp_path, array, version):
    """Whatever its form and the version of the format."""
    with (tmp_path / "a.npy").open("wb") as file:
        np.lib.format.write_array(file, array, version)

    assert npy_files.cut_off(str(tmp_path / "a.npy")) is None


@pytest.mark.parametrize("version", [(1, 0), (2, 0)])
@pytest.mark.parametrize("size", [6, 9, 11, 40, 127, 128, 200, 187_327])
def test_one_that_ends_too_early_is_named_with_its_length(tmp_path, size, version):
    """In its data or in its head."""
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        np.lib.format.write_array(file, np.zeros((300, 156), np.float32), version)
    path.write_bytes(path.read_bytes()[:size])

    assert npy_files.cut_off(str(path)).startswith(f"{size:,} of ")


def test_another_file_is_not_judged(tmp_path):
    """Nor one that is not there: that was somebody else's question."""
    (tmp_path / "a.npy").write_bytes(b"x")

    assert npy_files.cut_off(str(tmp_path / "a.npy")) is None
    assert npy_files.cut_off(str(tmp_path / "b.npy")) is None
