"""Rotations, forward kinematics and mirrors."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from motion_data import MIRRORED, SKELETON, poses
from scipy.spatial.transform import Rotation

from trainers.motion import kinematics as k
from trainers.motion.rotations import from_axis_angle
from trainers.motion.skeleton import find_mirror, to_axis_angle, to_matrices
from trainers.motion.smplh import smplh_skeleton
from trainers.rvq.augment import augmentation, limbs_of
from trainers.rvq.config import DatasetConfig


def angles(count=200):
    """Vectors of all lengths up to pi, and the edges: none, tiny, nearly pi."""
    rng = np.random.default_rng(0)
    axes = rng.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    sizes = np.concatenate([rng.uniform(0, math.pi, count - 4), [0, 1e-7, 1e-4, math.pi - 1e-6]])
    return torch.from_numpy(axes * sizes[:, None])


def test_axis_angle_agrees_with_scipy_and_comes_back():
    """To matrices as scipy does it, and back to the same vectors."""
    vectors = angles()
    matrices = k.axis_angle_to_matrix(vectors)

    expected = Rotation.from_rotvec(vectors.numpy()).as_matrix()
    np.testing.assert_allclose(matrices.numpy(), expected, atol=1e-7)
    np.testing.assert_allclose(k.matrix_to_axis_angle(matrices).numpy(), vectors, atol=1e-6)


def test_6d_comes_back_and_mends_what_is_no_rotation():
    """6D is exact on rotations, and any 6 numbers give a rotation."""
    matrices = k.axis_angle_to_matrix(angles())
    np.testing.assert_allclose(
        k.sixd_to_matrix(matrices[..., :2].mT.flatten(-2)), matrices, atol=1e-12
    )
    mended = k.sixd_to_matrix(torch.randn(50, 6, dtype=torch.float64))
    eye = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    np.testing.assert_allclose(mended @ mended.mT, eye, atol=1e-12)
    np.testing.assert_allclose(torch.linalg.det(mended), 1, atol=1e-12)


def test_numpy_and_torch_have_one_6d():
    """Features made by numpy are read by torch as the same rotations."""
    pose = poses(5, 7)
    features = torch.from_numpy(from_axis_angle(pose, "6d"))
    np.testing.assert_allclose(k.features_to_matrix(features, 7), to_matrices(pose), atol=1e-6)
    np.testing.assert_allclose(to_axis_angle(to_matrices(pose)), pose, atol=1e-6)


def test_gradients_are_finite_at_no_rotation():
    """Zero vectors are everywhere in real poses."""
    vectors = torch.zeros(3, 3, requires_grad=True)
    k.axis_angle_to_matrix(vectors).sum().backward()
    assert torch.isfinite(vectors.grad).all()


@pytest.mark.parametrize("skeleton", [SKELETON, smplh_skeleton()])
def test_forward_kinematics_agrees_with_the_plain_one(skeleton):
    """By depth on tensors equals joint by joint in numpy, the translation joint at the origin."""
    matrices = to_matrices(poses(6, len(skeleton)))
    expected = skeleton.positions(matrices)[:, list(skeleton.moving)]

    placed = k.ForwardKinematics(skeleton)(torch.from_numpy(matrices))

    np.testing.assert_allclose(placed.numpy(), expected, atol=1e-4)
    assert skeleton.moving[0] == skeleton.translation_joint


def test_joints_that_the_pose_does_not_move_have_no_place():
    """The static root above the hips would only water the mean error down."""
    assert SKELETON.moving == (1, 2, 3, 4, 5, 6)


@pytest.mark.parametrize("skeleton", [MIRRORED, smplh_skeleton()])
def test_a_mirrored_pose_has_mirrored_joints(skeleton):
    """Reflecting the pose reflects where the joints are, left and right swapped."""
    config = DatasetConfig(rotation="6d", mirror=True)
    varies = augmentation(config, "6d", skeleton)
    pose = poses(4, len(skeleton))
    features = from_axis_angle(pose, "6d")[None]
    mirrored = varies.reflect(features, np.array([True]), np.zeros(1))

    forward = k.ForwardKinematics(skeleton)
    before, after = (
        forward(k.features_to_matrix(torch.from_numpy(f[0]), len(skeleton))).numpy()
        for f in (features, mirrored)
    )
    counterpart = [skeleton.moving.index(skeleton.mirror.joints[j]) for j in skeleton.moving]
    np.testing.assert_allclose(after, before[:, counterpart] * [-1, 1, 1], atol=1e-4)
    twice = varies.reflect(mirrored, np.array([True]), np.zeros(1))
    np.testing.assert_allclose(twice, features, atol=1e-6)


def test_a_turned_pose_has_turned_joints():
    """The heading turns about the vertical axis."""
    config = DatasetConfig(rotation="6d", turn=True)
    varies = augmentation(config, "6d", MIRRORED)
    pose = poses(4, 7)
    pose[:, :3] = 0  # the joint above the one that carries the heading
    features = from_axis_angle(pose, "6d")[None]
    turned = varies.reflect(features, np.array([False]), np.array([0.7]))

    forward = k.ForwardKinematics(MIRRORED)
    before, after = (
        forward(k.features_to_matrix(torch.from_numpy(f[0]), 7)).numpy() for f in (features, turned)
    )
    np.testing.assert_allclose(
        after,
        Rotation.from_rotvec([0, 0.7, 0]).apply(before.reshape(-1, 3)).reshape(before.shape),
        atol=1e-4,
    )


def test_no_mirror_where_nothing_matches():
    """Bones or names that are not symmetric give no mirror instead of a wrong one."""
    crooked = list(SKELETON.offsets)
    crooked[4] = (40, 0, 1)
    at_rest = np.tile(np.eye(3), (7, 1, 1))
    assert find_mirror(replace(SKELETON, offsets=tuple(crooked)), at_rest) is None
    nameless = replace(SKELETON, joints=tuple("abcdefg"))
    assert find_mirror(nameless, at_rest) is None


def test_limbs_begin_where_a_joint_has_several_children():
    """Trunk, left arm, right arm."""
    assert limbs_of(SKELETON.parents).tolist() == [0, 0, 0, 1, 1, 2, 2]


def test_blending_moves_limbs_towards_another_pose():
    """At share 0 a limb stays, at 1 it is the other's, and whatever lies between is a rotation."""
    varies = augmentation(DatasetConfig(blend=1.0), "6d", MIRRORED)
    own, other = (from_axis_angle(poses(4, 7, seed), "6d")[None] for seed in (0, 1))
    everywhere = np.array([True])

    blended = varies.blend(own, other, np.array([[0.0, 1.0, 0.5]]), everywhere)[0]

    np.testing.assert_allclose(blended[:, :18], own[0, :, :18], atol=1e-6)
    np.testing.assert_allclose(blended[:, 18:30], other[0, :, 18:30], atol=1e-6)
    between = blended[:, 30:].reshape(-1, 6)
    np.testing.assert_allclose(np.linalg.norm(between[:, :3], axis=1), 1, atol=1e-6)
    np.testing.assert_allclose((between[:, :3] * between[:, 3:]).sum(1), 0, atol=1e-6)
    kept = varies.blend(own, other, np.ones((1, 3)), ~everywhere)
    np.testing.assert_array_equal(kept, own)
