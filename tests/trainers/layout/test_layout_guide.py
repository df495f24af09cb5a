"""The guide's file, as settings of ours."""

import pytest

from trainers.engine.errors import ConfigError
from trainers.layout.guide_config import translate


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"data": {"train_ratio": "most"}}, "train_ratio is most"),
        ({"data": {"num_workers": "all"}}, "num_workers is all"),
        ({"optimizer": {"lr": 0, "min_lr": 1e-6}}, "optimizer.lr must be more than 0"),
        ({"optimizer": {"lr": "fast", "min_lr": 1e-6}}, "must be numbers"),
        ({"diffusion": {"beta_start": 1}}, "beta_start must be 0.0001"),
    ],
)
def test_values_that_cannot_be_are_a_sentence(values, words):
    """Naming the key."""
    with pytest.raises(ConfigError, match=words):
        translate(values, "config.json")
