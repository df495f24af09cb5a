"""A launch as a value: what would be run is what is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from gpuops.core.run import paths

RAS_AFTER, LAST_PORT = 1000, 65_535

Scalar = str | int | float | bool
Setting = Scalar | list[Scalar]
TargetKind = Literal["trainer", "script", "module"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What runs on each rank: a trainer (by name), a script (by path) or a module."""

    kind: TargetKind
    name: str
    entry: str

    @property
    def entry_argv(self) -> tuple[str, ...]:
        """How torchrun is told what to run: after ``--``, or it takes ``--n`` for its own flag."""
        return ("--", self.entry) if self.kind == "script" else ("-m", "--", self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan:
    """All that is needed to start the job; ``gpuops.core.launch.torchrun`` turns it into a command.

    ``import_path`` lets an interpreter without gpuops find the trainers. ``ranks_wanted`` is more
    than ``nproc_per_node`` where the job was shrunk to the GPUs there were.
    """

    run_id: str
    run_dir: str
    attempt: int
    target: Target
    profile: str
    device: Literal["cuda", "cpu"]
    nproc_per_node: int
    gpu_indices: tuple[int, ...]
    gpu_uuids: tuple[str, ...]
    master_port: int
    exclude_gpus: tuple[str, ...]
    python: str
    import_path: str | None
    working_dir: str
    defaults: Mapping[str, Setting]
    arguments: tuple[str, ...]
    resume_arguments: tuple[str, ...]
    profile_environment: Mapping[str, str]
    stop_save_s: float
    stop_terminate_s: float
    ranks_wanted: int = 0
    hang_timeout_s: float | None = None
    observe: bool = False
    max_restarts: int = 5
    on_hang: str | None = None
    on_exit: str | None = None
    force: tuple[str, ...] = ()
    port_asked: int | None = None
    gpus: tuple[str, ...] = ()
    fit_arguments: tuple[str, ...] = ()
    gpu_bus_ids: tuple[str | None, ...] = ()

    @property
    def program_arguments(self) -> tuple[str, ...]:
        """All that the training program is given: what is weakest first."""
        weakest = wished(self.defaults)
        return (*weakest, *self.arguments, *self.fit_arguments, *self.resume_arguments)

    @property
    def ras_port(self) -> int:
        """Where its NCCL answers questions: no other run's, as its rendezvous port is claimed."""
        above = self.master_port + RAS_AFTER
        return above if above <= LAST_PORT else self.master_port - RAS_AFTER

    @property
    def log_dir(self) -> str:
        """Where this attempt's logs go."""
        return f"{self.run_dir}/{paths.logs(self.attempt)}"

    @property
    def state_dir(self) -> str:
        """Where this attempt's heartbeats and exit record lie."""
        return f"{self.run_dir}/{paths.state(self.attempt)}"


def wished(settings: Mapping[str, Setting]) -> tuple[str, ...]:
    """Settings that yield to whatever the user wrote, as a training program takes them."""
    pairs = [f"{key}={_word(value)}" for key, value in settings.items()]
    return ("--defaults", *pairs) if pairs else ()


def _word(value: Setting) -> str:
    if isinstance(value, list):
        return ",".join(str(item) for item in value)
    return str(value)
