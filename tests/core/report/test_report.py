"""How a run went, worked out from what its folder holds."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.diagnosis.diagnosis import ADVICE, Diagnosis
from gpuops.core.report.charts import figure_charts, telemetry_charts
from gpuops.core.report.history import marks, spans, troubles
from gpuops.core.report.report import report
from gpuops.core.run.record import Attempt, RunRecord
from gpuops.core.run.telemetry import GpuSample, Recording, Sample
from gpuops.ui.report.page import page

BEGAN = 1_795_633_400.0
HUNG = Diagnosis(
    kind="python spin", rank=1, gpu=3, why="rank 1 spins", advice=ADVICE["python spin"], sure=True
)
STORY = (
    {"time": BEGAN, "event": "attempt_started", "attempt": 1},
    {"time": BEGAN + 90, "event": "diagnosis", "attempt": 1, "what": "hung", "why": "older"},
    {"time": BEGAN + 99, "event": "attempt_ended", "attempt": 1, "outcome": "failed", "step": 40},
    {"time": BEGAN + 99, "event": "restart", "attempt": 1, "why": "from the checkpoint of step 30"},
    {"time": BEGAN + 9000, "event": "attempt_started", "attempt": 2},
)
ATTEMPTS = (
    Attempt(number=1, started_at=BEGAN, ended_at=BEGAN + 100, returncode=1, alive=False),
    Attempt(number=2, started_at=BEGAN + 9000, ended_at=None, returncode=None, alive=True),
)
RUN = RunRecord(
    run_id="20261125-190320-rvq",
    path="/runs/20261125-190320-rvq",
    target="rvq",
    profile="cpu",
    workers=2,
    status="running",
    started_at=BEGAN,
    ended_at=None,
    attempts=ATTEMPTS,
    step=50,
    total_steps=100,
)


def at(second, attempt=1, step=None, **said):
    return Sample(at_s=BEGAN + second, attempt=attempt, step=step, **said)


SAMPLES = (
    at(10),
    at(20, step=1, phase="train", loss=4.0, step_s=0.5),
    at(30, step=40, phase="train", loss=2.0, step_s=0.5),
    at(40, step=40, phase="train"),
    at(90, step=40, phase="train"),
    at(9010, 2, step=31, phase="train", loss=3.0, step_s=0.25),
    at(9020, 2, step=50, phase="evaluate"),
)


def made(**changed):
    given = {
        "run": RUN,
        "command": "gpuops launch rvq",
        "events": STORY,
        "recording": Recording(samples=SAMPLES),
        "figures": (),
        "diagnoses": {(1, "hung"): HUNG},
        "configuration": {},
        "environment": {},
        "now_s": BEGAN + 9050,
    }
    return report(**(given | changed))


def test_time_is_the_time_it_ran():
    """The night between two attempts is not in the pictures; one that runs lasts until now."""
    first, second = spans(ATTEMPTS, STORY, SAMPLES, BEGAN + 9050)

    assert (0.0, 100.0) == (first.begun_s, first.duration_s)
    assert (100.0, 50.0) == (second.begun_s, second.duration_s)
    assert 110.0 == second.running_s(BEGAN + 9010)
    assert ("failed", "again, from the checkpoint of step 30") == (first.ending, first.follows)
    assert ("running", 31, 50) == (second.ending, second.first_step, second.last_step)


def test_what_went_wrong_has_its_diagnosis():
    """By the event; with the kept text where it is of the newest such event."""
    older, newer = ({**STORY[1], "time": BEGAN + second, "kind": "nan"} for second in (50, 90))
    first, second = troubles([older, newer], {(1, "hung"): HUNG})

    assert ("Nan", "older", None) == (first.title, first.why, first.text)
    assert ("Python spin: rank 1 (GPU 3)", "rank 1 spins") == (second.title, second.why)
    assert second.text.startswith("# Python spin")


def test_the_pictures_are_marked():
    """Where it hung, and where the next attempt began: in time and at the step."""
    found = spans(ATTEMPTS, STORY, SAMPLES, BEGAN + 9050)
    again, hung = marks(found, troubles(STORY, {}))

    assert ("attempt", 100.0, 31) == (again.kind, again.running_s, again.step)
    assert ("hung", 90.0, 40) == (hung.kind, hung.running_s, hung.step)


def test_time_without_a_step_before_a_hang_is_no_training():
    """The phases' shares are of the time in which something was said."""
    shares = made().shares

    assert {"start", "train", "hang", "evaluate"} == set(shares)
    assert pytest.approx(60 / 110) == shares["hang"]
    assert pytest.approx(1.0) == sum(shares.values())


