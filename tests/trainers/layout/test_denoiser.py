"""The network: elements are a set, padding is nothing, what is known is seen."""

from dataclasses import replace

import pytest
import torch
from made_layouts import FEATURES, batch_of, config, data

from trainers.layout.model.denoiser import Denoiser


def network(made, *, looks=False, **model):
    torch.manual_seed(1)
    net = Denoiser(config(**model).model, len(made.categories), FEATURES if looks else 0).eval()
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return net


def answer(net, batch):
    with torch.no_grad():
        return net(batch.noise, batch.time, batch.elements)


@pytest.mark.parametrize("looks", [False, True])
def test_padding_changes_nothing(looks):
    """A layout alone, and beside a longer one."""
    made = data(3, 9, looks=looks)
    net = network(made, looks=looks)

    alone, beside = (answer(net, batch_of(made, *rows)) for rows in ((0,), (0, 1)))

    torch.testing.assert_close(alone[0], beside[0, :3], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("looks", [False, True])
def test_elements_are_a_set(looks):
    """Two elements that change places, with all that is known of them, change their answers."""
    made = data(5, looks=looks)
    net, batch = network(made, looks=looks), batch_of(made, 0)
    swapped = torch.tensor([1, 0, 2, 3, 4])
    elements = batch.elements
    moved = replace(
        batch,
        noise=batch.noise[:, swapped],
        elements=replace(
            elements,
            category=elements.category[:, swapped],
            features=elements.features[:, swapped] if looks else None,
        ),
    )

    found, other = answer(net, batch), answer(net, moved)

    torch.testing.assert_close(found[:, swapped], other, rtol=1e-4, atol=1e-5)
    assert (found[0, 0] - found[0, 1]).abs().max() > 0.01


def test_every_known_thing_matters():
    """Images, category, known values, canvas and time change the answer."""
    made = data(4, looks=True)
    net, batch = network(made, looks=True), batch_of(made, 0)
    elements = batch.elements
    changes = [
        replace(batch, time=1 - batch.time),
        *(
            replace(batch, elements=replace(elements, **change))
            for change in (
                {"features": -elements.features},
                {"category": torch.zeros_like(elements.category)},
                {"given": torch.ones_like(elements.given)},
                {"aspect": elements.aspect + 1},
            )
        ),
    ]
    found = answer(net, batch)

    assert all((answer(net, one) - found).abs().max() > 1e-3 for one in changes)


def test_the_head_reaches_every_value():
    """Noise has values beyond -1..1, and so has what the network says."""
    made = data(6)
    net = network(made)
    torch.nn.init.constant_(net.head[-1].bias, 3.0)

    found = answer(net, batch_of(made, 0))

    assert (found > 1).any()
    assert (found.amax((0, 1)) > 1).all()


def test_every_parameter_gets_a_gradient():
    """With images and without; that of known values too, if some are known."""
    for looks in (False, True):
        made = data(6, looks=looks, config=config(given=("size",)))
        net, batch = network(made, looks=looks).train(), batch_of(made, 0)
        net(batch.noise, batch.time, batch.elements).square().sum().backward()

        assert [n for n, p in net.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_recomputing_changes_nothing():
    """Gradient checkpointing gives the same gradients."""
    made = data(6)
    batch = batch_of(made, 0)
    slopes = []
    for recompute in (False, True):
        net = network(made).train()
        net.recompute = recompute
        net(batch.noise, batch.time, batch.elements).square().sum().backward()
        slopes.append([p.grad for p in net.parameters()])

    for one, other in zip(*slopes, strict=True):
        torch.testing.assert_close(one, other)
