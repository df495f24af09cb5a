"""Which evaluation was the best, and when there have been too many since."""

from __future__ import annotations

import pytest
from torch import nn

from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.sections import LoopConfig, OptimConfig
from trainers.engine.metrics import judge, out_of_patience
from trainers.engine.optim import build_optimizer, build_schedule


def new_state() -> TrainState:
    model = nn.Linear(1, 1)
    optimizer = build_optimizer(model, OptimConfig(), samples_per_step=1)
    schedule = build_schedule(optimizer, OptimConfig(), 9)
    return TrainState(model=model, optimizer=optimizer, schedule=schedule, scaler=None)


@pytest.mark.parametrize(
    ("mode", "values", "better", "best"),
    [
        ("min", [5.0, 3.0, 4.0, 3.0, 2.5], [True, True, False, False, True], 2.5),
        ("max", [0.0, 3.0, 2.0, 3.5], [True, True, False, True], 3.5),
        ("min", [float("nan"), 7.0, float("nan"), 6.0], [False, True, False, True], 6.0),
    ],
)
def test_the_best_is_the_least_or_the_most(mode, values, better, best) -> None:
    """As it was asked for; the first counts, an equal one and NaN are no improvement."""
    state, config = new_state(), LoopConfig(monitor="l2", monitor_mode=mode)

    found = []
    for state.step, value in enumerate(values):
        found.append(judge(state, {"l2": value}, config))

    assert found == better
    assert (state.best, state.best_step) == (best, len(values) - 1)


def test_patience_counts_evaluations_since_the_best() -> None:
    """Two that are no better end it; a better one between them begins the count anew."""
    state, config = new_state(), LoopConfig(monitor="l2", patience=2)

    ended = []
    for value in (9.0, 9.5, 8.0, 8.5, 8.1):
        judge(state, {"l2": value}, config)
        ended.append(out_of_patience(state, config))

    assert ended == [False, False, False, False, True]
