"""What a step is said to need, against what torch's allocator gave out for the same step."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from allocated import peak_bytes
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by
from torch.utils.checkpoint import checkpoint

from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.sections import LoopConfig, OptimConfig
from trainers.engine.distributed import World, replicate
from trainers.engine.errors import ConfigError, TrainerError
from trainers.engine.loop import fit
from trainers.engine.memory.rehearsal import Question, StepSpec, answer, need, needs, parse_question
from trainers.engine.memory.tracker import MemoryTracker, Need
from trainers.engine.optim import build_ema, build_optimizer, build_schedule
from trainers.engine.outputs import open_outputs

MIB = 1 << 20
WIDTH = 128
LOOP = LoopConfig(total_iter=3, batch_size=64)
ON_CPU = Question(on_gpu=False)


class Tower(nn.Module):
    """Layers around dropout; what they keep of a large batch is more than their weights."""

    def __init__(self, *, dropout: float = 0.0, recompute: bool = False, picks: bool = False):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(6))
        self.register_buffer("shift", torch.ones(WIDTH))
        self.dropout, self.recompute, self.picks = dropout, recompute, picks

    def forward(self, x_BD: Tensor) -> Tensor:
        if self.picks:
            x_BD = x_BD[torch.ones(len(x_BD), dtype=torch.bool)]
        for layer in self.layers:
            part = partial(self.block, layer)
            x_BD = checkpoint(part, x_BD, use_reentrant=False) if self.recompute else part(x_BD)
        return x_BD + self.shift

    def block(self, layer: nn.Module, x_BD: Tensor) -> Tensor:
        return F.dropout(layer(x_BD).exp().tanh(), self.dropout, self.training)


def losses(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
    return {"loss": model(batch).float().square().mean()}


def rows(count: int) -> Tensor:
    return torch.empty(count, WIDTH)


class Feed:
    """Batches of one size."""

    per_epoch = 100

    def __init__(self, size: int) -> None:
        self.size = size

    def stream(self, _epoch: int, _start: int) -> Iterator[tuple[Tensor, float]]:
        while True:
            yield torch.randn(self.size, WIDTH), 1.0


def trained(loop: LoopConfig, optim: OptimConfig, world: World, folder: Path, **tower: bool) -> int:
    """The most that three steps of the real loop had allocated at once."""

    def run() -> None:
        model = Tower(**tower)
        optimizer = build_optimizer(model, optim, samples_per_step=1)
        state = TrainState(
            model=replicate(model, world),
            optimizer=optimizer,
            schedule=build_schedule(optimizer, optim, 3),
            scaler=None,
            ema=build_ema(model, optim),
        )
        with open_outputs(folder, world, trainer="toy", config={}) as outputs:
            fit(
                state,
                Feed(loop.batch_size),
                losses,
                config=loop,
                grad_clip=optim.grad_clip,
                world=world,
                outputs=outputs,
            )

    return peak_bytes(run)


def told(loop: LoopConfig, optim: OptimConfig, asked: Question = ON_CPU, **tower: bool) -> Need:
    def stage() -> StepSpec:
        made = partial(rows, loop.batch_size)
        return StepSpec(model=Tower(**tower), losses=losses, batches=[made])

    return need(stage, loop=loop, optim=optim, asked=asked)


def alone() -> World:
    return World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


@pytest.fixture(name="one_of_two")
def _one_of_two(tmp_path: Path) -> Iterator[World]:
    """A rank that takes itself for one of two: DistributedDataParallel, with nobody to wait for."""
    meeting = f"file://{tmp_path / 'meeting'}"
    dist.init_process_group("gloo", init_method=meeting, rank=0, world_size=1)
    yield replace(alone(), world_size=2)
    dist.destroy_process_group()


@pytest.mark.parametrize("batch_size", [16, 512, 4096])
def test_a_step_needs_what_it_is_said_to(tmp_path: Path, batch_size: int) -> None:
    """Whether weights or activations are most of it."""
    loop = replace(LOOP, batch_size=batch_size)

    real = trained(loop, OptimConfig(), alone(), tmp_path)

    assert real == pytest.approx(told(loop, OptimConfig()).peak_bytes, rel=0.01)


@pytest.mark.parametrize(
    ("loop", "optim", "tower"),
    [
        ({}, {}, {"dropout": 0.5}),
        ({}, {}, {"recompute": True}),
        ({}, {}, {"recompute": True, "dropout": 0.5}),
        ({}, {}, {"picks": True}),
        ({}, {"ema_decay": 0.9}, {}),
        ({}, {"grad_clip": None}, {}),
        ({"accumulate": 3}, {}, {}),
        ({"mixed_precision": "bf16"}, {}, {}),
        ({"mixed_precision": "bf16"}, {}, {"recompute": True, "dropout": 0.5}),
    ],
)
def test_so_it_is_with_everything_that_changes_it(
    tmp_path: Path, loop: dict[str, object], optim: dict[str, float], tower: dict[str, bool]
) -> None:
    """Dropout, checkpointing, rows picked by a mask, averages, passes, bfloat16."""
    loops, optims = replace(LOOP, batch_size=1024, **loop), OptimConfig(**optim)

    real = trained(loops, optims, alone(), tmp_path, **tower)

    assert real == pytest.approx(told(loops, optims, **tower).peak_bytes, rel=0.02)


@pytest.mark.parametrize("accumulate", [1, 2])
def test_ranks_have_their_gradients_in_buckets_too(
    tmp_path: Path, one_of_two: World, accumulate: int
) -> None:
    """From the beginning, and beside those of the passes before the last."""
    loop = replace(LOOP, batch_size=256, accumulate=accumulate)
    ranks = replace(ON_CPU, ranks=2)

    # A thread of gloo's may hold on to the weights that it sent at first: so the leanest of three.
    real = min(trained(loop, OptimConfig(), one_of_two, tmp_path / f"{i}") for i in range(3))
    said = told(loop, OptimConfig(), ranks)

    assert real == pytest.approx(said.peak_bytes, rel=0.02)
    assert said.parts["gradients"] >= said.parts["parameters"]
    assert told(loop, OptimConfig()).parts["gradients"] < said.parts["gradients"]


def test_the_parts_add_up_to_the_whole() -> None:
    """And are what they are called."""
    said = told(replace(LOOP, batch_size=4096), OptimConfig(ema_decay=0.9))
    weights = 6 * (WIDTH * WIDTH + WIDTH) * 4
    shift = WIDTH * 4

    assert sum(said.parts.values()) == said.peak_bytes == max(said.phases.values())
    assert said.parts["parameters"] == weights
    assert said.parts["buffers"] == shift
    assert 2 * weights <= said.parts["optimizer"] < 2 * weights + 1000
    assert weights + shift <= said.parts["average"] < weights + shift + 1000
    assert said.parts["batch"] == 4096 * WIDTH * 4
    assert said.at in {"forward", "backward"}
    assert set(said.phases) == {"build", "forward", "backward", "optimizer", "after"}


def test_nothing_is_allocated_to_find_out() -> None:
    """A batch of a tebibyte is no trouble."""
    loop = replace(LOOP, batch_size=1 << 31)

    peak = peak_bytes(lambda: told(loop, OptimConfig()))

    assert told(loop, OptimConfig()).parts["batch"] == 1 << 40
    assert peak < MIB


def test_on_a_gpu_dropout_keeps_a_byte_a_value() -> None:
    """Also in what is computed again."""
    loop = replace(LOOP, batch_size=4096)
    values = 4096 * WIDTH

    on_cpu = told(loop, OptimConfig(), dropout=0.5).peak_bytes
    on_gpu = told(loop, OptimConfig(), Question(), dropout=0.5).peak_bytes
    told(loop, OptimConfig(), Question(), dropout=0.5, recompute=True)

    assert on_cpu - on_gpu == pytest.approx(6 * 3 * values, rel=0.2)
    assert F.dropout.__module__ == "torch.nn.functional"


def test_the_fullest_of_several_batches_counts() -> None:
    """Whichever it is."""
    sizes = (64, 512, 128)
    stage = partial(
        StepSpec, losses=losses, batches=[partial(rows, size) for size in sizes], after_step=None
    )

    said = need(lambda: stage(model=Tower()), loop=LOOP, optim=OptimConfig(), asked=ON_CPU)

    assert said.parts["batch"] == 512 * WIDTH * 4


def test_weights_that_were_there_before_count() -> None:
    """A model that was loaded is as large as one that was built."""
    loaded = Tower()
    spec = StepSpec(model=loaded, losses=losses, batches=[partial(rows, 8)])

    said = need(lambda: spec, loop=LOOP, optim=OptimConfig(), asked=ON_CPU)

    assert said.parts["parameters"] == 6 * (WIDTH * WIDTH + WIDTH) * 4


def test_layers_that_are_copies_are_trained_too() -> None:
    """As those of nn.TransformerEncoder are."""

    def stage() -> StepSpec:
        layer = nn.Linear(WIDTH, WIDTH)
        copied = nn.Sequential(*(copy.deepcopy(layer) for _ in range(3)))
        return StepSpec(model=copied, losses=losses, batches=[partial(rows, 4096)])

    said = need(stage, loop=LOOP, optim=OptimConfig(), asked=ON_CPU)

    weights = 3 * (WIDTH * WIDTH + WIDTH) * 4
    assert said.parts["parameters"] == weights
    assert 2 * weights <= said.parts["optimizer"] < 2 * weights + 1000


def test_what_follows_a_step_counts() -> None:
    """A trainer may take more there than in its step."""
    held: list[Tensor] = []
    spec = StepSpec(
        model=Tower,
        losses=losses,
        batches=[partial(rows, 8)],
        after_step=lambda _step: held.append(torch.empty(100 * MIB)),
    )

    said = need(lambda: replace(spec, model=Tower()), loop=LOOP, optim=OptimConfig(), asked=ON_CPU)

    assert said.at == "after"
    assert said.peak_bytes > 2 * 400 * MIB
    held.clear()


def test_a_step_that_reads_its_data_is_refused_in_a_sentence() -> None:
    """There is nothing to read."""

    def peeking(model: nn.Module, batch: Tensor) -> dict[str, Tensor]:
        return {"loss": losses(model, batch)["loss"] * batch.sum().item()}

    spec = partial(StepSpec, losses=peeking, batches=[partial(rows, 8)])

    with pytest.raises(TrainerError, match="depends on its data"):
        need(lambda: spec(model=Tower()), loop=LOOP, optim=OptimConfig(), asked=ON_CPU)


def test_float16_needs_a_gpu() -> None:
    """As in training; on one it is as large as bfloat16, and smaller than float32."""
    half = replace(LOOP, batch_size=4096, mixed_precision="fp16")
    brain = replace(half, mixed_precision="auto")

    with pytest.raises(ConfigError, match="fp16"):
        told(half, OptimConfig())
    whole = replace(half, mixed_precision="off")
    peaks = [told(loop, OptimConfig(), Question()).peak_bytes for loop in (half, brain, whole)]
    assert peaks[0] == peaks[1] < peaks[2]


def line(fixed: int, each: int, floor: int = 0) -> Callable[[int], Need]:
    return lambda size: Need(peak_bytes=max(floor, fixed + each * size))


@pytest.mark.parametrize(
    ("of", "size", "largest"),
    [
        (line(1000, 10), 10, 900),
        (line(1000, 10), 5000, 900),
        (line(1000, 10, floor=5000), 1, 900),  # flat at first
        (line(9_000_000, 1), 1, None),
    ],
)
def test_the_largest_size_is_found_by_its_line(
    of: Callable[[int], Need], size: int, largest: int | None
) -> None:
    """Within 1 %, and no size that does not fit is taken for one that does."""
    found = needs(of, size, room_bytes=10_000)
    fitting = [one for one, what in found.items() if what.peak_bytes <= 10_000]

    assert {size, 2 * size} <= set(found)
    assert list(found) == sorted(found)
    if largest is None:
        assert fitting == []
    else:
        assert largest * 0.985 <= max(fitting) <= largest


def test_without_room_two_sizes_will_do() -> None:
    """They give what one more takes."""
    assert list(needs(line(1, 1), 7)) == [7, 14]


def test_rounding_is_what_the_allocators_segments_leave_over() -> None:
    """One small block takes a segment of 2 MiB, a middle one of 20, a large one its own."""
    tracker = MemoryTracker()
    with tracker:
        small, middle, large = (torch.empty(n) for n in (100, 2 * MIB // 4, 11 * MIB // 4 + 1))
    sizes = [tensor.untyped_storage().nbytes() for tensor in (small, middle, large)]

    assert tracker.need.peak_bytes == sum(sizes)
    assert tracker.need.rounding_bytes == (2 + 20 + 12) * MIB - sum(sizes)


def test_the_answer_says_what_was_asked() -> None:
    """Sizes, precision, passes; and what would make it smaller."""
    asked, flags = parse_question(
        ["--ranks", "4", "--width", "3", "--device=cuda", "--room-bytes", "9"]
    )
    loop = replace(LOOP, global_batch=1024, mixed_precision="auto")

    said = answer(
        replace(asked, room_bytes=None),
        lambda size: StepSpec(model=Tower(), losses=losses, batches=[partial(rows, size)]),
        loop=loop,
        optim=OptimConfig(),
        size=64,
        setting="batch_size",
    )

    assert flags == ["--width", "3"]
    assert asked == Question(ranks=4, on_gpu=True, room_bytes=9)
    assert [one["size"] for one in said["needs"]] == [64, 128]
    assert said["precision"] == "bfloat16"
    assert said["passes"] == 4
    assert said["savers"] == ["--gradient-checkpointing"]
    assert said["setting"] == "batch_size"
