"""`cache build | inspect | verify`, and pickled caches of the older guide."""

from __future__ import annotations

import itertools
import json
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from motion_data import write_data

from trainers.engine.cache import CacheError
from trainers.engine.errors import ConfigError, TrainerError
from trainers.rvq import cache
from trainers.rvq.windows import cache_file, old_cache
from trainers.rvq.windows.windows import Windows

GUIDE = ["--split", "train", "--window_size", "16", "--window_stride", "8"]
GUIDE += ["--multi_length_training", "0.5", "1.0", "1.5", "--pose_fps", "30"]
GUIDE += ["--audio_fps", "16000"]


@pytest.fixture(name="root")
def _root(tmp_path):
    root = write_data(tmp_path / "data", {"train": [40, 10, 33, 70], "val": [21, 8]})
    (root / "skeleton.json").unlink()
    return root


@pytest.fixture(name="path")
def _path(root, tmp_path):
    path = tmp_path / "train.npz"
    assert 0 == cache.main(["build", "--data_path", str(root), *GUIDE, "--save_path", str(path)])
    return path


def test_build_takes_the_flags_of_the_guide(root, path, capsys):
    """Underscores, its own names, audio's rate; it says how much it has written."""
    cache.main(["build", "--data_path", str(root), *GUIDE, "--save_path", str(path)])
    assert f"{path}: 63 windows of 4 clips (153 frames)" in capsys.readouterr().out
    assert cache_file.read(path).audio_fps == 16000


def test_build_takes_what_training_takes(root, tmp_path, capsys):
    """Presets, and the path that training will look at."""
    path = tmp_path / "val.npz"
    words = ["build", "--data", str(root), "--preset", "seamless", "--split", "dev", "--json"]
    assert 0 == cache.main([*words, "--cache-val", str(path), "--max-samples", "1"])
    found = json.loads(capsys.readouterr().out)
    assert (found["split"], found["clips"], found["max_samples"]) == ("val", 1, 1)
    assert found["multi_length_training"] == [0.5, 0.75, 1.0, 1.25, 1.5]
    assert cache_file.read(path).recipe.window_size == 64


def test_build_refuses_what_it_does_not_know(root):
    """A typing error, no place to write to."""
    with pytest.raises(ConfigError, match="the nearest is --window-size"):
        cache.main(["build", "--data", str(root), "--widnow-size", "3"])
    with pytest.raises(ConfigError, match="where should the cache be written"):
        cache.main(["build", "--data", str(root)])
    clip = str(next(root.rglob("pose.npy")))
    with pytest.raises(TrainerError, match="is not a window cache, so it is not replaced"):
        cache.main(["build", "--data", "never looked at", "--save-path", clip])
    with pytest.raises(TrainerError, match="has no split test; it has: train, val"):
        cache.main(["build", "--data", str(root), "--split", "test", "--save-path", "x.npz"])


def test_inspect_draws_the_lengths(path, capsys):
    """Parameters, a bar for each length, whether all are there and all differ."""
    capsys.readouterr()
    assert 0 == cache.main(["inspect", str(path)])
    shown = capsys.readouterr().out
    assert "16 frames every 8, at x 0.5 1 1.5" in shown
    assert "63, all different, 1 longer than their clip" in shown
    assert "30 poses, 16000 audio samples a second" in shown
    assert " 8  ████" in shown
    assert "every length that is expected, and no other" in shown


def test_inspect_tells_missing_lengths_and_windows_that_are_there_twice(root, path, capsys):
    """A length that no clip has; a cache that is not what it should be ends with 1."""
    words = ["build", "--data", str(root), "--save-path", str(path), "--max-samples", "2"]
    cache.main([*words, "--window-size", "64", "--multi-length", "1", "9"])
    capsys.readouterr()
    assert 0 == cache.main(["inspect", str(path), "--json"])
    found = json.loads(capsys.readouterr().out)
    assert found["missing"] == [576]
    assert found["unexpected"] == []
    whole = cache_file.read(path)
    zeros = np.zeros(3, np.int64)
    twice = Windows(sample=zeros, start=zeros, length=zeros + 10, padded=zeros + 77)
    cache_file.write(
        cache_file.WindowCache(listing=whole.listing, recipe=whole.recipe, windows=twice), path
    )
    assert 1 == cache.main(["inspect", str(path)])
    shown = capsys.readouterr().out
    assert "3, only 1 different" in shown
    assert "these ratios do not give 77 frames" in shown


