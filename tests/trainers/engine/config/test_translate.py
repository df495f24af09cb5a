"""Config files of another schema; other spellings; the preset that is laid over the rest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from trainers.engine.config.config import resolve
from trainers.engine.config.sections import LoopConfig, OptimConfig, RunConfig
from trainers.engine.config.translate import Translation, Unused, rename
from trainers.engine.errors import ConfigError

TABLE = {
    "training.num_epochs": "loop.epochs",
    "data.batch_size": "loop.global_batch",
    "training.optimizer.min_lr": lambda value: {"optim.min_lr_ratio": value * 2500},
    "model.mode": Unused("the verb says it"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    run: RunConfig = RunConfig()
    loop: LoopConfig = LoopConfig()
    optim: OptimConfig = OptimConfig()


def translate(values: Mapping[str, Any], origin: str) -> Translation:
    return rename(values, TABLE, origin)


def resolved(tmp_path: Path, values: Mapping[str, Any], *flags: str) -> Config:
    file = tmp_path / "theirs.json"
    file.write_text(json.dumps(values))
    words = ["--config", str(file), *flags]
    return resolve(Config, words, name="toy", presets=tmp_path, translate=translate)


def test_keys_of_another_schema(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Renamed, computed or not used, each with a sentence; ours may stand beside them."""
    theirs = {
        "model": {"mode": "train"},
        "training": {"num_epochs": 50, "optimizer": {"min_lr": 1e-6}},
        "data": {"batch_size": 32},
        "optim": {"lr": 4e-4},
        "seed": 7,
    }

    config = resolved(tmp_path, theirs)

    assert (config.loop.epochs, config.loop.global_batch, config.run.seed) == (50, 32, 7)
    assert (config.optim.lr, config.optim.min_lr_ratio) == (4e-4, pytest.approx(0.0025))
    told = capsys.readouterr()
    file = tmp_path / "theirs.json"
    assert told.out == ""
    assert told.err.splitlines() == [
        f"{file}: model.mode is not used: the verb says it",
        f"{file}: training.num_epochs 50 is loop.epochs 50",
        f"{file}: training.optimizer.min_lr 1e-06 is optim.min_lr_ratio 0.0025",
        f"{file}: data.batch_size 32 is loop.global_batch 32",
    ]


def test_only_the_first_rank_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Eight ranks would say it eight times."""
    monkeypatch.setenv("RANK", "1")

    resolved(tmp_path, {"training": {"num_epochs": 5}})

    assert capsys.readouterr().err == ""


def test_keys_that_agree_are_one_setting(tmp_path: Path) -> None:
    """Files of others say some things twice."""
    config = resolved(tmp_path, {"training": {"num_epochs": 5}, "loop": {"epochs": 5}})
    assert config.loop.epochs == 5


@pytest.mark.parametrize(
    ("theirs", "sentence"),
    [
        ({"training": {"num_epoch": 5}}, "training.num_epoch in .* is not a setting of toy"),
        ({"model": {"heads": {"count": 5}}}, "model.heads.count in .* is not a setting of toy"),
        (
            {"training": {"num_epochs": 5}, "loop": {"epochs": 6}},
            "loop.epochs in .* gives loop.epochs, which another key gives too",
        ),
        ({"training": {"num_epochs": "many"}}, "loop.epochs cannot be 'many'"),
    ],
)
def test_what_is_not_understood_is_refused(
    tmp_path: Path, theirs: Mapping[str, Any], sentence: str
) -> None:
    """By the name that stands in the file."""
    with pytest.raises(ConfigError, match=sentence):
        resolved(tmp_path, theirs)


@pytest.mark.parametrize(
    ("typed", "path", "value"),
    [
        ("--steps 5", "loop.total_iter", 5),
        ("--max-steps 5", "loop.total_iter", 5),
        ("--num_epochs 5", "loop.epochs", 5),
        ("--log-step 5", "loop.print_iter", 5),
        ("--log_every 5", "loop.print_iter", 5),
        ("--save-step 5", "loop.save_iter", 5),
        ("--sample-step 5", "loop.sample_iter", 5),
        ("--keep all", "loop.keep", "all"),
        ("--keep 7", "loop.keep", 7),
        ("--learning_rate 0.5", "optim.lr", 0.5),
        ("--gradient_clip 0.5", "optim.grad_clip", 0.5),
        ("--max_grad_norm 0.5", "optim.grad_clip", 0.5),
        ("--warmup_steps 5", "optim.warmup_iter", 5),
        ("--dry_run", "run.dry_run", True),
    ],
)
def test_other_spellings(typed: str, path: str, value: Any) -> None:
    """Names that people type from habit."""
    config = resolve(Config, typed.split(), name="toy")

    section, leaf = path.split(".")
    assert getattr(getattr(config, section), leaf) == value


def test_what_keep_takes_is_said() -> None:
    """A number or the word."""
    with pytest.raises(ConfigError, match=r"loop\.keep cannot be 'some'.*whole number or all"):
        resolve(Config, ["--keep", "some"], name="toy")


def test_debug_is_laid_over_files_and_under_flags(tmp_path: Path) -> None:
    """The preset of that name; without it, a sentence."""
    with pytest.raises(ConfigError, match="debug is not a preset of toy"):
        resolved(tmp_path, {"total_iter": 500, "seed": 1}, "--debug")
    (tmp_path / "debug.yaml").write_text("total_iter: 5\nprint_iter: 1\n")

    config = resolved(tmp_path, {"total_iter": 500, "seed": 1}, "--debug", "--print-iter", "2")

    assert (config.loop.total_iter, config.loop.print_iter, config.run.seed) == (5, 2, 1)
    assert resolved(tmp_path, {"total_iter": 500}, "--no-debug").loop.total_iter == 500
    assert resolved(tmp_path, {"total_iter": 500}, "--debug", "false").loop.total_iter == 500
    with pytest.raises(ConfigError, match="--debug cannot be 'maybe'"):
        resolved(tmp_path, {}, "--debug", "maybe")
