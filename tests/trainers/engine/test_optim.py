"""The learning rate is a closed form of the step; scaling and averaging do what they say."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from trainers.engine.config.sections import OptimConfig
from trainers.engine.optim import (
    build_ema,
    build_optimizer,
    build_schedule,
    lr_factor,
    rewind,
)


def factors(total: int, **settings) -> list[float]:
    factor = lr_factor(OptimConfig(**settings), total)
    return [round(factor(step), 6) for step in range(total)]


def test_multistep_drops_at_each_milestone() -> None:
    """gamma to the power of the milestones behind, in whatever order they are given."""
    assert factors(6, lr_scheduler=(4, 2), gamma=0.5) == [1, 1, 0.5, 0.5, 0.25, 0.25]


def test_warmup_rises_to_the_whole_rate() -> None:
    """Linear over warmup_iter steps, never zero."""
    assert factors(6, warmup_iter=4, schedule="constant") == [0.25, 0.5, 0.75, 1, 1, 1]


def test_cosine_ends_at_its_least() -> None:
    """From 1 after the warm-up down to min_lr_ratio, and never below it."""
    found = factors(11, schedule="cosine", min_lr_ratio=0.1)
    factor = lr_factor(OptimConfig(schedule="cosine", min_lr_ratio=0.1), 10)

    assert found[0] == 1
    assert found == sorted(found, reverse=True)
    assert factor(10) == factor(99) == pytest.approx(0.1)
    assert factor(5) == pytest.approx(0.55)


def test_rewind_is_where_stepping_leads() -> None:
    """Set to a step, the schedule is as if it had come there step by step."""
    config = OptimConfig(lr=0.3, warmup_iter=3, lr_scheduler=(5,))
    rates = []
    for jump in (False, True):
        optimizer = build_optimizer(nn.Linear(1, 1), config, samples_per_step=1)
        schedule = build_schedule(optimizer, config, 9)
        if jump:
            rewind(schedule, 4)
        else:
            for _ in range(4):
                optimizer.step()
                schedule.step()
        for _ in range(3):
            rates.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()

    assert rates[:3] == rates[3:]


def test_scale_lr_is_linear_in_the_global_batch(caplog: pytest.LogCaptureFixture) -> None:
    """lr x samples per step / reference batch, and it is said."""
    caplog.set_level("INFO", "trainers")
    config = OptimConfig(lr=1e-3, scale_lr=True, reference_batch=256)

    optimizer = build_optimizer(nn.Linear(1, 1), config, samples_per_step=512)

    assert optimizer.param_groups[0]["lr"] == 2e-3
    assert "512 / 256 samples per step = 0.002" in caplog.text


def test_milestones_that_do_nothing_are_told(caplog: pytest.LogCaptureFixture) -> None:
    """A cosine falls by itself; who gave milestones learns that they are not looked at."""
    parameter = nn.Parameter(torch.zeros(1))
    optim = OptimConfig(schedule="cosine", lr_scheduler=(50, 80))

    build_schedule(
        build_optimizer(nn.ParameterList([parameter]), optim, samples_per_step=1), optim, 100
    )

    assert "milestones do nothing with schedule cosine" in caplog.text


def test_frozen_parameters_are_left_out() -> None:
    """What does not train has no optimizer state."""
    model = nn.Linear(1, 1)
    model.bias.requires_grad_(requires_grad=False)

    optimizer = build_optimizer(model, OptimConfig(), samples_per_step=1)

    assert len(optimizer.param_groups[0]["params"]) == 1


def test_groups_of_parameters() -> None:
    """A factor of the rate by the beginning of a name; norms and biases without decay."""
    model = nn.ModuleDict({"text": nn.Linear(2, 2), "head": nn.Linear(2, 2)})
    optim = OptimConfig(lr=1.0, weight_decay=0.5, decay_norms=False)

    optimizer = build_optimizer(model, optim, samples_per_step=1, factors={"text.": 0.1})

    groups = [(g["lr"], g["weight_decay"], len(g["params"])) for g in optimizer.param_groups]
    assert sorted(groups) == [(0.1, 0.0, 1), (0.1, 0.5, 1), (1.0, 0.0, 1), (1.0, 0.5, 1)]
    assert groups[0][0] == 1.0
    schedule = build_schedule(optimizer, OptimConfig(lr=1.0, warmup_iter=2), 4)
    rates = sorted(g["lr"] for g in optimizer.param_groups)
    assert rates == pytest.approx([0.05, 0.05, 0.5, 0.5])
    rewind(schedule, 1)
    assert sorted(g["lr"] for g in optimizer.param_groups) == pytest.approx([0.1, 0.1, 1, 1])


def test_one_group_unless_asked_for_more() -> None:
    """So that the figures of earlier runs stay what they were."""
    optimizer = build_optimizer(nn.Linear(2, 2), OptimConfig(), samples_per_step=1)

    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.01]


def test_average_of_the_weights_by_hand() -> None:
    """average = decay x average + (1 - decay) x weights, the decay rising to ema_decay."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    ema = build_ema(model, OptimConfig(ema_decay=0.25))
    assert ema is not None

    ema.update_parameters(model)  # the first is taken as it is
    nn.init.constant_(model.weight, 2.0)
    ema.update_parameters(model)
    second = 1.0 * 2 / 11 + 2.0 * 9 / 11
    assert ema.module.weight.item() == pytest.approx(second)
    ema.update_parameters(model)
    third = second * 3 / 12 + 2.0 * 9 / 12
    assert ema.module.weight.item() == pytest.approx(third)
    ema.update_parameters(model)  # 4 / 13 would be more than ema_decay
    assert ema.module.weight.item() == pytest.approx(third * 0.25 + 2.0 * 0.75)

    assert not any(p.requires_grad for p in ema.parameters())
    assert build_ema(model, OptimConfig()) is None


@pytest.mark.parametrize("decay", [0.995, 0.9999])
def test_a_short_run_is_not_judged_by_its_first_weights(decay: float) -> None:
    """After 100 steps the average is about as good as the weights."""
    x_ND = torch.randn(256, 8)
    y_ND = torch.sin(x_ND) + x_ND.flip(1)
    model = nn.Sequential(nn.Linear(8, 32), nn.Tanh(), nn.Linear(32, 8))
    ema = build_ema(model, OptimConfig(ema_decay=decay))
    assert ema is not None
    optimizer = build_optimizer(model, OptimConfig(lr=1e-2), samples_per_step=256)
    for _ in range(100):
        optimizer.zero_grad()
        (model(x_ND) - y_ND).square().mean().backward()
        optimizer.step()
        ema.update_parameters(model)

    with torch.no_grad():
        loss, averaged = ((net(x_ND) - y_ND).square().mean() for net in (model, ema))
    assert averaged <= 1.1 * loss


def test_the_fused_optimizer_is_adamw() -> None:
    """One step by hand: decoupled decay, bias-corrected moments (Loshchilov and Hutter 2019)."""
    model = nn.Linear(1, 1, bias=False)
    nn.init.constant_(model.weight, 1.0)
    config = OptimConfig(lr=0.1, weight_decay=0.5, betas=(0.9, 0.99))
    optimizer = build_optimizer(model, config, samples_per_step=1)
    model.weight.grad = torch.tensor([[3.0]])

    optimizer.step()

    assert model.weight.item() == pytest.approx(1 - 0.1 * 0.5 - 0.1, abs=1e-6)
