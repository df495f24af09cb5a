"""What people see: values rendered as text."""

from __future__ import annotations

import io

from rich.console import Console

from gpuops.cli import output
from gpuops.core.run.record import Attempt, RunRecord
from gpuops.core.supervision.attempt import Phase
from gpuops.core.supervision.progress import Look, Progress
from gpuops.core.supervision.summary import FailureSummary, RunSummary, next_commands
from gpuops.ui import launches, runs, words


def text_of(renderable, width=80):
    console = Console(file=io.StringIO(), width=width, markup=False, emoji=False)
    console.print(renderable)
    return console.file.getvalue()


def a_run(run_id="20261121-061230-rvq"):
    attempt = Attempt(number=1, started_at=100.0, ended_at=160.0, returncode=0, alive=False)
    return RunRecord(
        run_id=run_id,
        path="/runs/x",
        target="rvq",
        profile="cpu",
        workers=2,
        status="finished",
        started_at=100.0,
        ended_at=160.0,
        attempts=(attempt,),
        step=300,
        total_steps=300,
    )


def test_every_figure_stands_under_its_name():
    """The list of runs: each column's head begins where its cells begin."""
    head, row, *_ = text_of(runs.runs([a_run()], 200.0)).splitlines()

    for name, cell in {
        "run": "2026",
        "status": "finished",
        "step": "300/300",
        "took": "1:00",
    }.items():
        assert head.index(name) == row.index(cell)


def test_a_long_name_is_folded_and_nothing_else():
    """At 60 columns the name breaks; status, step and times stay whole."""
    shown = text_of(runs.runs([a_run("20261121-061230-a-name-that-is-long")], 200.0), width=60)

    assert "finished" in shown
    assert "300/300" in shown
    assert all(len(line) <= 60 for line in shown.splitlines())


def look(phase=Phase.RUNNING, **fields):
    progress = Progress(
        step=120, total_steps=600, phase="train", loss=0.31, marks=((0.0, 100), (2.0, 120))
    )
    return Look(phase=phase, progress=fields.pop("progress", progress), elapsed_s=12.0, **fields)


def test_a_narrow_terminal_loses_no_column():
    for width in (24, 40):
        shown = text_of(runs.runs([a_run("20261121-061230-rvq")], 200.0), width=width)
        assert all(len(line) <= width for line in shown.splitlines())
        whole = " ".join(shown.split())
        for name in ("20261121-061230-rvq", "status", "step", "ranks", "attempts", "took"):
            assert f" {name} " in f" {whole}"


def test_a_narrow_terminal_loses_no_holder_of_a_gpu():
    table = runs.columns("GPU", "model", "UUID", "holder")
    table.add_row("0", "RTX 4090", "GPU-51300000", "free")
    assert text_of(table, width=24).split() == [
        "0", "model", "RTX", "4090", "UUID", "GPU-51300000", "holder", "free",
    ]  # fmt: skip


def test_the_live_line_fits_any_width():
    """Step, loss, speed and ETA at 100 columns; never more than there is room."""
    assert "120/600  loss 0.31  10.0 steps/s  ETA 48 s" in text_of(
        launches.progress_line(look(), 100), 100
    )
    for width in (20, 40, 60, 80, 120):
        lines = text_of(launches.progress_line(look(), width), width).splitlines()
        assert len(lines) == 1
        assert len(lines[0].rstrip()) <= width


def test_slow_steps_are_told_by_how_long_one_takes():
    """Not as 0.0 steps a second."""
    slow = Progress(step=101, total_steps=600, marks=((0.0, 100), (46.0, 101)))

    assert "46 s/step  ETA 6:22:34" in text_of(
        launches.progress_line(look(progress=slow), 100), 100
    )


def test_a_script_that_says_nothing_is_running_not_training():
    """Without a heartbeat: how long, and the bar that it draws itself."""
    shown = text_of(launches.progress_line(look(progress=Progress(), partial="37/400 |##  |"), 80))

    assert shown.startswith("running  12 s  37/400 |##")


def test_stopping_says_what_is_awaited():
    """Since when, and what a second Ctrl-C does."""
    shown = text_of(launches.progress_line(look(Phase.STOPPING, stopping_s=3.0), 80))

    assert shown.startswith("stopping  3.0 s")
    assert "Ctrl-C again" in shown


def test_the_closing_summary_has_it_all():
    """How it ended, the loss from and to, the places from here, the next commands."""
    ended = RunSummary(
        run_id="r1",
        ending="finished",
        exit_code=0,
        duration_s=20.0,
        step=300,
        total_steps=300,
        first_loss=0.422,
        last_loss=0.029,
        validation={"mpjpe": 12.0},
        places={"folder": "/home/me/runs/r1"},
        next_commands=next_commands(
            run="r1", ending="finished", trainer=True, evaluates=True, kept=True, spoke=True
        ),
        failure=None,
    )
    shown = text_of(launches.closing(ended, "/home/me"))

    assert "finished  r1  300/300 steps in 20 s" in shown
    assert "0.422 → 0.029" in shown
    assert "mpjpe 12" in shown
    assert "runs/r1" in shown
    assert "/home/me" not in shown
    assert shown.count("gpuops ") == 3


def test_a_failure_is_told_in_full(capsys, monkeypatch):
    """Sentences are broken between words, a path never: it is searched for and clicked."""
    monkeypatch.setenv("COLUMNS", "80")
    path = f"/home/somebody/{'deep/' * 16}logs/attempt-3/rank-0/stderr.log"
    sentence = f"error: none of the checkpoints in {path} is whole: {'word ' * 20}end"
    ended = FailureSummary(
        rank=0, how="exit code 1", last_words=(sentence,), log=path, hint="hint " * 30
    )
    output.comment(launches.failed(ended))
    shown = capsys.readouterr().err

    assert 2 == shown.count(path)
    assert " ".join(sentence.split()) in " ".join(shown.split())
    assert all(len(line.rstrip()) <= 80 for line in shown.splitlines() if path not in line)


def test_durations_read_as_people_say_them():
    """Seconds, minutes, hours, days; a dash where nothing is known."""
    said = [words.duration(s) for s in (None, 3.21, 59.9, 125.0, 3725.0, 274_200.0)]

    assert said == ["—", "3.2 s", "59 s", "2:05", "1:02:05", "3 d 04:10"]


def test_a_new_attempt_is_shown_at_once():
    """Its clock begins anew: what the one before has shown hours ago does not keep it quiet."""
    console = Console(file=io.StringIO(), width=80)
    with launches.Screen(console, brief=False) as screen:
        for elapsed_s, step in ((18_000.0, 900), (3.0, 901)):
            progress = Progress(step=step, total_steps=1000, phase="train")
            screen.show(Look(phase=Phase.RUNNING, progress=progress, elapsed_s=elapsed_s))

    assert "901/1000" in console.file.getvalue()


def test_a_sentence_has_one_stop():
    """Also if the words of a program that it quotes end with one."""
    said = [words.sentence(text) for text in ("it ended", "it ended.", "why?")]
    assert said == ["It ended.", "It ended.", "Why?"]
