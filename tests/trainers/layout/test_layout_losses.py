"""The loss: 0 for the truth, a gradient for every part, the same for any padding."""

from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from made_layouts import SMALL, batch_of, data

from trainers.layout.config import DiffusionConfig, LossConfig
from trainers.layout.losses import LayoutLoss, boxes_of, giou, misalignment, overlaps
from trainers.layout.noise import Noise

PARTS = ("position", "layer", "confidence", "aesthetic", "overlap", "alignment")


class HalfNoise(Noise):
    """Half of the variance is noise at any time."""

    def kept(self, time_B):
        return torch.full_like(time_B, 0.5)


def loss_of(prediction="x0", **weights):
    return LayoutLoss(LossConfig(**weights), HalfNoise(DiffusionConfig(prediction=prediction)))


def knows(loss, batch):
    """A network that finds the true layout in the noise."""
    return lambda *_: loss.noise.target(batch.state, batch.noise, loss.noise.kept(batch.time))


@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("distance", ["l1", "l2", "huber"])
def test_the_truth_has_no_loss(prediction, distance):
    """In no part, whatever the true layout overlaps or leaves unaligned."""
    loss = loss_of(prediction, reconstruction=distance)
    batch = batch_of(data(3, 7, 5), 0, 1, 2)

    found = loss.step(knows(loss, batch), batch)

    assert {name: pytest.approx(0, abs=1e-5) for name in found} == {
        name: float(value) for name, value in found.items()
    }


@pytest.mark.parametrize("part", PARTS)
def test_every_part_has_a_gradient(part):
    """From the boxes, layers and confidences of a layout that is not the true one."""
    loss = loss_of()
    batch = batch_of(data(6, 6), 0, 1)
    aligned = batch.state.clone()
    aligned[:, 1:, 0] = aligned[:, :1, 0]  # all centres below one another
    batch = replace(batch, state=aligned)
    found = (batch.state + 0.1 * torch.randn_like(batch.state)).requires_grad_()

    loss.step(lambda *_: found, batch)[part].backward()

    assert found.grad.abs().sum() > 0
    assert found.grad.isfinite().all()


def test_weights_are_those_of_the_settings():
    """The sum of all parts, each times its weight."""
    weights = {f"loss_{name}": 0.1 * place for place, name in enumerate(PARTS, start=1)}
    loss, batch = loss_of(**weights), batch_of(data(4, 4), 0, 1)
    found = {k: float(v) for k, v in loss.step(lambda x, *_: x, batch).items()}

    assert {f.name for f in fields(LossConfig)} == {"reconstruction", *weights}
    assert found["loss"] == pytest.approx(
        found["reconstruction"] + sum(weights[f"loss_{name}"] * found[name] for name in PARTS)
    )


def test_known_values_are_not_judged():
    """If all is known, nothing is left to lose."""
    loss, batch = loss_of(), batch_of(data(4), 0)
    every = batch.elements.mask[..., None].expand(-1, -1, 6)
    batch = replace(batch, elements=replace(batch.elements, given=every))

    found = loss.step(lambda x, *_: x + 1, batch)

    assert float(found["loss"]) == pytest.approx(0, abs=1e-5)


def test_padding_changes_neither_loss_nor_gradient():
    """A layout alone, and beside a longer one whose part of the mean is known."""
    loss, made = loss_of(), data(3, 9)
    torch.manual_seed(0)
    alone, both = batch_of(made, 0), batch_of(made, 0, 1)
    longer = batch_of(made, 1)
    off = 0.3 * torch.randn(2, 9, 6)

    def judged(batch, off):
        found = (batch.state + off).requires_grad_()
        parts = loss.step(lambda *_: found, batch)
        parts["reconstruction"].backward()
        return float(parts["reconstruction"].detach()), found.grad

    whole, slope = judged(both, off)
    short, its_slope = judged(alone, off[:1, :3])
    other, _ = judged(longer, off[1:])

    assert whole == pytest.approx((3 * short + 9 * other) / 12, rel=1e-5)
    np.testing.assert_allclose(slope[0, :3], its_slope[0] * 3 / 12, rtol=1e-4, atol=1e-8)
    assert not slope[0, 3:].any()


def test_overlap_and_iou_worked_by_hand():
    """Two squares of side 2, one moved by 1: a quarter of each is covered."""
    boxes = torch.tensor([[[0.0, 0.0, 2.0, 2.0], [1.0, 1.0, 3.0, 3.0]]])

    assert overlaps(boxes)[0, 0, 1] == pytest.approx(0.25)
    # intersection 1, union 7, hull 9
    assert giou(boxes[0, 0], boxes[0, 1]) == pytest.approx(1 / 7 - 2 / 9)


def test_only_edges_that_align_in_the_truth_must_align():
    """The first two share their left edge in the truth; the third nothing."""
    true = torch.tensor([[[0.1, 0.0, 0.3, 0.1], [0.1, 0.2, 0.45, 0.33], [0.6, 0.5, 0.77, 0.7]]])
    found = true.clone()
    found[0, 0, 0] += 0.06

    apart = misalignment(found, true)[0]

    assert apart[0, 1] == pytest.approx(0.06 / 6)
    assert apart[0, 2] == 0


def test_a_negative_size_is_no_reason_to_fail():
    """A network may say anything; its boxes have sides."""
    boxes = boxes_of(torch.full((1, 2, 6), -3.0))

    assert (boxes[..., 2:] > boxes[..., :2]).all()
    assert SMALL.loss.reconstruction == "l1"
