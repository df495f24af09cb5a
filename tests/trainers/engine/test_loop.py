"""The loop's promises: ranks agree, stop together, and never save what is not finite."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from saved import difference, saved
from toy import Config, at, figures, train, train_on_ranks

from gpuops import heartbeat
from trainers.engine import distributed
from trainers.engine.checkpoint import files
from trainers.engine.checkpoint.state import TrainState
from trainers.engine.config.sections import LoopConfig, OptimConfig
from trainers.engine.errors import ConfigError, TrainerError
from trainers.engine.loop import fit
from trainers.engine.optim import build_optimizer, build_schedule
from trainers.engine.outputs import open_outputs
from trainers.engine.step_sync import stop_on_signal


def quiet(config: Config) -> Config:
    """Without what ranks draw for themselves: dropout and jitter."""
    return replace(config, toy=replace(config.toy, dropout=0.0))


@pytest.mark.parametrize("samples", [22, 10, 5])
def test_two_ranks_equal_one_with_the_whole_batch(tmp_path: Path, samples: int) -> None:
    """N ranks on N shards train what one rank trains on the batches of all."""
    config = quiet(Config())
    config = replace(config, toy=replace(config.toy, samples=samples))
    settings = {"total_iter": 8, "print_iter": 1}

    train(at(tmp_path / "one", config, batch_size=4, **settings))
    ranks = train_on_ranks(at(tmp_path / "two", config, batch_size=2, **settings), 2)

    assert [rank.exit_code for rank in ranks] == [0, 0]
    one, two = saved(tmp_path / "one"), saved(tmp_path / "two")
    for name, weight in one.weights.items():
        torch.testing.assert_close(weight, two.weights[name], rtol=0, atol=1e-6, msg=name)
    for split in ("train", "val"):
        for a, b in zip(
            figures(tmp_path / "one", split), figures(tmp_path / "two", split), strict=True
        ):
            assert a["loss"] == pytest.approx(b["loss"], abs=1e-6)


class Halves:
    """Batches of 4 rows, whole or in pieces."""

    per_epoch = 3

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces

    def stream(self, epoch: int, start: int) -> Iterator[tuple[torch.Tensor, float]]:
        generator = torch.Generator().manual_seed(epoch + start)
        while True:
            pieces = torch.randn(4, 6, generator=generator).chunk(self.pieces)
            yield from ((piece, 1.0) for piece in pieces)


@pytest.mark.parametrize("pieces", [2, 4])
def test_accumulation_equals_the_batch_it_stands_for(tmp_path: Path, pieces: int) -> None:
    """N passes over the pieces of a batch make the step that one pass over it makes."""
    ends = []
    for count in (1, pieces):
        torch.manual_seed(0)
        model = torch.nn.Linear(6, 6)
        loop = LoopConfig(total_iter=7, accumulate=count, print_iter=1)
        optimizer = build_optimizer(model, OptimConfig(lr=0.1), samples_per_step=4)
        schedule = build_schedule(optimizer, OptimConfig(), 7)
        state = TrainState(model=model, optimizer=optimizer, schedule=schedule, scaler=None)
        with (
            distributed.world() as world,
            open_outputs(tmp_path / str(count), world, trainer="toy", config={}) as outputs,
        ):
            result = fit(
                state,
                Halves(count),
                lambda model, x: {"loss": (model(x) - x).square().mean()},
                config=loop,
                grad_clip=100.0,
                world=world,
                outputs=outputs,
            )
        norms = [line["grad_norm"] for line in figures(tmp_path / str(count), "train")]
        ends.append((model.weight, [result.last_loss, *norms], (state.epoch, state.batch)))

    (weight, losses, place), (weight_of_pieces, losses_of_pieces, place_of_pieces) = ends
    torch.testing.assert_close(weight, weight_of_pieces, rtol=0, atol=1e-6)
    assert losses == pytest.approx(losses_of_pieces, abs=1e-5)
    assert place == place_of_pieces == (2, 1)


@pytest.mark.parametrize(("ranks", "size"), [(1, 4), (2, 2), (3, 4)])
def test_a_global_batch_is_the_same_on_any_number_of_ranks(
    tmp_path: Path, ranks: int, size: int
) -> None:
    """Ten samples a step, dealt out evenly or not, in one pass or several: the same weights."""
    config = quiet(Config())
    settings = {"total_iter": 6, "print_iter": 1, "accumulate": 1, "global_batch": 10}

    train(at(tmp_path / "one", config, batch_size=10, **settings))
    ended = train_on_ranks(at(tmp_path / "all", config, batch_size=size, **settings), ranks)

    assert [rank.exit_code for rank in ended] == [0] * ranks
    one, all_ = saved(tmp_path / "one"), saved(tmp_path / "all")
    for name, weight in one.weights.items():
        torch.testing.assert_close(weight, all_.weights[name], rtol=0, atol=1e-6, msg=name)
    losses, theirs = (
        [line["loss"] for line in figures(tmp_path / name, "train")] for name in ("one", "all")
    )
    assert losses == pytest.approx(theirs, abs=1e-6)


def test_not_finite_on_one_rank_stops_both(tmp_path: Path) -> None:
    """One sentence names step, part and rank; the checkpoint before stays the last."""
    config = at(tmp_path / "run", save_iter=3, total_iter=9)

    ranks = train_on_ranks(config, 2, {(1, 5): "nan"})

    assert [rank.exit_code for rank in ranks] == [1, 1]
    said = "step 5: penalty is not finite on rank 1.\nhint: "
    assert ranks[0].stderr.startswith(f"error: {said}")
    assert ranks[1].stderr.startswith(f"error (rank 1): {said}")
    folder = tmp_path / "run" / "checkpoints"
    assert [path.name for path in files.all_in(folder)] == ["step-00000003"]
    assert files.validate(folder / "last") is None


def test_not_finite_stops_before_the_optimizer_steps(tmp_path: Path) -> None:
    """Also where the step is due for a checkpoint, nothing is saved."""
    config = at(tmp_path / "run", save_iter=1, eval_iter=1)

    with pytest.raises(TrainerError, match="step 5: penalty is not finite on rank 0"):
        train(config, {(0, 5): "nan"})

    assert saved(tmp_path / "run").step == 4


class Root(torch.nn.Linear):
    """A loss of 0 whose gradient is infinite: that of a root where it is 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (super().forward(x) * 0).sum().sqrt()