def test_verify_compares_with_the_data_set(root, path, tmp_path, capsys):
    """Where it was built, or where it has moved; whatever differs is named and ends with 1."""
    assert 0 == cache.main(["verify", str(path)])
    assert f"{path} fits {root}/train: 4 clips, 63 windows" in capsys.readouterr().out
    root.rename(tmp_path / "moved")
    with pytest.raises(TrainerError, match="there is no data set at"):
        cache.main(["verify", str(path)])
    moved = tmp_path / "moved"
    for flag in ("--data", "--data_path", "--data-path"):
        assert 0 == cache.main(["verify", str(path), flag, str(moved)])
    np.save(moved / "train" / "clip00" / "pose.npy", np.zeros((41, 21), np.float32))
    capsys.readouterr()
    assert 1 == cache.main(["verify", str(path), "--data", str(moved), "--json"])
    differences = json.loads(capsys.readouterr().out)["differences"]
    assert [f"clip00 has 40 frames in the cache and 41 in {moved}/train"] == differences


def test_verify_finds_flipped_bytes_and_other_windows(root, path, capsys):
    """The checksums of the archive, and the windows that the parameters give."""
    whole = cache_file.read(path)
    data = bytearray(path.read_bytes())
    at = data.index(whole.windows.start.tobytes())
    other = whole.windows.start.copy()
    first = int(np.flatnonzero(other > 0)[0])
    other[first] -= 1
    data[at : at + other.nbytes] = other.tobytes()
    path.write_bytes(data)
    assert 1 == cache.main(["verify", str(path)])
    assert "its bytes are not those that were written" in capsys.readouterr().out
    damaged = cache_file.read(path)
    cache_file.write(damaged, path)
    assert 1 == cache.main(["verify", str(path)])
    assert "its windows are not those that its parameters give" in capsys.readouterr().out
    assert root.is_dir()


def test_synthetic_data_can_be_cached(tmp_path, capsys):
    """It has clips as well."""
    path = tmp_path / "made.npz"
    assert 0 == cache.main(["build", "--split", "val", "--save-path", str(path)])
    assert 0 == cache.main(["verify", str(path)])
    assert "fits synthetic/val: 40 clips" in capsys.readouterr().out


