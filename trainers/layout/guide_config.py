"""The JSON file of the public LayoutMaster, as settings of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from trainers.engine.config.translate import Translation, Unused, rename

if TYPE_CHECKING:
    from collections.abc import Mapping

    from trainers.engine.config.translate import Target

TABLE: Mapping[str, Target] = {
    "use_multi_gpu": Unused("all GPUs that it is launched on are used"),
}


def translate(values: Mapping[str, Any], origin: str) -> Translation:
    """Return settings of ours for those of a file; our own spelling passes as it is."""
    return rename(values, TABLE, origin)