def test_without_figures_the_loss_is_the_ranks_own():
    """First, lowest, last; and it breaks where steps are trained again."""
    found = made()

    assert (4.0, 2.0, 3.0) == found.loss
    assert 2 == len(found.charts[0].curves[0].pieces)
    assert 2.0 == found.steps_per_s
    assert "Progress" in [chart.title for chart in found.charts]


def test_figures_of_a_trainer_come_first():
    """A picture each, a curve a split; what is no number is counted, and a gap."""
    rows = [
        {"step": 10, "split": "train", "loss": 9.0, "lr": 0.1, "steps_per_s": 3.0, "mine": "x"},
        {"step": 20, "loss": float("nan"), "recons": 2.0, "steps_per_s": 4.0},
        {"step": 20, "split": "val", "loss": 8.0},
        {"step": 30, "loss": None, "recons": True},
        {"step": "forty", "loss": 7.0},
    ]
    found = made(figures=rows)

    assert ["Loss", "Learning rate", "recons"] == [chart.title for chart in figure_charts(rows)]
    assert ["train", "val"] == [line.name for line in found.charts[0].curves]
    assert (9.0, 9.0, 9.0) == found.loss
    assert (2, {"loss": 8.0}, 4.0) == (found.not_finite, found.validation, found.steps_per_s)


def test_gpus_are_counted_while_they_train():
    """Least, median, most of each; a reading that was not there is none of them."""
    cold, hot = GpuSample(temperature_c=30), GpuSample(temperature_c=80, power_w=300)
    samples = (
        at(1, gpus={0: cold, 5: cold}),
        at(2, phase="train", gpus={0: hot, 5: GpuSample()}),
    )
    first, last = made(recording=Recording(samples=samples)).gpus

    assert (0, 80.0, 300.0) == (first.index, first.temperature_c.least, first.power_w.most)
    assert (5, None, None) == (last.index, last.temperature_c, last.utilization_pct)


def test_nothing_joins_the_sides_of_a_pause():
    """Figures of a step stop while there are none, and begin anew in the next attempt."""
    samples = [at(second, step_s=0.1) for second in (1, 2, 3, 60, 61)]
    samples.append(at(9001, 2, step_s=0.1))
    found = telemetry_charts(
        spans(ATTEMPTS, STORY, SAMPLES, BEGAN + 9050), Recording(samples=samples)
    )

    (line,) = next(chart for chart in found if chart.title == "Step time").curves
    assert [3, 2, 1] == [len(piece) for piece in line.pieces]


def test_a_run_without_anything():
    """No events, no recording, no figures: a report that says so little."""
    run = replace(RUN, attempts=(), step=None, status="lost")
    found = made(run=run, events=(), recording=Recording(), diagnoses={})

    assert ((), (), None, {}) == (found.charts, found.attempts, found.loss, found.shares)
    assert "There are no curves" in page(found)


def test_a_run_may_have_curves_over_time_only():
    """A script that logs nothing, on a host whose use was recorded."""
    found = made(figures=(), recording=Recording(samples=[at(10, step_s=0.5), at(20, step_s=0.4)]))

    assert {"time"} == {chart.over for chart in found.charts}
    assert "No steps were logged" in page(found)
    assert page(found).endswith("</html>\n")


json_values = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers(-(10**400), 10**400) | st.text(),
    lambda inner: st.lists(inner, max_size=2),
    max_leaves=3,
)
NAMES = ["time", "event", "attempt", "what", "why", "kind", "step", "loss", "lr", "split", "x"]
KNOWN = st.sampled_from(["diagnosis", "attempt_ended", "restart", "hung", 1, 2, 7, BEGAN + 50])
rows = st.lists(
    st.dictionaries(st.sampled_from(NAMES), KNOWN | json_values, max_size=8), max_size=8
)


@given(rows, rows, st.lists(st.builds(at, st.floats(-1e9, 1e11), st.integers(0, 3)), max_size=5))
def test_whatever_the_files_hold_there_is_a_page(events, figures, samples):
    """Broken lines of any kind are passed over."""
    found = made(events=events, figures=figures, recording=Recording(samples=tuple(samples)))

    assert page(found).endswith("</html>\n")