def test_a_gradient_that_is_not_finite_is_never_saved(tmp_path: Path) -> None:
    """Also where nothing clips it, and the loss is as good as can be."""
    model = Root(6, 6)
    optimizer = build_optimizer(model, OptimConfig(), samples_per_step=4)
    schedule = build_schedule(optimizer, OptimConfig(), 7)
    with (
        distributed.world() as world,
        open_outputs(tmp_path, world, trainer="toy", config={}) as outputs,
        pytest.raises(TrainerError, match="step 1: grad_norm is not finite on rank 0"),
    ):
        fit(
            TrainState(model=model, optimizer=optimizer, schedule=schedule, scaler=None),
            Halves(1),
            lambda model, x: {"loss": model(x)},
            config=LoopConfig(total_iter=1),
            grad_clip=None,
            world=world,
            outputs=outputs,
        )

    assert files.all_in(tmp_path / "checkpoints") == []


def test_the_average_holds_the_buffers_of_its_step(tmp_path: Path) -> None:
    """What follows an optimizer step is in the averaged model too."""
    train(at(tmp_path / "run", total_iter=3))

    end = saved(tmp_path / "run")
    assert end.ema["updates"] == end.weights["updates"] == 3
    assert torch.equal(end.ema["average"], end.weights["average"])


