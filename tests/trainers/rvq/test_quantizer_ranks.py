"""The quantizer on several ranks, each a process: one codebook, that of one rank."""

from __future__ import annotations

from functools import partial

import pytest
import torch
import torch.distributed as dist
from motion_data import ALONE, SMALL, on_ranks, small_model
from torch import nn

from trainers.engine.distributed import replicate

STEPS, BATCH, FRAMES, FEATURES = 20, 8, 16, 12
MODEL = SMALL


def batches(steps=STEPS):
    """Global batches, the same wherever they are drawn."""
    generator = torch.Generator().manual_seed(7)
    frames = torch.linspace(0, 6, FRAMES)[None, :, None]
    for _ in range(steps):
        rate, phase = torch.rand(2, BATCH, 1, FEATURES, generator=generator)
        yield torch.sin(frames * (1 + rate) + 6 * phase)


def train(world, steps=STEPS, *, dropout=0.5, watch=None, shared=False):
    """A few steps of the whole model on this rank's shard, as the training loop takes them."""
    torch.manual_seed(11)
    bare = small_model(FEATURES, model=MODEL, quantize_dropout_prob=dropout, shared_codebook=shared)
    model: nn.Module = replicate(bare, world)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.02)
    share = BATCH // world.world_size
    for batch in batches(steps):
        found = model(batch[world.rank * share : (world.rank + 1) * share])
        loss = (found.output - found.target).square().mean() + 0.02 * found.quantized.commitment
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        bare.quantizer.update_(world)
        if watch is not None:
            watch(bare.quantizer)
    return {name: value.clone() for name, value in bare.state_dict().items()}


def differing_steps(world):
    """Steps after which any buffer of the codebooks was not bit-equal on the ranks."""
    differing = []

    def watch(quantizer):
        mine = torch.cat([b.double().flatten() for b in quantizer.buffers()])
        rows = [torch.empty_like(mine) for _ in range(world.world_size)]
        dist.all_gather(rows, mine)
        if not all(torch.equal(rows[0], row) for row in rows):
            differing.append(int(quantizer.step))

    state = train(world, watch=watch)
    return differing, {name: value.numpy() for name, value in state.items()}


def steps_without_a_hang(world, steps):
    """Many steps with half of them dropping layers."""
    return int(train(world, steps, dropout=0.5)["quantizer.step"])


def uneven_first_batch(world):
    """Codebooks after ranks with different numbers of valid tokens."""
    x = torch.randn(4, 6, 8, generator=torch.Generator().manual_seed(3 + world.rank))
    mask = torch.arange(6) < torch.tensor([6, 2 + 3 * world.rank, 4, 1])[:, None]
    quantizer = small_model().quantizer
    for _ in range(4):
        quantizer(x, mask)
        quantizer.update_(world)
    return quantizer.codebooks.numpy()


def everything(world, steps):
    """All of it in one set of processes: starting them is what takes time."""
    torch.manual_seed(1)
    shared = {name: value.numpy() for name, value in train(world, shared=True).items()}
    return (
        differing_steps(world),
        steps_without_a_hang(world, steps),
        uneven_first_batch(world),
        shared,
    )


@pytest.mark.parametrize(
    ("ranks", "steps"), [(2, 60), pytest.param(4, 300, marks=pytest.mark.long)]
)
def test_ranks_agree_and_equal_one(tmp_path, ranks, steps):
    """Bit-equal codebooks at every step, those of one rank on the whole batch, and no hang."""
    answers = on_ranks(ranks, partial(everything, steps=steps), tmp_path / "meet")
    (_, found), _, uneven, shared = answers[0]

    for (differing, _), made, other, _ in answers:
        assert differing == []
        assert made == steps
        assert (uneven == other).all()
    for wanted, values in ((train(ALONE), found), (train(ALONE, shared=True), shared)):
        for name, value in wanted.items():
            near = torch.from_numpy(values[name])
            torch.testing.assert_close(near, value, atol=1e-5, rtol=1e-5, msg=name)
