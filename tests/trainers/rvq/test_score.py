"""The figures of an evaluation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_data import ALONE, small_model, write_data
from torch import nn

import trainers.rvq.score as scoring
from trainers.engine import metrics
from trainers.rvq.config import DatasetConfig, LossConfig
from trainers.rvq.data import open_data
from trainers.rvq.losses import build_loss
from trainers.rvq.model import Reconstruction
from trainers.rvq.score import score


class Off(nn.Module):
    """A model that gives its input back, but for a change of the features."""

    def __init__(self, change):
        super().__init__()
        self.change = change
        self.real = small_model(21).eval()
        self.mean, self.std, self.quantizer = self.real.mean, self.real.std, self.real.quantizer
        self.normalise, self.denormalise = self.real.normalise, self.real.denormalise

    def forward(self, features, mask):
        quantized = self.real(features, mask).quantized
        return Reconstruction(output=self.change(features), target=features, quantized=quantized)


@pytest.fixture(name="data")
def _data(tmp_path):
    root = write_data(tmp_path / "data", {"val": [40, 9, 33, 70, 64]})
    return open_data(DatasetConfig(data=str(root), rotation="axis_angle"), "val")


def scored(data, model, world=ALONE):
    loss = build_loss(LossConfig(loss_joints=1.0), model, data.skeleton)
    return score(model, data, loss, torch.zeros(21), world)


def test_a_perfect_reconstruction_has_no_error(data):
    """Zero in everything that measures the motion."""
    found = scored(data, Off(lambda x: x))
    assert found.summary()["l2"] == 0
    assert found.mpjpe == 0
    assert found.summary()["angle_deg"] < 0.05
    assert found.summary()["velocity_error"] == 0
    assert found.loss["recons"] == found.loss["joints"] == 0
    assert (found.clips, found.frames) == (5, 216)


def test_a_known_offset_gives_that_offset(data):
    """A joint that is off by a vector of length 0.5 everywhere has error 0.5 and no velocity."""

    def change(x):
        x = x.clone()
        x[..., 6] += 0.3
        x[..., 7] += 0.4
        return x

    found = scored(data, Off(change))
    expected = [0.0, 0.0, 0.5, 0.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(found.l2, expected, atol=1e-5)
    np.testing.assert_allclose(found.velocity, 0, atol=1e-6)


def test_angle_and_position_of_a_known_turn(data):
    """A hand that does not turn but whose arm is off by a right angle is off by root two arms."""
    for pose in data.features.held:
        pose[:] = 0

    def change(x):
        x = x.clone()
        x[..., 11] = math.pi / 2  # Arm_L about z
        return x

    found = scored(data, Off(change))
    assert found.angle_deg[3] == pytest.approx(90, abs=1e-3)
    places = dict(zip(data.skeleton.moving, found.position, strict=True))
    assert places[4] == pytest.approx(25 * math.sqrt(2), rel=1e-4)
    assert places[2] == pytest.approx(0, abs=1e-4)
    assert found.mpjpe == pytest.approx(25 * math.sqrt(2) / 6, rel=1e-4)
    assert found.mpjpe_mean_pose == pytest.approx(0, abs=1e-4)


def test_batches_do_not_matter(data, monkeypatch):
    """Validation is the same however many clips share a batch."""
    model = small_model(21).eval()
    together = scored(data, model).to_dict()
    monkeypatch.setattr(scoring, "FRAMES_PER_BATCH", 1)
    apart = scored(data, model).to_dict()
    assert apart["codes_used"] == together["codes_used"]
    for name, value in apart["summary"].items():
        assert value == pytest.approx(together["summary"][name], rel=1e-5), name


@pytest.mark.parametrize("ranks", [2, 3, 7])
def test_ranks_do_not_matter(data, monkeypatch, ranks):
    """Each rank scores its share, of seven some none; the sums add up to those of one rank."""
    model = small_model(21).eval()
    alone = scored(data, model).to_dict()
    held = []

    def add(tensor, _world):
        held.append(tensor.clone())
        return torch.stack(held).sum(0)

    monkeypatch.setattr(metrics, "all_reduce_sum", add)
    for rank in range(ranks):
        last = scored(data, model, replace(ALONE, world_size=ranks, rank=rank)).to_dict()
    assert last["frames"] == alone["frames"]
    assert last["codes_used"] == alone["codes_used"]
    for name, value in alone["summary"].items():
        assert value == pytest.approx(last["summary"][name], rel=1e-5), name


def test_codes_are_counted(data):
    """Those that occur in the split, and those that training has given up."""
    model = small_model(21).eval()
    model.quantizer.counts[1, :5] = 0.01
    found = scored(data, model)
    assert found.dead_codes == [0, 5, 0]
    codes = [set() for _ in range(3)]
    for row in range(5):
        seen = model.encode(data.clips(np.array([row])).features)
        for layer, used in enumerate(codes):
            used.update(seen[..., layer].flatten().tolist())
    assert found.codes_used == [len(used) for used in codes]


def test_without_a_skeleton_there_is_no_position(tmp_path):
    """Absent, not zero."""
    root = write_data(tmp_path / "plain", {"val": [20]}, skeleton=None)
    data = open_data(DatasetConfig(data=str(root)), "val")
    model = small_model(21).eval()
    found = score(
        model, data, build_loss(LossConfig(), model, data.skeleton), torch.zeros(21), ALONE
    )
    assert found.mpjpe is None
    assert "mpjpe" not in found.summary()