def test_the_seconds_are_those_of_all_steps(tmp_path: Path) -> None:
    """Also of steps after the last line of figures."""
    result = train(at(tmp_path / "run", print_iter=100), {(0, 5): "sigterm"})

    assert result.stopped_by == signal.SIGTERM
    assert result.seconds > 0


@pytest.mark.parametrize("who", [{(0, 6): "sigterm"}, {(1, 6): "sigint"}])
def test_a_signal_to_one_rank_stops_both_at_one_step(tmp_path: Path, who: dict) -> None:
    """The rank that was signalled tells the others; they save together and exit with 0."""
    ranks = train_on_ranks(at(tmp_path / "run"), 2, who)

    assert [rank.exit_code for rank in ranks] == [0, 0]
    assert saved(tmp_path / "run").step == 7
    assert "stopped at step 7 by SIG" in ranks[0].stdout
    assert [rank.stderr for rank in ranks] == ["", ""]


def test_a_signal_to_both_ranks_at_different_steps(tmp_path: Path) -> None:
    """The first to be seen counts, for both."""
    plot = {(0, 6): "sigterm", (1, 5): "sigterm"}

    ranks = train_on_ranks(at(tmp_path / "run"), 2, plot)

    assert [rank.exit_code for rank in ranks] == [0, 0]
    assert saved(tmp_path / "run").step == 6


def test_run_bare_a_stop_is_told_by_the_exit_code(tmp_path: Path) -> None:
    """Without a launcher, 128 + the signal's number, as a shell expects."""
    (terminated,) = train_on_ranks(at(tmp_path / "a"), 1, {(0, 3): "sigterm"})
    (interrupted,) = train_on_ranks(at(tmp_path / "b"), 1, {(0, 3): "sigint"})

    assert (terminated.exit_code, interrupted.exit_code) == (143, 130)
    assert saved(tmp_path / "a").step == saved(tmp_path / "b").step == 4


def test_a_second_interrupt_is_immediate(tmp_path: Path) -> None:
    """Ctrl-C twice ends the process by the signal, with nothing saved."""
    (rank,) = train_on_ranks(at(tmp_path / "run"), 1, {(0, 3): "sigint twice"})

    assert rank.exit_code == -signal.SIGINT
    assert not (tmp_path / "run" / "checkpoints" / "last").exists()


def test_a_repeated_sigterm_is_immediate_but_for_an_echo(tmp_path: Path) -> None:
    """Launchers signal a process and its group: two at once are one request, later ones not."""
    (echo,) = train_on_ranks(at(tmp_path / "a"), 1, {(0, 3): "sigterm twice"})
    (again,) = train_on_ranks(at(tmp_path / "b"), 1, {(0, 3): "sigterm later again"})

    assert (echo.exit_code, saved(tmp_path / "a").step) == (143, 4)
    assert again.exit_code == -signal.SIGTERM


def test_handlers_are_put_back() -> None:
    """After training, signals do what they did before."""
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)

    with stop_on_signal() as stop:
        signal.raise_signal(signal.SIGTERM)

    assert stop.signum == signal.SIGTERM
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


@pytest.mark.parametrize(("samples", "ranks"), [(10, 2), (1, 1), (1, 2), (3, 1)])
def test_tiny_data_sets_train(tmp_path: Path, samples: int, ranks: int) -> None:
    """Too few samples for one batch fill it by repeating."""
    config = Config()
    config = replace(config, toy=replace(config.toy, samples=samples))

    ended = train_on_ranks(at(tmp_path / "run", config, total_iter=5, eval_iter=2), ranks)

    assert [rank.exit_code for rank in ended] == [0] * ranks
    assert saved(tmp_path / "run").step == 5
    assert len(figures(tmp_path / "run", "val")) == 3


def test_no_samples_are_refused(tmp_path: Path) -> None:
    """An empty data set is a sentence."""
    config = replace(Config(), toy=replace(Config().toy, samples=0))

    with pytest.raises(TrainerError, match="not a single sample"):
        train(at(tmp_path / "run", config))


