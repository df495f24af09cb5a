"""Save and resume a run: the weights for any use, the rest so that training goes on exactly."""

from __future__ import annotations

import json
import logging
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_model as load_weights
from safetensors.torch import save_model as save_weights

from trainers.engine.checkpoint import files
from trainers.engine.checkpoint.state import capture_rng, restore_rng
from trainers.engine.distributed import broadcast_object, gather_objects, seed_everything
from trainers.engine.errors import TrainerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import nn

    from trainers.engine.checkpoint.state import TrainState
    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs

log = logging.getLogger("trainers")

WEIGHTS = "model.safetensors"
EMA_WEIGHTS = "ema.safetensors"
TRAINER = "trainer.pt"


def save(
    state: TrainState,
    outputs: Outputs,
    world: World,
    *,
    keep: int | Literal["all"],
    metrics: Mapping[str, float],
    kept: bool = False,
) -> Path:
    """Save the state as ``checkpoints/step-...``, and make it ``last``, or ``best`` too.

    All ranks call it. ``keep`` checkpoints stay beside the best and those saved with ``kept``.

    Raises:
        TrainerError: it cannot be written; on all ranks, and the last good checkpoint is there.
    """
    folder = outputs.checkpoints
    target = folder / files.name_of(state.step)
    rng = gather_objects(capture_rng(world.device), world)
    problem = ""
    if world.is_first:
        manifest = {**_manifest(state, outputs, world, metrics), files.KEPT: kept}
        try:
            with files.appearing(target, manifest) as unfinished:
                _write(state, rng, unfinished, outputs.attached)
            files.link("last", target)
            if state.best_step == state.step:
                files.link("best", target)
            if keep != "all":
                files.prune(folder, keep)
        except (OSError, RuntimeError, SafetensorError) as error:
            problem = str(getattr(error, "strerror", None) or error).splitlines()[0]
    problem = broadcast_object(problem, world)
    if problem:
        last = files.all_in(folder)
        msg = f"the checkpoint of step {state.step} could not be saved in {folder}: {problem}"
        hint = f"the last good one is {last[-1].name}; make room" if last else "make room"
        raise TrainerError(msg, f"{hint}, then go on with --resume auto")
    return target


def resume(state: TrainState, wanted: str, outputs: Outputs, world: World) -> Path | None:
    """Take the state of a checkpoint: of ``wanted``, a path, or with ``auto`` the last whole one.

    Logs which, and names those that are broken. With ``none``, and with ``auto`` if there is none
    yet, the run begins at step 0, and None is returned.

    Raises:
        TrainerError: there is no such checkpoint, it is another model's, or the run would begin
            over another run's checkpoints.
    """
    choice: tuple[str, TrainerError | None] = ("", None)
    if world.is_first:
        try:
            choice = (_choose(wanted, outputs.checkpoints), None)
        except TrainerError as error:
            choice = ("", error)
    chosen, problem = broadcast_object(choice, world)
    if problem is not None:
        raise TrainerError(problem.message, problem.hint)
    if not chosen:
        return None
    path = Path(chosen)
    about = load_model(state.bare, path)
    saved = torch.load(path / TRAINER, map_location="cpu", weights_only=True)
    try:
        state.load_state_dict(saved["state"])
    except ValueError as error:
        raise TrainerError(f"{path} does not fit this model's optimizer: {error}") from None
    if state.ema is not None and (path / EMA_WEIGHTS).exists():
        load_model(state.ema.module, path, ema=True)
    _take_rng(saved["rng"], state.step, world)
    for line in _differences(about["config"], outputs.config):
        log.warning("resumed with another setting than saved: %s", line)
    if path.parent == outputs.checkpoints.resolve() and world.is_first and not outputs.dry_run:
        _go_back(state, outputs.checkpoints)
    log.info("resumed from %s at step %d", path, state.step)
    return path


def _go_back(state: TrainState, checkpoints: Path) -> None:
    try:
        aside = files.go_back(checkpoints, state.step, state.best_step)
    except OSError as error:
        msg = f"{checkpoints} cannot be written: {error.strerror}"
        raise TrainerError(msg, "make room, then go on with --resume auto") from None
    for path in aside:
        log.info("%s, of a later step than this, is set aside and not used", path)


def load_model(model: nn.Module, path: Path, *, ema: bool = False) -> dict[str, Any]:
    """Load a checkpoint's weights, or their moving average.

    Returns what the checkpoint says about itself.

    Raises:
        TrainerError: it is another model's, or holds no average.
    """
    try:
        load_weights(model, path / (EMA_WEIGHTS if ema else WEIGHTS))
    except FileNotFoundError:
        raise TrainerError(f"{path} holds no moving average of the weights") from None
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        msg = f"{path} is of another model than the settings describe: {reason[:200]}"
        hint = f"its own settings are in {path / files.MANIFEST}"
        raise TrainerError(msg, hint) from None
    return files.describe(path)


def _choose(wanted: str, checkpoints: Path) -> str:
    path, broken = files.choose(wanted, checkpoints)
    for one, reason in broken:
        log.warning("the checkpoint %s is not used: %s", one, reason)
    return str(path.resolve()) if path else ""


def _manifest(
    state: TrainState, outputs: Outputs, world: World, metrics: Mapping[str, float]
) -> dict[str, Any]:
    return {
        "format": 1,
        "trainer": outputs.trainer,
        "step": state.step,
        "epoch": state.epoch,
        "batch": state.batch,
        "world_size": world.world_size,
        "torch": torch.__version__,
        "time": time.time(),
        "best": {"step": state.best_step, "value": state.best},
        "metrics": {name: v if math.isfinite(v) else None for name, v in metrics.items()},
        "working_dir": str(Path.cwd()),
        "config": outputs.config,
    }


def _write(
    state: TrainState,
    rng: list[dict[str, Any]],
    folder: Path,
    attached: Mapping[str, Mapping[str, Any]],
) -> None:
    for name, values in attached.items():
        (folder / name).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
    save_weights(state.bare, str(folder / WEIGHTS))
    if state.ema is not None:
        save_weights(state.ema.module, str(folder / EMA_WEIGHTS))
    # Through a file of ours: a failed write then says why, which torch's own writer does not.
    with (folder / TRAINER).open("wb") as file:
        torch.save({"state": state.state_dict(), "rng": rng}, file)


def _take_rng(rng: list[dict[str, Any]], step: int, world: World) -> None:
    if len(rng) == world.world_size:
        restore_rng(rng[world.rank], world.device)
        return
    log.warning(
        "world_size was %d and is %d: random numbers start again, "
        "so the run is not the one it would have been",
        *(len(rng), world.world_size),
    )
    seed_everything(step, world)


def _differences(saved: Mapping[str, Any], here: Mapping[str, Any], under: str = "") -> list[str]:
    """Settings that changed, as ``section.leaf: old -> new``; those of the section run may."""
    lines: list[str] = []
    for name in sorted(saved.keys() | here.keys()):
        old, new = saved.get(name), here.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            lines += [] if name == "run" else _differences(old, new, f"{under}{name}.")
        elif old != new:
            lines.append(f"{under}{name}: {old} -> {new}")
    return lines
