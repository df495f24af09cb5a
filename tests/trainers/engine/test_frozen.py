"""A frozen part works in the model and is in nothing that is kept of it."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.sections import OptimConfig
from trainers.engine.frozen import Frozen
from trainers.engine.optim import build_ema, build_optimizer
from trainers.engine.outputs import open_outputs
from trainers.engine.prepare import TrainState, distributed


class Model(nn.Module):
    """A head upon an encoder that others trained."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder = Frozen(nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5)))
        self.head = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(x))


def test_it_is_used_and_not_trained() -> None:
    """Its dropout stays off, its weights get no gradient, its input does."""
    model = Model().train()
    x = torch.randn(3, 4, requires_grad=True)

    model(x).sum().backward()

    assert torch.equal(model(x), model(x))
    assert x.grad is not None
    assert all(parameter.grad is None for parameter in model.encoder.module.parameters())


def test_it_is_in_no_checkpoint_and_in_no_average() -> None:
    """What is kept of the model is the head."""
    model = Model()
    ema = build_ema(model, OptimConfig(ema_decay=0.9))
    optimizer = build_optimizer(model, OptimConfig(), samples_per_step=1)
    assert ema is not None

    assert model.state_dict().keys() == {"head.weight", "head.bias"}
    assert len(optimizer.param_groups[0]["params"]) == 2
    assert ema.module.encoder.module is model.encoder.module
    ema.update_parameters(model)
    x = torch.randn(3, 4)
    assert torch.equal(ema(x), model(x))


def test_it_moves_with_the_model() -> None:
    """To another type, as to another device."""
    model = Model().double()

    assert model(torch.randn(3, 4, dtype=torch.float64)).dtype == torch.float64


@pytest.mark.parametrize("ema", [True, False])
def test_a_checkpoint_without_it_loads(tmp_path: Path, *, ema: bool) -> None:
    """Into a model that was built with the same encoder."""
    model = Model()
    optim = OptimConfig(ema_decay=0.9)
    optimizer = build_optimizer(model, optim, samples_per_step=1)
    state = TrainState(
        model=model, optimizer=optimizer, schedule=None, scaler=None, ema=build_ema(model, optim)
    )
    with (
        distributed.world() as world,
        open_outputs(tmp_path, world, trainer="toy", config={}) as outputs,
    ):
        path = checkpoint.save(state, outputs, world, keep=1, metrics={})
    other = Model()
    other.encoder = model.encoder

    checkpoint.load_model(other, path, ema=ema)

    x = torch.randn(3, 4)
    assert torch.equal(other(x), model(x))
