"""The figures for Prometheus, read back by the same library's own parser."""

from __future__ import annotations

import pytest
from prometheus_client.parser import text_string_to_metric_families

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import GpuRow, JobRow, RankRow
from gpuops.errors import GpuopsError
from gpuops.system import textfile

BOARD = Frame(
    at_s=1.8e9,
    health="hung",
    gpus=(
        GpuRow(index=0, uuid="GPU-0", name='an "odd" \\ name', utilization_pct=50, power_w=70.0),
        GpuRow(index=1, uuid="GPU-1", state="lost"),
    ),
    jobs=(
        JobRow(name="a", run_dir="/runs/a", health="hung", ranks=(RankRow(rank=0, step=812),)),
        JobRow(name="a", run_dir="/other/a", ranks=(RankRow(rank=0, step=3, loss=0.25),)),
        JobRow(name="pid 7", ours=False, health="left alone", ranks=(RankRow(rank=None),)),
    ),
)


@pytest.fixture(name="figures")
def _figures(tmp_path):
    """All samples of a written board: by name and the labels that tell them apart."""
    path = tmp_path / "gpuops.prom"
    textfile.write(path, BOARD)
    assert ["gpuops.prom"] == [entry.name for entry in tmp_path.iterdir()]
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(path.read_text())
        for sample in family.samples
    }


def of(figures, name, **labels):
    return [
        value
        for (found, given), value in figures.items()
        if found == f"gpuops_{name}" and labels.items() <= dict(given).items()
    ]


def test_what_is_known_is_there(figures):
    """Shares are shares, names survive whatever they hold, two runs of one name stay two."""
    assert [0.5] == of(figures, "gpu_utilization_ratio", gpu="0", model='an "odd" \\ name')
    assert [812] == of(figures, "rank_step", run="a", folder="/runs/a", rank="0")
    assert [0.25] == of(figures, "rank_loss", folder="/other/a")
    assert [1.8e9] == of(figures, "look_timestamp_seconds")


def test_what_is_not_known_is_not_there(figures):
    """A lost GPU has no temperature; it is not 0 °C cold."""
    assert [] == of(figures, "gpu_power_watts", gpu="1")
    assert [] == of(figures, "gpu_temperature_celsius")


def test_states_are_a_series_each(figures):
    """So an alert is a plain query."""
    assert [1] == of(figures, "gpu_state", gpu="1", state="lost")
    assert [0] == of(figures, "gpu_state", gpu="1", state="ok")
    assert [1] == of(figures, "health", state="hung")
    assert [1] == of(figures, "run_state", folder="/runs/a", state="hung")
    assert [1] == of(figures, "run_state", run="pid 7", state="left alone")


def test_a_folder_that_is_not_there_is_said_to_be_none(tmp_path):
    """A sentence, and nothing half-written."""
    with pytest.raises(GpuopsError, match="cannot be written: No such file"):
        textfile.write(tmp_path / "no" / "gpuops.prom", BOARD)
    assert [] == list(tmp_path.iterdir())
