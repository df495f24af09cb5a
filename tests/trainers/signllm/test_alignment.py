"""Signs that come early or late: what they are compared with, against a plain search."""

from __future__ import annotations

import itertools

import pytest
import torch
from networks import load, network, only

from trainers.signllm.alignment import PRICE, align

V, J = 150, 50


def everything_seen(poses):
    return torch.ones(*poses.shape[:2], J, dtype=torch.bool)


def cheapest(found, truth, slack):
    """The best shifts of one sentence, of all that there are."""
    count = len(found)
    apart = (found[:, None] - truth[None]).square().mean(-1).sqrt()

    def cost(shifts):
        frames = [frame + shift for frame, shift in enumerate(shifts)]
        if not all(0 <= one < count for one in frames):
            return float("inf")
        changes = [abs(b - a) for a, b in itertools.pairwise(shifts)]
        if max(changes) > 1:
            return float("inf")
        return float(apart[range(count), frames].sum()) + PRICE * sum(changes)

    inner = itertools.product(range(-slack, slack + 1), repeat=count - 2)
    best = min(((0, *shifts, 0) for shifts in inner), key=cost)
    return [frame + shift for frame, shift in enumerate(best)]


@pytest.mark.parametrize("seed", range(4))
def test_it_is_the_best_of_all_ways(seed):
    """Of two sentences in one batch, one of them padded."""
    torch.manual_seed(seed)
    truth, found = torch.randn(2, 2, 6, V).cumsum(2).unbind()
    lengths = torch.tensor([6, 5])
    frames = align(found, truth, everything_seen(truth), lengths, 2)
    for row, count in enumerate(lengths.tolist()):
        wanted = cheapest(found[row, :count], truth[row, :count], 2)
        assert frames[row, :count].tolist() == wanted


def test_a_late_sign_is_compared_with_itself():
    """It costs nothing then, and much without."""
    truth = torch.zeros(1, 30, V)
    truth[:, 10:15] = torch.arange(1.0, 6.0)[:, None]
    late = truth.roll(3, dims=1)
    frames = align(late, truth, everything_seen(truth), torch.tensor([30]), 8)
    assert torch.equal(truth[0, frames[0]], late[0])
    assert frames[0, [0, -1]].tolist() == [0, 29]

    near = align(late, truth, everything_seen(truth), torch.tensor([30]), 1)
    assert not torch.equal(truth[0, near[0]], late[0])


def test_joints_that_were_not_seen_say_nothing():
    """Whatever stands in their place."""
    torch.manual_seed(0)
    truth, found = torch.randn(2, 1, 20, V).cumsum(2).unbind()
    seen = torch.rand(1, 20, J) < 0.7
    wrong = truth.masked_fill(~seen.repeat_interleave(3, dim=-1), 100)
    lengths = torch.tensor([20])
    frames = align(found, truth, seen, lengths, 4)
    assert torch.equal(frames, align(found, wrong, seen, lengths, 4))
    assert not torch.equal(frames, align(found, truth, everything_seen(truth), lengths, 4))


def test_only_where_time_is_not_given():
    """A frame that follows from the true one before it is compared with the next."""
    model, loss, data = network("--timing-slack 8")
    _, strict, _ = network()
    batch = load(data, 1, 2)
    found = model(batch)
    early = only(batch, poses=batch.poses.roll(1, dims=1))
    assert loss.parts(found, early)["reconstruction"] < strict.parts(found, early)["reconstruction"]

    model, _, data = network("--decoding autoregressive --timing-slack 8")
    batch = load(data, 1, 2)
    found = model(batch)
    assert torch.equal(loss(found, batch)["loss"], strict(found, batch)["loss"])
