"""What a person types to launch a job, as one value from the command line to the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

FOR_EVER_S = 1e9
"""How long a wait without a limit lasts: thirty years, because JSON has no infinity."""


def _once(default: Any, *, typed: bool = True) -> Any:
    """A field that holds for one attempt; ``typed``: whether a person may give it."""
    return field(default=default, metadata={"once": True, "typed": typed})


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchOptions:
    """The options of `gpuops launch`; `gpuops.cli.options` says how each is spelled.

    An option holds for the next attempts of a run too, unless it is marked as given once.
    """

    name: str | None = _once(None)
    """A trainer or a script; ``None`` if a module or a run to resume is named."""
    module: str | None = _once(None)
    profile: str | None = None
    gpus: tuple[str, ...] = ()
    exclude_gpus: tuple[str, ...] = ()
    nproc_per_node: int | None = None
    master_port: int | None = None
    python: str | None = None
    data: str | None = _once(None)
    configs: tuple[str, ...] = _once(())
    resume: str | None = _once(None)
    """A run, or a checkpoint for the training program."""
    runs_dir: str | None = _once(None)
    wait_s: float | None = _once(None)
    simulate: str | None = _once(None)
    shrink: bool = _once(default=False)
    hang_timeout_s: float | None = None
    observe: bool = False
    max_restarts: int | None = None
    stop_grace_s: float | None = None
    on_hang: str | None = None
    on_exit: str | None = None
    force: tuple[str, ...] = _once(())
    arguments: tuple[str, ...] = _once(())
    """The words that are not options of ours: they go to the training program."""

    # What gpuops itself decides.
    machine_only: bool = _once(default=False, typed=False)
    """Preflight of the machine, whatever will run on it."""
    allotted: Mapping[str, str] | None = field(default=None, metadata={"typed": False})
    """What a scheduler told the shell of the launch about its GPUs; ``None``: not yet looked up.

    A supervisor that takes over the run in another shell keeps to it.
    """
    prefer_gpus: tuple[str, ...] = _once((), typed=False)
    """The UUIDs of the GPUs that the run had before."""
    batch_divisor: int = _once(1, typed=False)
    """Into how many passes a batch is cut, because GPUs ran out of memory."""

    def next_attempt(self, typed: LaunchOptions) -> LaunchOptions:
        """What holds for the next attempt of a run: what is ``typed`` now, then what lasts.

        Once GPUs are named or excluded now, those named or excluded earlier no longer count.
        """
        kept = {
            one.name: getattr(self, one.name)
            for one in fields(self)
            if not one.metadata.get("once") and getattr(typed, one.name) == one.default
        }
        if typed.gpus or typed.exclude_gpus:
            kept |= {"gpus": typed.gpus, "exclude_gpus": typed.exclude_gpus}
        if typed.gpus or typed.profile:
            kept["nproc_per_node"] = typed.nproc_per_node
        return replace(typed, **kept)
