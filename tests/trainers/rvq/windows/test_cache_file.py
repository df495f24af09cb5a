"""Windows kept in a file: written whole, opened without trust, used only where they fit."""

from __future__ import annotations

import json
import resource
import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from window_caches import built

from trainers.engine.batches import Batches, BatchPlan
from trainers.engine.cache import CacheError
from trainers.engine.config.config import resolve
from trainers.engine.config.sections import LoaderConfig
from trainers.engine.errors import ConfigError, TrainerError
from trainers.rvq.check import check
from trainers.rvq.config import PRESETS, Config
from trainers.rvq.data import open_data
from trainers.rvq.windows import cache_file


def test_what_is_written_is_read(root, config, path):
    """Windows, clips and parameters; NumPy reads the arrays as well."""
    cache, wanted = cache_file.read(path), built(root, config)

    assert cache.windows.equals(wanted.windows)
    assert cache.recipe == wanted.recipe
    assert cache.listing.names == wanted.listing.names
    assert cache.listing.digest == wanted.listing.digest
    assert not cache.differences(wanted.recipe, wanted.listing)
    with np.load(path, allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["start"], wanted.windows.start)


def test_windows_are_mapped_and_aligned(path):
    """Opening reads none of them."""
    windows = cache_file.read(path).windows
    for column in (windows.sample, windows.start, windows.length, windows.padded):
        assert isinstance(column.base, np.memmap)
        assert column.flags.aligned
        assert not column.flags.writeable


def test_it_is_built_from_heads_alone(root, config, monkeypatch):
    """No pose is read, and none that is cut off is taken for whole."""
    monkeypatch.setattr(np, "load", None)
    monkeypatch.setattr(np, "memmap", None)
    assert len(built(root, config).windows)
    clip = root / "train" / "clip01" / "pose.npy"
    clip.write_bytes(clip.read_bytes()[:-1])
    with pytest.raises(TrainerError, match=r"clip01/pose.npy cannot be read: it is cut off: 967"):
        built(root, config)


