"""A launch as a value: what is shown is what is run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from gpuops.core.launch.options import LaunchOptions
from gpuops.core.machine.device import DeviceRef
from gpuops.core.machine.targets import Targets
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
        """What torchrun runs: after ``--``, or it would take ``--n`` for one of its own flags."""
        return ("--", self.entry) if self.kind == "script" else ("-m", "--", self.entry)


@dataclass(frozen=True, slots=True, kw_only=True)
class NodePlan:
    """A node of a job: its host, its GPUs, and the ranks that run there, one on each GPU.

    On a CPU host there are ranks and no GPUs.
    """

    host: str
    devices: tuple[DeviceRef, ...] = ()
    ranks: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What is asked for: a program, and the run and attempt that it is started in.

    ``arguments`` go to the training program as they are; ``defaults`` are settings weaker than
    anything that the user wrote; ``resume_arguments`` make this attempt go on from a checkpoint.
    ``import_path`` lets an interpreter without gpuops find the trainers.
    """

    run_id: str
    run_dir: str
    attempt: int = 1
    target: Target
    options: LaunchOptions = field(default_factory=LaunchOptions)
    python: str
    import_path: str | None = None
    working_dir: str = "."
    defaults: Mapping[str, Setting] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    resume_arguments: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchPlan(LaunchRequest):
    """A request, and all that was decided to start it: the options and the profile together.

    ``gpuops.core.launch.torchrun`` turns it into a command. ``ranks_wanted`` is more than
    ``world_size`` if the job was shrunk to the GPUs there were. ``fit_arguments`` fit the batch
    to the GPUs there are.
    """

    profile: str
    device: Literal["cuda", "cpu"]
    nodes: tuple[NodePlan, ...]
    ranks_wanted: int
    master_port: int
    hang_timeout_s: float | None = None
    observe: bool = False
    max_restarts: int = 5
    fit_arguments: tuple[str, ...] = ()
    profile_environment: Mapping[str, str]
    stop_save_s: float
    stop_terminate_s: float
    targets: Targets = field(default_factory=Targets)

    @property
    def world_size(self) -> int:
        """How many ranks there are, on all nodes."""
        return sum(len(node.ranks) for node in self.nodes)

    @property
    def devices(self) -> tuple[DeviceRef, ...]:
        """The GPUs of all nodes."""
        return tuple(device for node in self.nodes for device in node.devices)

    @property
    def device_of_rank(self) -> dict[int, DeviceRef]:
        """Each rank's GPU; empty on CPU hosts."""
        return {
            rank: device
            for node in self.nodes
            for rank, device in zip(node.ranks, node.devices, strict=False)
        }

    @property
    def gpu_of_rank(self) -> dict[int, int]:
        """The index of each rank's GPU, on the rank's own host."""
        return {rank: device.index for rank, device in self.device_of_rank.items()}

    @property
    def master_address(self) -> str:
        """Where the ranks meet: the first node, under a name that the others can reach."""
        return "127.0.0.1" if len(self.nodes) == 1 else self.nodes[0].host

    @property
    def program_arguments(self) -> tuple[str, ...]:
        """All arguments of the training program, the weakest first."""
        weakest = wished(self.defaults)
        return (*weakest, *self.arguments, *self.fit_arguments, *self.resume_arguments)

    @property
    def ras_port(self) -> int:
        """Where its NCCL answers questions: unique, as it follows from the rendezvous port."""
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
    """Settings that are weaker than anything the user wrote, as arguments."""
    listed = {key: value if isinstance(value, list) else [value] for key, value in settings.items()}
    pairs = [f"{key}={','.join(map(str, values))}" for key, values in listed.items()]
    return ("--defaults", *pairs) if pairs else ()
