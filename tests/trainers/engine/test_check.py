"""A trainer's own check, of which most is shared."""

from __future__ import annotations

import json
import sys

import pytest
from toy import Config

from trainers.engine.check import checkpoint, main


def test_a_trainer_without_presets_has_a_check(monkeypatch, capsys, tmp_path):
    """Presets are as optional here as for its settings."""
    monkeypatch.setattr(sys, "argv", ["check", "--out-dir", str(tmp_path), "--resume", "auto"])

    with pytest.raises(SystemExit) as left:
        main(Config, lambda config: checkpoint(config.run), name="toy")

    assert (0, []) == (left.value.code, json.loads(capsys.readouterr().out))