def test_the_same_clips_give_the_same_bytes(root, config, path, tmp_path):
    """So that two caches can be compared as files."""
    cache_file.write(built(root, config), tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == path.read_bytes()


@pytest.mark.parametrize("workers", [0, 1])
def test_training_sees_the_same_batches_with_a_cache_and_without(root, config, path, workers):
    """Bit for bit, in the same order, varied alike."""
    (root / "skeleton.json").rename(root / "skeleton.txt")
    config = replace(config, preload="no")
    seen = []
    for cache in (None, path):
        data = open_data(replace(config, cache_train=cache), "train")
        plan = BatchPlan(lengths=data.windows.padded, batch_size=3, world_size=1, seed=5)
        world = type("World", (), {"rank": 0, "device": torch.device("cpu")})
        loader = LoaderConfig(num_workers=workers)
        batches = Batches(plan=plan, load=data.load, world=world, loader=loader)
        stream = batches.stream(0, 0)
        seen.append([next(stream)[0] for _ in range(2 * plan.per_epoch)])
    for bare, cached in zip(*seen, strict=True):
        assert torch.equal(bare.features, cached.features)
        assert (bare.mask is None) == (cached.mask is None)
        assert bare.mask is None or torch.equal(bare.mask, cached.mask)


def test_varied_windows_are_the_same_too(config, path):
    """Blending draws from the windows of a length: these have to be the same ones."""
    varied = replace(config, mirror=True, turn=True, blend=1.0)
    bare, cached = (
        open_data(replace(varied, cache_train=cache), "train") for cache in (None, path)
    )
    rows = np.flatnonzero(bare.windows.padded == 16)
    seeds = np.arange(len(rows), dtype=np.uint64)
    assert torch.equal(bare.load(rows, seeds).features, cached.load(rows, seeds).features)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"window_size": 32}, "window_size is 16 in the cache and 32 here"),
        ({"window_stride": 4}, "window_stride is 8 in the cache and 4 here"),
        (
            {"multi_length_training": (1.0, 2.0)},
            "multi_length_training is 0.5 1 1.5 in the cache and 1 2 here",
        ),
        (
            {"multi_length_training": (0.5, 1.0, 1.5000001)},
            "multi_length_training is 0.5 1 1.5 in the cache and 0.5 1 1.5000001 here",
        ),
        (
            {"max_samples": 2},
            r"it has 4 samples, .*/train has 2; only in the cache: clip02, clip03",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_both_values(config, path, changes, sentence):
    """And refused, with the two ways out."""
    with pytest.raises(CacheError, match=sentence) as caught:
        open_data(replace(config, cache_train=path, **changes), "train")
    assert "--rebuild-cache" in caught.value.hint
    assert "--accept-cache" in caught.value.hint


def test_every_difference_is_named_at_once(config, path):
    """Who mends one need not run into the next."""
    other = replace(config, cache_train=path, window_size=32, window_stride=4)
    with pytest.raises(CacheError, match=r"window_size.*; window_stride"):
        open_data(other, "train")


def test_the_order_of_ratios_does_not_matter(config, path):
    """They give the same windows."""
    open_data(
        replace(config, cache_train=path, multi_length_training=(1.5, 0.5, 1.0, 1.0)), "train"
    )


def test_another_split_or_frame_rate_is_named(root, config, path):
    """A validation cache is not trained on; val and dev are one."""
    with pytest.raises(CacheError, match="split is train in the cache and val or dev here"):
        open_data(replace(config, cache_val=path), "val")
    cache_file.write(built(root, config, "val"), path)
    open_data(replace(config, cache_val=path), "val")
    (root / "val").rename(root / "dev")
    open_data(replace(config, cache_val=path), "val")
    skeleton = json.loads((root / "skeleton.json").read_text())
    (root / "skeleton.json").write_text(json.dumps(skeleton | {"fps": 25}))
    with pytest.raises(CacheError, match="pose_fps is 30 in the cache and 25 here"):
        open_data(replace(config, cache_val=path), "val")


def test_changed_clips_are_named(root, config, path):
    """Another length, one more, another name."""
    np.save(root / "train" / "clip02" / "pose.npy", np.zeros((31, 21), np.float32))
    cached = replace(config, cache_train=path)
    with pytest.raises(CacheError, match="clip02 has 33 frames in the cache and 31 in"):
        open_data(cached, "train")
    (root / "train" / "clip02").rename(root / "train" / "other")
    with pytest.raises(CacheError, match="only in the cache: clip02; only there: other"):
        open_data(cached, "train")


def test_use_cache_false_means_none(config, tmp_path):
    """Even one that is not there."""
    gone = tmp_path / "gone.npz"
    open_data(replace(config, cache_train=gone, use_cache=False), "train")
    with pytest.raises(CacheError, match="there is no window cache") as caught:
        open_data(replace(config, cache_train=gone), "train")
    assert "`gpuops cache build --data" in caught.value.hint
    assert f"--save-path {gone}`" in caught.value.hint


def test_the_build_command_of_the_hint_builds_what_is_wanted(root, config, tmp_path):
    """It can be pasted as it is; ratios and rates are told to the last digit."""
    import shlex

    from trainers.rvq import cache

    (root / "skeleton.json").unlink()
    wanted = replace(
        config,
        cache_train=tmp_path / "a b.npz",
        max_samples=3,
        pose_fps=30 / 1.001,
        window_size=96,
        multi_length_training=(1 / 3, 1.0),
    )
    with pytest.raises(CacheError) as caught:
        open_data(wanted, "train")
    words = shlex.split(caught.value.hint.split("`")[1])
    assert words[:3] == ["gpuops", "cache", "build"]
    assert 0 == cache.main(words[2:])
    open_data(wanted, "train")


def test_rebuilding_writes_it_anew(config, path, tmp_path):
    """Where it does not fit, where there is none, where it is broken; then it fits."""
    other = replace(config, window_size=32, cache_train=path)
    rebuilt = open_data(replace(other, rebuild_cache=True), "train").windows
    assert rebuilt.equals(open_data(other, "train").windows)
    path.write_bytes(path.read_bytes()[:2000])
    open_data(replace(other, rebuild_cache=True), "train")
    assert cache_file.read(path).windows.equals(rebuilt)
    new = replace(other, cache_train=tmp_path / "new" / "one.npz")
    open_data(replace(new, rebuild_cache=True), "train")
    open_data(new, "train")


def test_accepting_trains_on_its_windows(root, config, path, caplog):
    """With a warning; but windows that lie in no clip are accepted by nobody."""
    accepting = replace(config, window_size=32, cache_train=path, accept_cache=True)
    assert open_data(accepting, "train").windows.equals(cache_file.read(path).windows)
    assert "is used as it is: window_size is 16 in the cache and 32 here" in caplog.text
    np.save(root / "train" / "clip02" / "pose.npy", np.zeros((12, 21), np.float32))
    with pytest.raises(CacheError, match="cannot be accepted"):
        open_data(accepting, "train")
    with pytest.raises(ConfigError, match="only one of"):
        replace(accepting, rebuild_cache=True)


def test_the_flags_are_as_the_guides_have_them():
    """Underscores, dashes, a switch with a word."""
    argv = ["--cache_train", "a.npz", "--cache-val", "b.npz", "--use_cache", "False"]
    dataset = resolve(Config, argv, name="rvq", presets=PRESETS).dataset
    assert [str(dataset.cache_train), str(dataset.cache_val)] == ["a.npz", "b.npz"]
    assert dataset.use_cache is False


def test_two_builders_at_once_both_end_well(root, config, path):
    """The file is whole at every moment, and nothing else is left."""
    done = threading.Event()
    failures = []

    def write():
        try:
            for _ in range(30):
                cache_file.write(built(root, config), path)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is shown
            failures.append(error)

    def look():
        while not done.is_set():
            try:
                cache_file.read(path)
            except CacheError as error:
                failures.append(error)

    looking = threading.Thread(target=look)
    writing = [threading.Thread(target=write) for _ in range(2)]
    for thread in (looking, *writing):
        thread.start()
    for thread in writing:
        thread.join()
    done.set()
    looking.join()

    assert failures == []
    assert [path.name] == [entry.name for entry in path.parent.iterdir()]


def test_a_full_disk_leaves_the_older_cache(root, config, path):
    """One sentence, and nothing half written."""
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    cache = built(root, replace(config, window_stride=1))
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
        with pytest.raises(TrainerError, match=r"train.npz cannot be written: File too large"):
            cache_file.write(cache, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

    assert path.read_bytes() == before
    assert [path.name] == [entry.name for entry in path.parent.iterdir()]


def test_the_check_tells_before_training(root, path, tmp_path):
    """A missing one with the command that builds it, one that does not fit with both values."""

    def found(*flags):
        argv = ["--data", str(root), "--out-dir", str(tmp_path / "run"), "--window-stride", "8"]
        argv += ["--multi-length-training", "0.5", "1", "1.5", *map(str, flags)]
        findings = check(resolve(Config, argv, name="rvq", presets=PRESETS))
        return [one for one in findings if one.check == "cache"]

    (fits,) = found("--cache-train", path, "--window-size", 16)
    assert (fits.severity, fits.summary) == ("ok", f"{path}: 63 windows of 4 clips")
    (other,) = found("--cache-train", path, "--window-size", 32)
    assert other.severity == "error"
    assert "window_size is 16 in the cache and 32 here" in other.summary
    (missing,) = found("--cache-val", tmp_path / "val.npz", "--window-size", 16)
    assert (missing.severity, missing.forcible) == ("error", False)
    assert "--split val --window-size 16 --window-stride 8 --multi-length 0.5 1 1.5" in missing.hint
    (anew,) = found("--cache-val", tmp_path / "val.npz", "--rebuild-cache")
    assert (anew.severity, "built again" in anew.summary) == ("ok", True)
    for path_of_another in (root / "skeleton.json", tmp_path / "val.pkl"):
        (never,) = found("--cache-val", path_of_another, "--rebuild-cache")
        assert never.severity == "error"
    (taken,) = found("--cache-train", path, "--window-size", 32, "--accept-cache")
    assert taken.severity == "warning"
    assert [] == found("--cache-train", tmp_path / "gone.npz", "--use_cache", "False")
