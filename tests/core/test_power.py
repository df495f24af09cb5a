"""What cards draw, in words."""

from __future__ import annotations

import pytest

from gpuops.core.device import Device
from gpuops.core.power import told, usual
from gpuops.core.telemetry import CardSample, Sample


def card(power_w, utilization_pct=100, index=3):
    return Device(index=index, power_w=power_w, utilization_pct=utilization_pct)


def sample(power_w, step_s=0.5):
    cards = {3: CardSample(power_w=power_w), 4: CardSample()}
    return Sample(at_s=1.0, attempt=1, step_s=step_s, cards=cards)


def test_the_usual_is_the_middle_of_what_was_drawn_while_steps_were_made():
    """A hang, and a card that does not tell, leave it as it is."""
    recorded = [sample(290), sample(60), sample(300), *(sample(70, None) for _ in range(9))]

    assert usual(recorded) == {3: 290}


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (card(70), "100 % at 70 W, 290 W while it trained: as in a wait for other ranks"),
        (card(280), "100 % at 280 W, 290 W while it trained"),
        (card(70, 0), "0 % at 70 W, 290 W while it trained"),
        (card(70, None), "70 W, 290 W while it trained"),
    ],
)
def test_a_busy_card_that_draws_little_waits(seen, words):
    """The figures always; what they mean where that is known."""
    assert told({0: seen}, {3: 290.0}) == (f"GPU 3: {words}",)


@pytest.mark.parametrize(("seen", "before"), [(card(None), {3: 290.0}), (card(70), {})])
def test_what_is_not_known_is_not_told(seen, before):
    """Neither without a reading now, nor without one from before."""
    assert told({0: seen}, before) == ()
