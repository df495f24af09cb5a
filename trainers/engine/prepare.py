"""What each trainer builds in the same way: its session, and all that the loop needs beside it."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Protocol

from trainers.engine import distributed
from trainers.engine.batches import Batches, BatchPlan
from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.config import to_dict
from trainers.engine.loop import total_steps
from trainers.engine.optim import build_ema, build_optimizer, build_scaler, build_schedule
from trainers.engine.outputs import open_outputs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import nn

    from trainers.engine.batches import Load
    from trainers.engine.config.sections import LoaderConfig, LoopConfig, OptimConfig, RunConfig
    from trainers.engine.distributed import World
    from trainers.engine.outputs import Outputs


class Config(Protocol):
    """The sections that a trainer's config has in common with all others."""

    @property
    def run(self) -> RunConfig:
        """Where the run lies."""

    @property
    def loop(self) -> LoopConfig:
        """How long it trains."""

    @property
    def optim(self) -> OptimConfig:
        """How it learns."""

    @property
    def loader(self) -> LoaderConfig:
        """How batches reach it."""


@contextmanager
def session(
    config: Config, name: str, world: World | None = None
) -> Iterator[tuple[World, Outputs]]:
    """Open what a run of the trainer ``name`` works in: its ranks and its outputs.

    Inside, the generators of Python, NumPy and torch are seeded from ``run.seed``, each rank
    differently. ``world`` is one that is open already. With ``run.dry_run`` nothing is written.

    Raises:
        TrainerError: the ranks do not find each other, or the run's folder cannot be written.
    """
    with ExitStack() as stack:
        world = world or stack.enter_context(distributed.world())
        outputs = stack.enter_context(
            open_outputs(
                config.run.folder,
                world,
                trainer=name,
                config=to_dict(config),
                dry_run=config.run.dry_run,
            )
        )
        distributed.seed_everything(config.run.seed, world)
        yield world, outputs


def prepare(
    model: nn.Module,
    config: Config,
    world: World,
    *,
    lengths: NDArray[Any],
    load: Load,
    frames_per_batch: int | None = None,
    factors: Mapping[str, float] | None = None,
) -> tuple[TrainState, Batches]:
    """Build what ``fit`` takes: the state at step 0, and the batches.

    The state holds the model replicated over the ranks, optimizer, schedule, loss scaler and
    moving average. ``model`` must be on its device already. ``lengths`` (N,), ``load`` and
    ``frames_per_batch`` are those of ``BatchPlan`` and ``Batches``, ``factors`` those of
    ``build_optimizer``.

    Raises:
        TrainerError: there is no sample.
        ConfigError: the settings name no end of the run, or a precision that the device lacks.
    """
    loop = config.loop
    plan = BatchPlan(
        lengths=lengths,
        batch_size=loop.batch_size,
        world_size=world.world_size,
        seed=config.run.seed,
        passes=loop.accumulation(world.world_size),
        global_batch=loop.global_batch,
        frames_per_batch=frames_per_batch,
    )
    batches = Batches(plan=plan, load=load, world=world, loader=config.loader)
    optimizer = build_optimizer(
        model,
        config.optim,
        samples_per_step=loop.samples_per_step(world.world_size),
        factors=factors,
    )
    state = TrainState(
        model=distributed.replicate(model, world),
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config.optim, total_steps(loop, batches)),
        scaler=build_scaler(loop, world.device),
        ema=build_ema(model, config.optim),
    )
    return state, batches
