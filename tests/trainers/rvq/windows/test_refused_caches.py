"""Caches that are hostile, damaged or another's: refused with a sentence."""

from __future__ import annotations

import pickle
import struct
import zipfile
from dataclasses import replace

import numpy as np
import pytest
from window_caches import built, claimed, npy, tampered

from trainers.engine.cache import CacheError
from trainers.engine.errors import TrainerError
from trainers.rvq.data import open_data
from trainers.rvq.windows import cache_file

LENGTH = 1 << 40
HOSTILE = {
    "a huge count": ({"sample": claimed(f"({LENGTH},)")}, "it is cut off"),
    "a negative count": ({"sample": claimed("(-4,)")}, "head is damaged"),
    "a count of 60 digits": ({"sample": claimed("(" + "9" * 60 + ",)")}, "head is damaged"),
    **{
        f"the head {of} {shape[:9]}": ({"start": claimed(shape, of)}, "head is damaged")
        for of, shape in {
            "<f3": "(3,)", "|b8": "(3,)", "<i4": "(4 4, 3)", "<i8": f"({'9' * 5000},)",
            "<i2": f"({f'{10**17},' * 300})", "<f4": f"({'9' * 4000}, {'9' * 4000})",
        }.items()
    },
    "two axes": ({"sample": npy(np.zeros((2, 2), "<i4"))}, "not a flat array"),
    "another type": ({"start": npy(np.zeros(3))}, "not a flat array"),
    "none at all": ({"start": npy(np.zeros(0, "<i4"))}, "start is empty"),
    "pickled objects": ({"start": npy(np.array([{}], object))}, "never loaded"),
    "a missing member": ({"start": None}, "has no start"),
    "fewer of one": ({"start": npy(np.zeros(3, "<i4"))}, "differ in length"),
    "another version": ({"about": {"version": 2}}, "version 2 of the format"),
    "a size of zero": ({"about": {"window_size": 0}}, "window_size cannot be 0"),
    "a rate that is none": ({"about": {"pose_fps": float("nan")}}, "pose_fps cannot be nan"),
    "a rate of 400 digits": ({"about": {"pose_fps": 10**400}}, "pose_fps cannot be 1000"),
    "a name that is no text": ({"about": {"names": ["a", "b", "c", "\ud800"]}}, "names cannot be"),
    "names that are none": ({"about": {"names": [1, 2, 3, 4]}}, "names cannot be"),
    "fewer names": ({"about": {"names": ["a"]}}, "differ in length"),
    "other names": ({"about": {"names": ["a", "b", "c", "d"]}}, "another digest"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "sentence"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_cache_is_refused(path, changes, sentence):
    """Before anything of the size that it claims is allocated."""
    with pytest.raises(CacheError, match=sentence):
        cache_file.read(tampered(path, **changes))


@pytest.mark.parametrize(
    ("column", "value"),
    [("start", -1), ("start", 1000), ("sample", -1), ("sample", 4), ("length", 0), ("padded", 1)],
)
def test_windows_outside_of_their_clips_are_refused(path, column, value):
    """Negative starts, clips that are not there, windows longer than themselves."""
    values = getattr(cache_file.read(path).windows, column).copy()
    values[7] = value
    with pytest.raises(CacheError, match="lie outside of their clips"):
        cache_file.read(tampered(path, **{column: npy(values)}))


@pytest.mark.parametrize(("column", "value"), [("padded", 2**31 - 1), ("length", 7)])
def test_windows_of_other_lengths_are_not_trained_on(config, path, column, value):
    """Neither longer than any ratio gives (a batch is as large), nor shorter."""
    values = getattr(cache_file.read(path).windows, column).copy()
    values[-1] = value
    tampered(path, **{column: npy(values)})
    with pytest.raises(CacheError, match="of other lengths than its ratios give"):
        open_data(replace(config, cache_train=path), "train")


def test_flipped_bytes_are_not_trained_on(config, path):
    """Though the windows lie in their clips all the same."""
    start = cache_file.read(path).windows.start
    data = bytearray(path.read_bytes())
    other = start.copy()
    other[np.flatnonzero(start)[0]] -= 1
    at = data.index(start.tobytes())
    data[at : at + other.nbytes] = other.tobytes()
    path.write_bytes(data)
    with pytest.raises(CacheError, match="its bytes are not those that were written"):
        open_data(replace(config, cache_train=path), "train")


def test_a_compressed_or_lying_archive_is_refused(path):
    """Its list of members is not believed where the members themselves say otherwise."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
        offset = archive.getinfo("start.npy").header_offset
    whole = path.read_bytes()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    with pytest.raises(CacheError, match="is compressed"):
        cache_file.read(path)
    place = whole.index(struct.pack("<I", offset), whole.index(b"PK\x01\x02"))
    for lie in (offset + 1, 0xFFFFFFF0):
        path.write_bytes(whole[:place] + struct.pack("<I", lie) + whole[place + 4 :])
        with pytest.raises(CacheError, match="cannot be used as a window cache"):
            cache_file.read(path)


@pytest.mark.parametrize("keep", [0, 1, 100, 1500, -1])
def test_a_cache_that_is_cut_off_is_refused(path, keep):
    """Wherever it ends."""
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(CacheError, match="cannot be used as a window cache"):
        cache_file.read(path)


def test_a_pickled_cache_is_not_trained_on(config, tmp_path):
    """The command that builds another stands in the hint, and it is not written over."""
    old = tmp_path / "train.pkl"
    old.write_bytes(pickle.dumps({"window_counts": [1]}))
    with pytest.raises(CacheError, match="does not say where windows begin") as caught:
        open_data(replace(config, cache_train=old), "train")
    assert f"--save-path {tmp_path}/train.npz" in caught.value.hint
    with pytest.raises(TrainerError, match=r"window caches are \.npz"):
        open_data(replace(config, cache_train=old, rebuild_cache=True), "train")


def test_another_file_is_not_written_over(root, config, tmp_path):
    """A cache takes the place of a cache, and of nothing else."""
    other = tmp_path / "statistics.npz"
    np.savez(other, mean=np.zeros(3))
    with pytest.raises(TrainerError, match="is not a window cache, so it is not replaced"):
        cache_file.write(built(root, config), other)
