"""rvq's own check: `python -m trainers.rvq.check FLAGS` tells what its settings mean on disk."""

from __future__ import annotations

from pathlib import Path

from trainers.engine.check import Finding, checkpoint, main, refused
from trainers.engine.errors import TrainerError
from trainers.rvq.config import PRESETS, Config


def check(config: Config) -> list[Finding]:
    """Look at the checkpoint to go on from, and at the data set's skeleton."""
    return [*checkpoint(config.run), *_skeleton(Path(config.dataset.data))]


def _skeleton(root: Path) -> list[Finding]:
    if not (root / "skeleton.json").is_file():
        return []
    from trainers.rvq.skeleton import load_skeleton  # noqa: PLC0415 - scipy takes its time

    try:
        skeleton = load_skeleton(root)
    except TrainerError as error:
        return [refused("skeleton", error)]
    joints = f"{root / 'skeleton.json'} has {len(skeleton or ())} joints"
    return [Finding(check="skeleton", severity="ok", summary=joints)]


if __name__ == "__main__":
    main(Config, check, name="rvq", presets=PRESETS)
