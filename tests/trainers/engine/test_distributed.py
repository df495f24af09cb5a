"""What ranks do together, on real gloo ranks; and what one rank does alone."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from toy import PRELOADED

from trainers.engine import distributed
from trainers.engine.distributed import World
from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.metrics import Means

ALONE = World(rank=0, local_rank=0, world_size=1, device=torch.device("cpu"))


def meet(rank: int, meeting: str) -> None:
    """Everything two ranks can do, asserted by both."""
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2"}
    with distributed.world(init_method=f"file://{meeting}") as world:
        mine = torch.full((2 - rank, 3), float(rank))
        rows = distributed.all_gather_rows(mine, world)
        assert rows.tolist() == [[0.0] * 3, [0.0] * 3, [1.0] * 3]
        assert distributed.all_gather_rows(mine[: 1 - rank], world).shape == (1, 3)
        assert distributed.all_reduce_sum(torch.tensor(1.0 + rank), world).item() == 3
        assert distributed.broadcast_object({"rank": rank}, world) == {"rank": 0}
        assert distributed.gather_objects(rank, world) == ([0, 1] if rank == 0 else [])

        means = Means(("a", "none"), world)
        if rank == 1:  # rank 0 has no samples and takes part all the same
            means.add("a", torch.tensor([1.0, 2.0, 6.0]))
        assert means.reduce() == {"a": 3.0}

        distributed.seed_everything(1, world)
        drawn = distributed.all_gather_rows(torch.rand(1), world)
        assert drawn[0] != drawn[1]
        agreed = torch.rand(1, generator=distributed.shared_generator(1, 5, 2))
        assert len(set(distributed.all_gather_rows(agreed, world).tolist())) == 1

        model = nn.BatchNorm1d(2)
        nn.init.constant_(model.weight, float(rank))
        model.running_mean += rank
        replica = distributed.replicate(model, world)
        assert replica.module is model
        assert model.weight.tolist() == model.running_mean.tolist() == [0.0, 0.0]


def test_two_ranks_together(tmp_path: Path) -> None:
    """Gathering, reducing, agreeing, replicating: what each rank expects holds."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ranks = [context.Process(target=meet, args=(rank, str(tmp_path / "m"))) for rank in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(60)

    assert [rank.exitcode for rank in ranks] == [0, 0]


def test_alone_nothing_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """WORLD_SIZE=1 from torchrun, or no torchrun: no process group, and every helper works."""
    monkeypatch.setenv("WORLD_SIZE", "1")
    with distributed.world() as world:
        assert world.world_size == 1
        assert not torch.distributed.is_initialized()
        x = torch.ones(2)
        assert distributed.all_reduce_sum(x, world) is x
        assert distributed.all_gather_rows(x, world) is x
        assert distributed.broadcast_object("a", world) == "a"
        assert distributed.gather_objects("a", world) == ["a"]
        model = nn.Linear(1, 1)
        assert distributed.replicate(model, world) is model


def test_each_rank_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its local rank; a rank too many is told, before NCCL finds two on one GPU."""
    chosen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", chosen.append)
    for local_rank in ("0", "1"):
        monkeypatch.setenv("LOCAL_RANK", local_rank)
        with distributed.world():
            pass
    assert chosen == [torch.device("cuda", 0), torch.device("cuda", 1)]
    monkeypatch.setenv("LOCAL_RANK", "2")
    with (
        pytest.raises(TrainerError, match="local rank 2 has no GPU: 2 visible"),
        distributed.world(),
    ):
        pass


def test_seeds() -> None:
    """Ranks differ, runs repeat, and a shared generator depends on all its numbers."""

    def drawn(*numbers: int) -> float:
        return torch.rand(1, generator=distributed.shared_generator(*numbers)).item()

    assert distributed.mixed_seed(1, 0) != distributed.mixed_seed(1, 1)
    assert distributed.mixed_seed(1, 0) == distributed.mixed_seed(1, 0)
    assert drawn(1, 2, 3) == drawn(1, 2, 3)
    assert len({drawn(1, 2, 3), drawn(1, 3, 2), drawn(2, 2, 3), drawn(1, 2)}) == 4


def test_means_by_hand() -> None:
    """Sums over counts; a name without samples is left out, an unknown one is a mistake."""
    means = Means(("a", "b", "c"), ALONE)
    means.add("a", torch.tensor([[1.0, 2.0], [3.0, 6.0]]))
    means.add("a", torch.tensor([8.0]))
    means.add_sum("b", 10.0, 4)
    means.add_sum("b", torch.tensor(2.0), torch.tensor(2))

    assert means.reduce() == {"a": 4.0, "b": 2.0}
    assert means.reduce() == {"a": 4.0, "b": 2.0}, "reducing changes nothing"
    with pytest.raises(KeyError):
        means.add("d", torch.ones(1))


@pytest.mark.parametrize(
    ("rank", "raised", "code", "said"),
    [
        ("0", TrainerError("no", "do"), 1, "error: no.\nhint: Do.\n"),
        ("2", TrainerError("no"), 1, "error (rank 2): no.\n"),
        ("0", TrainerError("no", "pip install x"), 1, "error: no.\nhint: pip install x.\n"),
        ("1", ConfigError("no", "--x is"), 2, "error (rank 1): no.\nhint: --x is.\n"),
        ("0", TrainerError("why:\n  list", "a/b is"), 1, "error: why:\n  list\nhint: a/b is.\n"),
        ("0", KeyboardInterrupt(), 128 + signal.SIGINT, ""),
    ],
)
def test_errors_end_a_program_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    rank: str,
    raised: BaseException,
    code: int,
    said: str,
) -> None:
    """Every rank that failed says why, for a launcher shows the words of one; and which it is."""
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(sys, "argv", ["train"])

    def main(_argv: object) -> int:
        raise raised

    with pytest.raises(SystemExit) as caught:
        run_main(main)

    assert (caught.value.code, capsys.readouterr().err) == (code, said)
    with pytest.raises(ZeroDivisionError):
        run_main(lambda _argv: 1 // 0)


WAITS = """
import sys, threading
from trainers.engine.errors import run_main

def main(argv):
    threading.Thread(target=threading.Event().wait, daemon=True).start()
    wait_for_input()

def wait_for_input():
    print("ready", flush=True)  # from in here, or the signal may find it on its way
    if sys.stdin.readline() == "crash\\n":
        import ctypes
        ctypes.string_at(0)

run_main(main)
"""


@pytest.mark.parametrize(
    ("order", "code", "said"),
    [("end\n", 0, ""), ("crash\n", -signal.SIGSEGV, "Fatal Python error: Segmentation fault")],
)
def test_a_rank_tells_where_it_is(order: str, code: int, said: str) -> None:
    """SIGUSR2 writes the stacks of all threads to stderr and ends nothing; so does a crash."""
    rank = subprocess.Popen(
        [sys.executable, "-c", WAITS],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with rank:
        assert rank.stdin is not None
        assert rank.stdout is not None
        assert rank.stderr is not None
        assert rank.stdout.readline() == "ready\n"
        rank.send_signal(signal.SIGUSR2)
        stacks = ""
        while "in <module>" not in stacks:
            stacks += rank.stderr.readline()
        _, rest = rank.communicate(order, timeout=30)

    assert stacks.count("(most recent call first)") == 2
    assert " in wait_for_input\n" in stacks
    assert (rank.returncode, said in rest) == (code, True)
