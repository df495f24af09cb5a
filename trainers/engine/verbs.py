"""What the command lines of verbs have in common: flags, JSON or tables, the file of figures."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from rich.console import Console

from trainers.engine.files import dump_json, whole_file
from trainers.engine.trained import run_folder

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


class Scored(Protocol):
    """What an evaluation found."""

    @property
    def checkpoint(self) -> Path:
        """The folder of the checkpoint that was evaluated."""

    def to_dict(self) -> dict[str, Any]:
        """Return all figures, as values for JSON."""


S = TypeVar("S", bound=Scored)


def checkpoint_parser(trainer: str, verb: str, about: str) -> argparse.ArgumentParser:
    """Return a parser for ``python -m trainers.TRAINER.VERB --checkpoint RUN``."""
    parser = argparse.ArgumentParser(
        prog=f"python -m trainers.{trainer}.{verb}", description=about, allow_abbrev=False
    )
    add_checkpoint_flag(parser)
    return parser


def add_checkpoint_flag(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add ``--checkpoint``, which guides call ``--model_path``."""
    parser.add_argument(
        "--checkpoint", "--model-path", "--model_path",
        type=Path, required=required, help="a run's or a checkpoint's folder",
    )  # fmt: skip


def add_data_flags(parser: argparse.ArgumentParser) -> None:
    """Add ``--data`` and ``--split``, both None if they are not given."""
    parser.add_argument("--data", help="a data set; default: the one it was trained on")
    parser.add_argument("--split", help="train, val or dev; default: the one it was validated on")


def print_result(
    values: Mapping[str, Any], tables: Callable[[Console], None], *, as_json: bool
) -> None:
    """Print a result on stdout: its values as one line of JSON, or ``tables``."""
    if as_json:
        sys.stdout.write(dump_json(values))
    else:
        tables(Console(soft_wrap=True, markup=False, highlight=False))


def run_evaluation(
    argv: Sequence[str],
    *,
    trainer: str,
    evaluate: Callable[..., S],
    tables: Callable[[S, Console], None],
    switches: Mapping[str, str] | None = None,
) -> int:
    """Run the command line of a trainer's verb ``evaluate``; return the exit code.

    ``evaluate(checkpoint, data, split)`` scores. The figures on the run's own data are written to
    evaluation.json in the run's folder, those of a split that was named to evaluation-SPLIT.json.
    ``switches`` are flags of the trainer's own with their help: ``evaluate`` gets each by keyword.

    Raises:
        TrainerError: the file cannot be written; and what ``evaluate`` raises.
    """
    parser = checkpoint_parser(trainer, "evaluate", f"Score a checkpoint of {trainer}.")
    add_data_flags(parser)
    parser.add_argument("--json", action="store_true", help="print all figures as JSON")
    added = [
        parser.add_argument(flag, action="store_true", help=text).dest
        for flag, text in (switches or {}).items()
    ]
    given = parser.parse_args(argv)
    own = {name: getattr(given, name) for name in added}
    found = evaluate(given.checkpoint, given.data, given.split, **own)
    path = None
    if given.data is None:  # figures on other data are not figures of the run
        name = "evaluation.json" if given.split is None else f"evaluation-{given.split}.json"
        path = run_folder(found.checkpoint) / name
        with whole_file(path) as unfinished:
            unfinished.write_text(dump_json(found.to_dict(), indent=1), encoding="utf-8")
    print_result(found.to_dict(), lambda console: tables(found, console), as_json=given.json)
    if not given.json:
        sys.stdout.write(f"all figures: {path or 'with --json'}\n")
    return 0
