"""The loss and its parts."""

from __future__ import annotations

import pytest
import torch
from motion_data import MIRRORED, poses

from trainers.engine.masked import masked_mean
from trainers.motion.rotations import from_axis_angle
from trainers.rvq.config import LossConfig
from trainers.rvq.losses import JointPlaces, MotionLoss
from trainers.rvq.model import Reconstruction
from trainers.rvq.quantizer import Quantized


def found(output, target, commit=0.5):
    quantized = Quantized(
        latents=output, codes=output, commitment=torch.tensor(commit), perplexity=torch.tensor(9.0)
    )
    return Reconstruction(output=output, target=target, quantized=quantized)


def with_joints(**weights):
    places = JointPlaces(MIRRORED, torch.zeros(42), torch.ones(42))
    return MotionLoss(LossConfig(**weights), places)


def test_the_parts_by_hand():
    """Smooth L1, the same of frame differences, the commitment: 1, 0.5 and 0.02 of them."""
    target = torch.zeros(1, 3, 2)
    output = torch.tensor([[[0.5, 0.0], [0.5, 3.0], [0.5, 0.0]]])
    parts = MotionLoss(LossConfig())(found(output, target))

    torch.testing.assert_close(parts["recons"], torch.tensor((3 * 0.125 + 2.5) / 6))
    torch.testing.assert_close(parts["velocity"], torch.tensor((0 + 2.5 + 0 + 2.5) / 4))
    expected = parts["recons"] + 0.5 * parts["velocity"] + 0.02 * 0.5
    torch.testing.assert_close(parts["loss"], expected)


@pytest.mark.parametrize("recons_loss", ["l1_smooth", "l1", "l2"])
def test_masked_equals_cropped(recons_loss):
    """Frames that are not there count neither above nor below the line."""
    output, target = torch.randn(2, 3, 9, 42).unbind(0)
    mask = torch.arange(9) < torch.tensor([9, 5, 5])[:, None]
    loss = with_joints(recons_loss=recons_loss, loss_joints=1.0)
    both = loss.parts(output[1:], target[1:], mask[1:])
    cropped = loss.parts(output[1:, :5], target[1:, :5])
    for name, part in cropped.items():
        torch.testing.assert_close(both[name], part)
    whole = loss.parts(output[:1], target[:1], mask[:1])
    torch.testing.assert_close(whole["recons"], loss.parts(output[:1], target[:1])["recons"])


def test_joints_are_compared_where_forward_kinematics_puts_them():
    """A perfect pose has no joint error; a turned arm moves the hand and nothing above it."""
    pose = poses(4, 7)
    target = torch.from_numpy(from_axis_angle(pose, "6d"))[None]
    pose[:, 9:12] += 0.3  # Arm_L
    output = torch.from_numpy(from_axis_angle(pose, "6d"))[None]
    loss = with_joints(loss_joints=2.0)

    assert loss.parts(target, target)["joints"] == 0
    assert loss.parts(output, target)["joints"] > 0
    moved = (loss.places(output) - loss.places(target)).norm(dim=-1).amax((0, 1))
    by_joint = dict(zip(MIRRORED.moving, moved.tolist(), strict=True))
    assert by_joint[4] > 1
    assert max(by_joint[j] for j in (1, 2, 3, 5, 6)) < 1e-4


def test_joints_cost_nothing_without_their_weight():
    """The part is left out altogether."""
    assert with_joints().places is None
    assert "joints" not in with_joints().parts(torch.zeros(1, 2, 42), torch.zeros(1, 2, 42))


def test_one_frame_and_no_frame():
    """A clip of one frame has no velocity, an empty mask no error."""
    parts = MotionLoss(LossConfig())(found(torch.ones(1, 1, 2), torch.zeros(1, 1, 2)))
    assert parts["velocity"] == 0
    assert masked_mean(torch.ones(1, 3, 2), torch.zeros(1, 3, dtype=torch.bool)) == 0
