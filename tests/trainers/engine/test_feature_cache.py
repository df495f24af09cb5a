"""What a frozen encoder gives is computed once, by rank 0, and again when it would be different."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from motion_data import ALONE, on_ranks
from torch import nn

from gpuops import heartbeat
from trainers.engine import cache, distributed
from trainers.engine.errors import TrainerError
from trainers.engine.feature_cache import Encoding, cached_features, checksum, read
from trainers.engine.files import UNFINISHED
from trainers.engine.samples import Listing

ROWS = [3, 0, 5, 2]
LISTING = Listing(
    data="toys",
    split="train",
    names=("a", "b", "c", "d"),
    lengths=np.array([30, 4, 50, 20], dtype=np.int64),
)


class Toy:
    """An encoder that counts its calls; `scale` stands for its weights."""

    def __init__(self, scale: float = 1.0) -> None:
        self.encoder = nn.Linear(1, 2)
        nn.init.constant_(self.encoder.weight, scale)
        self.calls: list[int] = []

    @property
    def encoding(self) -> Encoding:
        weights = checksum(self.encoder)
        return Encoding(encoder="toy", weights=weights, parameters={"layers": (1, 2)})

    @torch.no_grad()
    def __call__(self, sample: int) -> np.ndarray:
        self.calls.append(sample)
        x = torch.arange(ROWS[sample], dtype=torch.float32)[:, None] + 10 * sample
        return self.encoder(x).numpy()


def same(features, toy: Toy) -> bool:
    return all(np.array_equal(features[i], toy(i)) for i in range(len(ROWS)))


def test_features_are_computed_once_and_mapped(tmp_path: Path) -> None:
    """The second time nothing is encoded; samples of no rows are kept too."""
    path, toy = tmp_path / "caches" / "toy.npz", Toy()

    first = cached_features(path, toy.encoding, LISTING, toy, ALONE)
    second = cached_features(path, toy.encoding, LISTING, toy, ALONE)

    assert toy.calls == [0, 1, 2, 3]
    assert second.rows.tolist() == ROWS
    assert same(first, toy)
    assert same(second, toy)
    assert isinstance(second.values.base, np.memmap)
    assert second.values.ctypes.data % 64 == 0
    assert len(second) == 4
    assert cache.is_whole(path)


def test_another_encoder_is_another_cache(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Other weights, parameters or samples: built again, and said with both values."""
    path, toy, other = tmp_path / "toy.npz", Toy(), Toy(2.0)
    cached_features(path, toy.encoding, LISTING, toy, ALONE)
    caplog.set_level("INFO", logger="trainers")

    found = cached_features(path, other.encoding, LISTING, other, ALONE)

    assert same(found, other)
    assert f"weights is {toy.encoding.weights} in the cache" in caplog.text
    assert f"and {other.encoding.weights} here" in caplog.text
    deeper = replace(other.encoding, parameters={"layers": (1, 2), "rate": 16000})
    cached_features(path, deeper, LISTING, other, ALONE)
    assert "rate is none in the cache and 16000 here" in caplog.text
    longer = replace(LISTING, lengths=np.array([30, 4, 51, 20], dtype=np.int64))
    cached_features(path, deeper, longer, other, ALONE)
    assert "c has 50 units in the cache and 51 in toys/train" in caplog.text
    assert read(path)[1].lengths.tolist() == [30, 4, 51, 20]


def test_damaged_is_built_again_and_another_file_kept(tmp_path: Path) -> None:
    """A file that is no cache is never replaced."""
    path, toy = tmp_path / "toy.npz", Toy()
    cached_features(path, toy.encoding, LISTING, toy, ALONE)
    path.write_bytes(path.read_bytes()[:-100])

    assert same(cached_features(path, toy.encoding, LISTING, toy, ALONE), toy)
    path.write_text("my notes")
    with pytest.raises(TrainerError, match="is not a feature cache, so it is not replaced"):
        cached_features(path, toy.encoding, LISTING, toy, ALONE)
    assert path.read_text() == "my notes"


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (np.full((2, 2), np.nan, np.float32), "features of c hold a value that is not finite"),
        (np.zeros((2, 3), np.float32), r"features of c are float32 \(2, 3\); those of the first"),
        (np.zeros((2, 2), np.float64), "features of c are float64"),
    ],
)
def test_features_that_cannot_be_are_refused(
    bad: np.ndarray, sentence: str, tmp_path: Path
) -> None:
    """By the sample's name, and nothing is left behind."""
    toy = Toy()

    with pytest.raises(TrainerError, match=sentence):
        cached_features(
            tmp_path / "toy.npz",
            toy.encoding,
            LISTING,
            lambda sample: bad if sample == 2 else toy(sample),
            ALONE,
        )
    assert list(tmp_path.iterdir()) == []


def test_killed_half_way_it_is_built_whole_the_next_time(tmp_path: Path) -> None:
    """What was half written is never used; after a day it is removed."""
    path, toy = tmp_path / "toy.npz", Toy()
    process = multiprocessing.get_context("fork").Process(target=_killed, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(UNFINISHED)

    assert same(cached_features(path, toy.encoding, LISTING, toy, ALONE), toy)

    assert left.exists()
    os.utime(left, (time.time() - 100_000,) * 2)
    other = Toy(3.0)
    cached_features(path, other.encoding, LISTING, other, ALONE)
    assert [path] == list(tmp_path.iterdir())


def _killed(path: Path) -> None:
    toy = Toy()

    def encode(sample: int) -> np.ndarray:
        if sample == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return toy(sample)

    cached_features(path, toy.encoding, LISTING, encode, ALONE)


def _on_rank(world, path: Path, error: str = ""):
    """What a rank got, how often it encoded, and how often it beat while it waited."""
    torch.manual_seed(7)
    toy, beats = Toy(), []
    heartbeat.beat = lambda **said: beats.append(said)

    def encode(sample: int) -> np.ndarray:
        time.sleep(0.3)
        if error and sample == 1:
            raise TrainerError(error, "a hint")
        return toy(sample)

    try:
        found = cached_features(path, toy.encoding, LISTING, encode, world)
    except TrainerError as refused:
        return refused.message, refused.hint
    return [found[i].tolist() for i in range(4)], len(toy.calls), beats


def test_rank_0_builds_while_the_others_wait_with_heartbeats(tmp_path: Path) -> None:
    """All ranks map the same features, and only one encodes."""
    work = partial(_on_rank, path=tmp_path / "toy.npz")

    (first, calls, _), (second, none, beats) = on_ranks(2, work, tmp_path / "meeting")

    assert first == second
    assert (calls, none) == (4, 0)
    assert len(beats) >= 4
    assert all(beat == {"phase": "cache"} for beat in beats)


def test_an_error_of_rank_0_is_every_ranks(tmp_path: Path) -> None:
    """No rank is left waiting."""
    work = partial(_on_rank, path=tmp_path / "toy.npz", error="no such voice")

    assert on_ranks(2, work, tmp_path / "meeting") == [("no such voice", "a hint")] * 2


def test_a_checksum_is_of_every_weight() -> None:
    """Of names, values and buffers; half precision and whole numbers too."""
    module = nn.BatchNorm1d(3)
    before = checksum(module)
    module.half()
    halved = checksum(module)
    module.num_batches_tracked += 1

    assert len({before, halved, checksum(module)}) == 3
    assert before == checksum(nn.BatchNorm1d(3))


def test_no_waiting_alone() -> None:
    """One rank needs no process group."""
    done: list[int] = []

    distributed.wait_for_first(lambda: done.append(1), ALONE, waiting=lambda: done.append(2))

    assert done == [1]