def test_the_commands_need_no_torch(root, tmp_path):
    """They answer at once."""
    words = ["build", "--data", str(root), "--save-path", str(tmp_path / "x.npz")]
    code = (
        "import sys\nfrom trainers.rvq import cache\n"
        f"code = cache.main({words!r})\n"
        "sys.exit(code or 'torch' in sys.modules or 'scipy' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True)
    assert (0, b"") == (ran.returncode, ran.stderr)


def test_gpuops_hands_over(root, tmp_path, gpuops):
    """`gpuops cache` is the trainer's own command, with its words and its exit code."""
    path = tmp_path / "t.npz"
    built = gpuops("cache", "build", "--data", root, *GUIDE, "--save-path", path)
    assert (built.returncode, "63 windows" in built.stdout) == (0, True)
    gone = gpuops("cache", "inspect", tmp_path / "gone.npz")
    assert (gone.returncode, gone.stderr) == (
        1, f"error: there is no window cache {tmp_path}/gone.npz.\n"
    )  # fmt: skip


def old(**changes):
    """A cache as the older guide's tool pickled it."""
    params = [(8, 4)] * 5 + [(16, 8)] * 3 + [(8, 4)] * 2
    counts = [8, 2]
    return {
        "window_counts": counts,
        "cumulative_windows": [0, *itertools.accumulate(counts)],
        "window_params": params,
        "total_windows": 10,
        "base_dataset_indices": [0, 1],
        "window_size": 16,
        "window_stride": 8,
        "multi_length_training": [0.5, 1.0],
        "pose_fps": 30,
        "audio_fps": 16000,
        "split": "train",
        "data_path": "datasets/seamless",
        **changes,
    }


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("of", [list, np.array])
def test_an_old_cache_is_shown_with_what_replaces_it(tmp_path, capsys, protocol, of):
    """Lists or arrays, of any protocol; 1, for it cannot be trained on."""
    path = tmp_path / "window_params_train_ws16.pkl"
    there = old()
    path.write_bytes(
        pickle.dumps(
            old(window_params=of(there["window_params"]), window_counts=of(there["window_counts"])),
            protocol,
        )
    )
    assert 1 == cache.main(["inspect", str(path)])
    shown = capsys.readouterr().out
    assert "  windows   10\n" in shown
    assert " 8  ████" in shown
    assert "gpuops cache build --data datasets/seamless --split train --window-size 16" in shown
    assert f"--save-path {tmp_path}/window_params_train_ws16.npz" in shown


class Runs:
    """A pickle of it makes a folder when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_and_nothing_is_run(tmp_path):
    """By the name of what it would run."""
    path = tmp_path / "cache.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(old(extra=Runs(tmp_path / "made")), protocol))
        with pytest.raises(CacheError, match=r"it wants to run code \(posix.mkdir\)"):
            old_cache.read(path)
    assert not (tmp_path / "made").exists()
    path.write_bytes(b"\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.")
    with pytest.raises(CacheError, match=r"builtins\.eval"):
        old_cache.read(path)
    path.write_bytes(pickle.dumps(np.array([Runs(tmp_path / "made")], dtype=object)))
    with pytest.raises(CacheError, match="array of O8"):
        old_cache.read(path)
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"total_windows": 10**15},
            "its numbers of windows differ: 1000000000000000 total_windows",
        ),
        ({"window_counts": [10**12, 2]}, r"window_counts\.0: Input should be less than"),
        ({"window_counts": [-8, 18]}, r"window_counts\.0: Input should be greater than"),
        ({"window_counts": [], "cumulative_windows": [0]}, "10 window_params, 0 window_counts"),
        ({"window_counts": [7, 3]}, "cumulative_windows are not the sums"),
        (
            {"window_params": [(8, -4)] * 10},
            r"window_params\.0\.0\.1: Input should be greater than",
        ),
        ({"window_params": [8, 4]}, "it is damaged .*not iterable"),
        ({"window_params": [(8, 4), (8,)] * 5}, r"window_params\.1\.0\.1: Field required"),
        ({"window_params": "many"}, r"window_params\.0\.0\.0: Input should be a valid integer"),
        ({"window_params": [[[8, 4]]] * 10}, "it is damaged .*unhashable"),
        ({"total_windows": (10,)}, "total_windows: Input should be a valid integer"),
        ({"window_size": 0}, "window_size: Input should be greater than"),
        ({"multi_length_training": [float("nan")]}, r"training\.0: Input should be"),
        ({"cumulative_windows": [0, 1, 10]}, "cumulative_windows are not the sums"),
    ],
)
def test_an_old_cache_that_contradicts_itself_is_refused(tmp_path, changes, sentence):
    """Counts, strides, sums."""
    path = tmp_path / "cache.pkl"
    path.write_bytes(pickle.dumps(old(**changes)))
    with pytest.raises(CacheError, match=sentence):
        old_cache.read(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (
            b"\x80\x04\x8e" + (1 << 60).to_bytes(8, "little") + b"abc.",
            "too much memory|exceeds system",
        ),
        (b"\x80\x05\x96" + (1 << 40).to_bytes(8, "little") + b".", "too much memory"),
        (b"\x80\x04K\x01r\xff\xff\xff\x7f.", "too much memory"),  # it asks for 16 GiB
        (b"\x80\x04(((", "damaged"),
        (b"\x80\x04}K\x01s.", "damaged"),
        (b"\x80\x04", "damaged"),
        (pickle.dumps(old())[:-20], "damaged"),
        (pickle.dumps([1, 2]), "it is not a dictionary"),
        (pickle.dumps({"window_counts": [1]}), "window_size: Field required"),
    ],
)
def test_a_damaged_pickle_is_refused(tmp_path, data, sentence):
    """Whatever size it claims: the process that reads it may not take so much memory."""
    path = tmp_path / "cache.pkl"
    path.write_bytes(data)
    with pytest.raises(CacheError, match=sentence):
        old_cache.read(path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"\x80\x02X\x01\x00\x00\x00aQ.", "persistent"),
        (b"\x80\x02\x82\x01.", "extension code"),
        (b"(cposix\nmkdir\no.", r"run code \(posix\.mkdir\)"),
        (b"\x80\x02cnumpy\ndtype\n)\x81.", "not a dictionary"),
        (b"\x80\x05\x97.", "out-of-band"),
        (b"\x80\x02c_codecs\nencode\n}X\x04\x00\x00\x00nameK\x01sb.", "not a dictionary"),
        (b"\x80\x02cnumpy\ndtype\n}b.", "damaged"),
        (b"\x80\x02cnumpy\nndarray\n(J\xff\xff\xff\x7ftR.", "damaged"),
        (b"\x80\x02cnumpy\n\x1b[2J\n.", r"run code \(numpy\.\?\[2J\)"),
    ],
)
def test_a_pickle_calls_and_changes_nothing(tmp_path, data, sentence):
    """Neither by another way than a name, nor what stands behind the names that are known."""
    path = tmp_path / "cache.pkl"
    path.write_bytes(data)
    with pytest.raises(CacheError, match=sentence):
        old_cache.read(path)


@pytest.mark.parametrize("of", [tuple, pytest.param(list, marks=pytest.mark.long)])
@pytest.mark.parametrize(
    "name", ["window_params", "window_counts", "total_windows", "split", "pose_fps", "a key"]
)
def test_a_pickle_that_shares_its_parts_is_no_bomb(tmp_path, name, of, monkeypatch):
    """Sixty times two of the same: a few bytes that would be many exabytes, or take years."""
    monkeypatch.setattr(old_cache, "CPU_S", 1)
    bomb = 1
    for _ in range(60):
        bomb = of([bomb, bomb])
    path = tmp_path / "cache.pkl"
    if name != "a key":
        path.write_bytes(pickle.dumps(old(**{name: bomb})))
    else:
        path.write_bytes(b"\x80\x02}" + pickle.dumps(bomb, 2)[2:-1] + b"K\x01s.")
    if name == "split":
        assert old_cache.read(path).split == ""
    else:
        with pytest.raises(CacheError, match="cannot be read as a pickled cache"):
            old_cache.read(path)


def test_a_text_is_not_made_again_and_again(tmp_path, monkeypatch):
    """Bytes of a text are made until memory ends; and no name is made of names."""
    monkeypatch.setattr(old_cache, "MEMORY_BYTES", 256 << 20)
    path = tmp_path / "cache.pkl"
    encode = b"h\x01h\x02R"
    path.write_bytes(
        b"\x80\x02c_codecs\nencode\nq\x01X\x00\x00\x10\x00"
        + b"x" * (1 << 20)
        + b"X\x06\x00\x00\x00latin1\x86q\x02"
        + encode * 1000
        + b"."
    )
    with pytest.raises(CacheError, match="it takes too much memory"):
        old_cache.read(path)
    path.write_bytes(b"\x80\x04\x8c\x01a\x94" + b"h\x00h\x00\x93q\x00" * 80 + b"K\x01R.")
    with pytest.raises(CacheError, match=r"run code \(a\.a\)"):
        old_cache.read(path)


def test_an_array_in_a_pickle_is_as_long_as_it_says(tmp_path):
    """Its shape is compared with its bytes."""
    path = tmp_path / "cache.pkl"
    data = pickle.dumps(old(window_counts=np.array([8, 2])), 4)
    assert b"K\x02\x85" in data
    path.write_bytes(data.replace(b"K\x02\x85", b"J\xff\xff\xff\x7f\x85", 1))
    with pytest.raises(CacheError, match=r"it is damaged \(.*buffer size"):
        old_cache.read(path)
