"""The loss: what counts in it, and that it is the same however sentences are dealt out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from networks import load, network, only

from trainers.signllm.skeleton import BONES, COUNT, HANDS, JOINTS

PARTS = "--loss-rl 0.1 --loss-bone 0.1 --batch-size 4"


@pytest.mark.parametrize(
    "kind", ["--timing-slack 3", "--mode prompt2langgloss", "--decoding autoregressive"]
)
def test_two_ranks_have_the_loss_of_one(kind):
    """Of a step with mixed languages and lengths, part by part."""
    model, loss, data = network(f"{kind} {PARTS}")
    data.bucket(4)
    together = np.arange(4)
    seeds = 1000 + together.astype(np.uint64)
    whole = data.load(together, seeds, together)
    of_whole = loss.parts(model(whole), whole)
    halves = [
        data.load(rows, seeds[rows], together) for rows in (np.array([0, 1]), np.array([2, 3]))
    ]
    of_halves = [loss.parts(model(half), half) for half in halves]
    for name, part in of_whole.items():
        mean = (of_halves[0][name] + of_halves[1][name]) / 2
        assert torch.allclose(part, mean, atol=1e-5), name


def test_what_was_not_seen_does_not_count():
    """Joints that are missing, and the frames behind a sentence."""
    model, loss, data = network(PARTS)
    batch = load(data, 0, 1)
    found = model(batch)
    wrong = batch.poses.clone()
    wrong[~batch.seen.repeat_interleave(3, dim=-1)] = 100
    there = loss.parts(found, batch)
    assert loss.parts(found, only(batch, poses=wrong)) == there


def test_unseen_joints_are_missing_and_not_zero():
    """They are marked where a file has three zeros or NaN."""
    _, _, data = network()
    batch = load(data, 0)
    assert not batch.seen[0, :4, 8:29].any()
    assert batch.seen[0, 4:].all()


def test_every_part_is_live():
    """Each by itself moves the network."""
    for kind in ("--mode prompt2langgloss", "--decoding autoregressive"):
        model, loss, data = network(f"{kind} {PARTS}")
        batch = load(data, 0, 1, 2)
        for name, part in loss.parts(model(batch), batch).items():
            model.zero_grad()
            part.backward(retain_graph=True)
            assert sum(p.grad.abs().sum() for p in model.parameters() if p.grad is not None), name


def test_the_rl_loss_is_per_frame_and_moves_the_priority_channel():
    """A frame of low quality weighs more; alpha and beta of 0 leave the reconstruction."""
    model, loss, data = network("--loss-rl 1 --rl-alpha 0 --rl-beta 0")
    batch = load(data, 0, 1)
    parts = loss.parts(model(batch), batch)
    assert torch.allclose(parts["rl"], parts["reconstruction"])

    model, loss, data = network("--loss-rl 1 --rl-alpha 0.5 --rl-beta 0.1")
    parts = loss.parts(model(batch), batch)
    assert parts["rl"] != parts["reconstruction"]
    parts["rl"].backward()
    assert model.decoder.head.quality.weight.grad.abs().sum() > 0


def test_a_hand_can_weigh_more():
    """The mean weight stays 1."""
    _, loss, _ = network("--hands 4")
    assert loss.weight[HANDS[0]] == pytest.approx(4 * float(loss.weight[0]))
    assert loss.weight.mean() == pytest.approx(1)


def test_a_part_of_weight_0_is_left_out():
    """It costs nothing then."""
    model, loss, data = network("--loss-rl 0 --loss-bone 0 --loss-velocity 0")
    batch = load(data, 0)
    assert set(loss(model(batch), batch)) == {"loss", "reconstruction", "length"}


def test_the_length_is_the_datas_own_before_training():
    """Mean frames of a token times tokens: its error is small from the beginning."""
    model, _, data = network()
    model.frames_per_token.fill_(data.frames_per_token())
    torch.nn.init.zeros_(model.duration.weight)
    found = model(load(data, 0, 1, 2, 3)).log_frames.exp().sum().item()
    tokens = sum(len(one.text) for one in data.corpus.sentences)
    assert found == pytest.approx(tokens * data.frames_per_token(), rel=1e-4)


def test_the_skeleton_is_whole():
    """50 joints, each bone between two of them, no joint left alone."""
    assert (COUNT, len(set(JOINTS))) == (50, 50)
    assert {joint for bone in BONES for joint in bone} == set(range(COUNT))
    assert all(start != end for start, end in BONES)
