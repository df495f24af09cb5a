"""Scores and losses: the same for any batches and ranks."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from made_layouts import batch_of, config, data

from trainers.engine.batches import item_seeds
from trainers.engine.distributed import World
from trainers.layout import score as scoring
from trainers.layout.config import DiffusionConfig, LossConfig
from trainers.layout.diffusion import Diffusion
from trainers.layout.layouts.layout import to_state
from trainers.layout.losses import LayoutLoss
from trainers.layout.model.denoiser import Denoiser
from trainers.layout.score import draw, measure, score

pytest.importorskip("diffusers")
COUNTS = (3, 5, 3, 8, 5, 5)


@pytest.fixture(name="diffusion", scope="module")
def _diffusion():
    return Diffusion(DiffusionConfig(num_inference_steps=3))


def network(made):
    torch.manual_seed(0)
    net = Denoiser(made.config.model, len(made.categories), 0).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def world(rank=0, ranks=1):
    return World(rank=rank, local_rank=rank, world_size=ranks, device=torch.device("cpu"))


def test_the_truth_has_the_best_score():
    """Its overlap and alignment are those beside it."""
    made = data(6)
    found = measure(to_state(made.corpus.layouts[0]), made.corpus.layouts[0], made.kinds(0))
    sums = dict(zip(scoring.SUMS, found, strict=True))

    assert sums["miou"] == pytest.approx(1)
    assert sums["overlap"] == pytest.approx(sums["true_overlap"])
    assert sums["alignment"] == pytest.approx(sums["true_alignment"])


def test_batches_change_no_figure(diffusion, monkeypatch):
    """Each layout has a noise of its own."""
    made = data(*COUNTS, config=config(given=("nothing", "size")))
    net, loss = network(made), LayoutLoss(LossConfig(), diffusion)
    whole = score(net, made, diffusion, world(), loss)
    monkeypatch.setattr(scoring, "BATCH", 1)
    single = score(net, made, diffusion, world(), loss)

    assert list(whole.tasks) == ["nothing", "size"]
    for task, figures in whole.tasks.items():
        assert single.tasks[task].to_dict() == pytest.approx(figures.to_dict(), rel=1e-4)
    for part in ("loss", "reconstruction", "position"):
        assert single.loss[part] == pytest.approx(whole.loss[part], rel=1e-4)


def test_ranks_share_the_posters(diffusion, monkeypatch):
    """What two ranks add up is what one has."""
    made = data(*COUNTS)
    net, parts = network(made), []
    monkeypatch.setattr(scoring, "reduce_sums", lambda sums, _world: parts.append(sums) or sums)
    for here in (world(), world(0, 2), world(1, 2)):
        score(net, made, diffusion, here)
    whole, one, other = (part["figures"] for part in parts)

    assert whole[0, 0] == len(COUNTS)
    torch.testing.assert_close(one + other, whole, rtol=1e-4, atol=1e-5)


def test_two_ranks_have_the_loss_of_one(diffusion):
    """Of a step with layouts of several lengths, part by part, and its gradient."""
    made = data(*COUNTS)
    made.bucket(len(COUNTS))
    net, loss = network(made), LayoutLoss(LossConfig(), diffusion)
    together = np.arange(len(COUNTS))
    seeds = item_seeds(0, 0, len(COUNTS))

    def parts_of(rows):
        net.zero_grad()
        found = loss.step(net, made.load(rows, seeds[rows], together))
        found["loss"].backward()
        found = {name: float(part.detach()) for name, part in found.items()}
        return found, torch.cat([p.grad.flatten() for p in net.parameters() if p.grad is not None])

    whole, slope = parts_of(together)
    (one, first), (other, second) = parts_of(together[::2]), parts_of(together[1::2])

    for name, part in whole.items():
        assert (one[name] + other[name]) / 2 == pytest.approx(part, rel=1e-4), name
    torch.testing.assert_close((first + second) / 2, slope, rtol=1e-3, atol=1e-6)


def test_sizes_that_are_known_are_kept(diffusion):
    """In the layout that is drawn; another seed draws another one."""
    made = data(5)
    net, rows = network(made), np.array([0])
    (first,) = draw(net, made, rows, "size", diffusion)
    (again,) = draw(net, made, rows, "size", diffusion)
    (other,) = draw(net, made, rows, "size", diffusion, seed=1)
    truth = to_state(made.corpus.layouts[0])

    np.testing.assert_allclose(first[:, 2:4], truth[:, 2:4], atol=1e-6)
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.01


def test_the_task_of_each_layout_is_drawn():
    """By its own seed: with two, each of them occurs."""
    made = data(*[4] * 20, config=config(given=("nothing", "size", "position", "layer")))
    batch = batch_of(made, *range(20))
    tasks = {tuple(one.tolist()) for one in batch.elements.given[:, 0].int()}

    assert len(tasks) == 4
    assert torch.equal(batch.elements.known, batch.state * batch.elements.given)
    assert replace(batch).time.unique().numel() == 20