def test_milestones_past_the_end_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A schedule that will not happen is said, by its milestones."""
    config = replace(Config(), optim=replace(Config().optim, lr_scheduler=(2, 50, 400)))

    train(at(tmp_path / "run", config, total_iter=3))

    said = capsys.readouterr().out
    assert "warning: lr_scheduler: milestones 50, 400 will not be reached" in said
    assert "the run ends at step 3" in said


def test_epochs_and_total_iter_whichever_ends_first(tmp_path: Path) -> None:
    """22 samples of two lengths in batches of 4 are 4 batches, 2 steps an epoch."""
    assert train(at(tmp_path / "a", epochs=3, total_iter=None)).step == 6
    assert train(at(tmp_path / "b", epochs=3, total_iter=4)).step == 4
    with pytest.raises(ConfigError, match="no end"):
        train(at(tmp_path / "c", epochs=None, total_iter=None))


def test_a_monitored_metric_that_is_not_there(tmp_path: Path) -> None:
    """The names that there are answer a wrong one."""
    with pytest.raises(TrainerError, match="monitor is mpjpe, but an evaluation gives draw, loss"):
        train(at(tmp_path / "run", monitor="mpjpe"))


def test_early_stopping_saves_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Out of patience, training ends with a checkpoint; resumed, it stays ended."""
    settings = {"monitor": "draw", "patience": 2, "eval_iter": 1, "total_iter": 60}

    first = train(at(tmp_path / "run", **settings))
    again = train(at(tmp_path / "run", resume="auto", **settings))

    assert first.step == again.step == saved(tmp_path / "run").step < 60
    assert first.stopped_by is None
    assert f"stopped early at step {first.step}" in capsys.readouterr().out


def test_what_the_figures_say(tmp_path: Path) -> None:
    """Each line has its step, split, losses, rate and time; evaluations beside."""
    result = train(at(tmp_path / "run", print_iter=5))

    lines = figures(tmp_path / "run", "train")
    assert [line["step"] for line in lines] == [5, 10, 14]
    assert lines[0]["total_steps"] == 14
    expected = {"loss", "recons", "penalty", "grad_norm", "lr", "steps_per_s", "data_wait", "time"}
    assert expected <= lines[0].keys()
    assert [line["step"] for line in figures(tmp_path / "run", "val")] == [5, 10, 14]
    assert result.metrics["loss"] == figures(tmp_path / "run", "val")[-1]["loss"]
    assert result.first_loss is not None
    assert 0 < result.seconds < 60


def test_it_beats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Every phase of a run reaches the supervisor, and each step does."""
    beats: list[tuple[int, str]] = []
    monkeypatch.setattr(
        heartbeat, "beat", lambda step, *, phase="train", **_: beats.append((step, phase))
    )

    train(at(tmp_path / "run", total_iter=4, eval_iter=2, save_iter=4))

    steps = [step for step, phase in beats if phase == "train"]
    assert steps == [1, 2, 3, 4]
    assert [beat for beat in beats if beat[1] != "train"] == [
        (0, "start"),
        (2, "evaluate"),
        (2, "save"),
        (4, "evaluate"),
        (4, "save"),
        (4, "done"),
    ]


def test_mixed_precision_on_a_cpu(tmp_path: Path) -> None:
    """bf16 trains, auto means float32 here, and fp16 is refused in a sentence."""
    train(at(tmp_path / "bf16", mixed_precision="bf16"))
    train(at(tmp_path / "auto", mixed_precision="auto"))
    train(at(tmp_path / "off", mixed_precision="off"))

    assert difference(saved(tmp_path / "bf16").weights, saved(tmp_path / "off").weights)
    assert difference(saved(tmp_path / "auto").weights, saved(tmp_path / "off").weights) == ""
    with pytest.raises(ConfigError, match="fp16 needs a GPU"):
        train(at(tmp_path / "fp16", mixed_precision="fp16"))
