"""What a run leaves in its folder: log, figures, settings, statistics, checkpoints.

::

    train.log           the lines printed, with the time
    metrics.jsonl       one JSON object per line of figures
    tensorboard/        the same figures as TensorBoard events
    config_used.yaml    the resolved settings, also as config_used.json; ``--config`` reads either
    statistics.json     what the trainer computed from its data (attached files: see ``attach``)
    checkpoints/        see ``checkpoint.files``; what the trainer attached is in each of them
    samples/            what the trainer draws of its model, if it does

Rank 0 alone writes.
"""

from __future__ import annotations

import json
import logging
import math
import os
import sys
import time
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from trainers.engine.config.config import dump
from trainers.engine.distributed import broadcast_object
from trainers.engine.errors import MALFORMED, TrainerError
from trainers.engine.files import atomic, load_json, whole_file

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainers.engine.distributed import World

log = logging.getLogger("trainers")


@dataclass(slots=True, kw_only=True)
class Outputs:
    """A run's folder, open for writing on rank 0 and known to the others."""

    folder: Path
    trainer: str
    config: Mapping[str, Any]
    dry_run: bool = False  # whether the run ends after one pass; then nothing is written
    figures_file: TextIO | None = None
    events: Any = None
    attached: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    """JSON files by name that each checkpoint holds beside its weights."""

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def samples(self) -> Path:
        """The folder of samples drawn while it trains; the trainer makes it."""
        return self.folder / "samples"

    def figures(
        self, step: int, split: str, values: Mapping[str, float], **position: int | None
    ) -> None:
        """Record figures of a step: a line in metrics.jsonl, and scalars ``split/name``.

        ``position`` (``epoch``, ``total_steps``) goes into the line beside the step.
        """
        if self.figures_file is None:
            return
        plain = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"step": step, **position, "split": split, **plain}
        try:
            self.figures_file.write(json.dumps({**line, "time": round(time.time(), 3)}) + "\n")
        except OSError as error:
            # A full disk must not end the training: the next checkpoint decides about that.
            self.figures_file = None
            log.warning("figures are no longer recorded: %s", error.strerror)
            return
        if self.events is not None:
            event = _event(step, {f"{split}/{k}": v for k, v in values.items()})
            try:
                self.events.add_event(event)
            except OSError as error:  # of its thread, from an earlier event
                self.events = None
                log.warning("TensorBoard events are no longer recorded: %s", error.strerror)

    def attach(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a JSON file into the run's folder, and into each checkpoint from now on.

        For what the model needs in order to be used: a copied checkpoint then has it.

        Raises:
            TrainerError: it cannot be written.
        """
        self.attached[name] = values
        if self.figures_file is None:
            return
        hint = "make room, or give another --out-dir"
        with whole_file(self.folder / name, hint) as unfinished:
            unfinished.write_text(json.dumps(values, indent=2) + "\n")

    def attach_data(
        self, about: Mapping[str, Mapping[str, Any]], counted: str, units: str = "frames"
    ) -> None:
        """Attach data.json: of each split its ``source``, ``digest``, samples and their ``units``.

        ``counted`` is what the samples are called, ``units`` what they consist of. If a run resumes
        with other data than it began with, a warning says so.

        Raises:
            TrainerError: the file cannot be written, or the earlier one cannot be read.
        """
        path = self.folder / "data.json"
        before = load_json(path) if path.is_file() else {}
        for split, data in about.items():
            try:
                then = before.get(split)
                if then is None or then["digest"] == data["digest"]:
                    continue
                samples, parts = int(then[counted]), int(then[units])
            except MALFORMED:
                raise TrainerError(
                    f"{path} does not describe the data that the run began with",
                    "move it away if it is not of this run",
                ) from None
            log.warning(
                "%s has changed since this run began: %d %s of %d %s then, %d of %d now",
                *(data["source"], samples, counted, parts, units, data[counted], data[units]),
            )
        self.attach("data.json", about)


@contextmanager
def open_outputs(
    folder: Path,
    world: World,
    *,
    trainer: str,
    config: Mapping[str, Any],
    dry_run: bool = False,
) -> Iterator[Outputs]:
    """Make the run's folder and open what is written along the way.

    Inside, the logger ``trainers`` writes to stdout and train.log on rank 0; other ranks log
    errors only. A dry run makes no folder and writes nothing.

    Raises:
        TrainerError: the folder cannot be written.
    """
    outputs = Outputs(folder=folder, trainer=trainer, config=config, dry_run=dry_run)
    with ExitStack() as stack:
        problem = ""
        if world.is_first:
            try:
                _log_to(_Shown(sys.stdout), "%(message)s", stack)
                if not dry_run:
                    _open(outputs, stack)
            except OSError as error:
                problem = error.strerror or str(error)
        else:
            _log_to(logging.NullHandler(), "", stack, logging.ERROR)
        problem = broadcast_object(problem, world)
        if problem:
            msg = f"the run's folder {folder} cannot be written: {problem}"
            raise TrainerError(msg, "give another --out-dir")
        yield outputs


def _open(outputs: Outputs, stack: ExitStack) -> None:
    # Not torch.utils.tensorboard: that takes a second more, and scalars do without.
    from tensorboard.summary.writer import (  # type: ignore[import-untyped] # noqa: PLC0415
        event_file_writer,
    )

    outputs.checkpoints.mkdir(parents=True, exist_ok=True)
    dump(outputs.config, outputs.folder / "config_used.yaml")
    with atomic(outputs.folder / "config_used.json") as unfinished:
        unfinished.write_text(json.dumps(outputs.config, indent=2) + "\n")
    log_file = _LogFile(outputs.folder / "train.log", encoding="utf-8")
    _log_to(log_file, "%(asctime)s %(message)s", stack)
    path = outputs.folder / "metrics.jsonl"
    outputs.figures_file = path.open("a", buffering=1, encoding="utf-8")
    stack.callback(_close, outputs.figures_file)
    if _ends_in_half_a_line(path):
        outputs.figures_file.write("\n")
    folder = str(outputs.folder / "tensorboard")
    outputs.events = event_file_writer.EventFileWriter(folder, flush_secs=10)
    stack.callback(_close, outputs.events)


def _close(figures: Any) -> None:
    """Figures that a full disk did not take are lost, but not the run."""
    with suppress(OSError):
        figures.close()


def _ends_in_half_a_line(path: Path) -> bool:
    """Whether a killed run left half a line, which the next line must not be appended to."""
    if not path.stat().st_size:
        return False
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read() != b"\n"


def _log_to(
    handler: logging.Handler, form: str, stack: ExitStack, level: int = logging.INFO
) -> None:
    before = (log.level, log.propagate)

    def silence() -> None:
        log.removeHandler(handler)
        handler.close()
        log.level, log.propagate = before

    handler.setFormatter(_Line(form))
    stack.callback(silence)
    log.addHandler(handler)
    log.setLevel(level)
    log.propagate = False


def _event(step: int, values: Mapping[str, float]) -> Any:
    from tensorboard.compat.proto import (  # type: ignore[import-untyped] # noqa: PLC0415
        event_pb2,
        summary_pb2,
    )

    scalar = summary_pb2.Summary.Value
    scalars = [scalar(tag=tag, simple_value=value) for tag, value in values.items()]
    summary = summary_pb2.Summary(value=scalars)
    return event_pb2.Event(step=step, wall_time=time.time(), summary=summary)


class _Line(logging.Formatter):
    """Warnings say that they are."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        if record.levelno >= logging.WARNING:
            record.message = f"{record.levelname.lower()}: {record.message}"
        return super().formatMessage(record)


class _LogFile(logging.FileHandler):
    """A log file that stops, instead of printing tracebacks, when it cannot be written."""

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        log.removeHandler(self)
        log.warning("train.log is no longer written")


class _Shown(logging.StreamHandler):  # type: ignore[type-arg] # generic since Python 3.11
    """The same for stdout, whose reader may be gone."""

    def handleError(self, _record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        log.removeHandler(self)
