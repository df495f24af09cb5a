"""A checkpoint as a model to use: found, checked, described and loaded."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from trainers.engine.checkpoint import checkpoint, files
from trainers.engine.config.config import from_dict
from trainers.engine.errors import TrainerError
from trainers.engine.files import load_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

C = TypeVar("C")
M = TypeVar("M", bound="nn.Module")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained(Generic[C, M]):
    """A checkpoint, loaded; its model is in evaluation mode, on the CPU."""

    path: Path
    step: int
    config: C
    model: M
    weights: str
    """The CRC-32 of the weights' file in hexadecimal: what the model wrote is of these weights."""
    working_dir: Path | None
    """The directory that the run was started in; None in a checkpoint that does not say."""

    def locate(self, path: Path | str) -> Path:
        """Resolve a relative path of the run's settings against the directory it was started in.

        It stays as it was typed if that is the present directory, or if it is not known.
        """
        path, start = Path(path), self.working_dir
        return path if start in (None, Path.cwd()) else start / path


def load(
    path: Path, *, trainer: str, config: type[C], build: Callable[[C, Path], M]
) -> Trained[C, M]:
    """Load the checkpoint that ``path`` means: its own folder, or a run's best.

    ``build(config, checkpoint)`` makes the model that the weights are loaded into. If the run kept
    a moving average of the weights, that is loaded.

    Raises:
        TrainerError: there is no whole checkpoint, or it is another trainer's or another model's.
        ConfigError: the settings in it are not those of ``config``.
    """
    found = files.find(path)
    about = files.describe(found)
    if about.get("trainer") != trainer:
        raise TrainerError(f"{found} is a checkpoint of {about.get('trainer')}, not of {trainer}")
    origin = str(found / files.MANIFEST)
    settings = from_dict(config, about["config"], name=trainer, origin=origin)
    averaged = checkpoint.EMA_WEIGHTS in about["files"]
    model = build(settings, found)
    checkpoint.load_model(model, found, ema=averaged)
    weights = about["files"][checkpoint.EMA_WEIGHTS if averaged else checkpoint.WEIGHTS]
    working_dir = about.get("working_dir")
    return Trained(
        path=found,
        step=about["step"],
        config=settings,
        model=model.eval(),
        weights=f"{weights['crc32']:08x}",
        working_dir=None if working_dir is None else Path(working_dir),
    )


def locate_data(found: Trained[C, M]) -> Trained[C, M]:
    """Name the run's data set as it is seen from the present working directory.

    The settings have it as ``dataset.data``; what is built in (``synthetic``) keeps its name.
    """
    config: Any = found.config
    if config.dataset.data == "synthetic":
        return found
    dataset = replace(config.dataset, data=str(found.locate(config.dataset.data)))
    return replace(found, config=replace(config, dataset=dataset))


def run_folder(checkpoint_path: Path) -> Path:
    """Return the folder of a checkpoint's run; for a copied checkpoint the one it lies in."""
    holder = checkpoint_path.parent
    return holder.parent if holder.name == "checkpoints" else holder


def read_json(checkpoint_path: Path, name: str) -> Any:
    """Read a JSON file that the trainer attached to its checkpoints.

    Checkpoints of earlier versions have it in the run's folder.

    Raises:
        TrainerError: it is in neither place, or cannot be read.
    """
    inside, beside = checkpoint_path / name, run_folder(checkpoint_path) / name
    path = inside if inside.is_file() or not beside.is_file() else beside
    hint = f"a checkpoint of an earlier version needs the {name} of its run's folder beside it"
    return load_json(path, hint)
