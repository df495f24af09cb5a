"""A run's recording in its folder."""

from __future__ import annotations

import pytest

from gpuops.core import telemetry_file
from gpuops.core.telemetry import CardSample, Sample
from gpuops.system import telemetry
from gpuops.system.telemetry import Recorder

GPU = CardSample(utilization_pct=98, temperature_c=71, power_w=412, memory_used_bytes=1024**3)


def at(second, attempt=1, cards=()):
    return Sample(at_s=1e9 + second, attempt=attempt, step=second, cards=dict.fromkeys(cards, GPU))


def steps(root):
    return [sample.step for sample in telemetry.read(root).samples]


def test_it_can_be_read_while_it_is_written(tmp_path):
    """Each sample is there once it is taken; the next is due a second later."""
    recorder = Recorder(tmp_path, (0,))

    assert recorder.due
    for second in range(3):
        recorder.take(at(second, cards=(0,)))
        assert list(range(second + 1)) == steps(tmp_path)
    assert not recorder.due
    assert {0: GPU} == telemetry.read(tmp_path).samples[-1].cards


def test_it_never_outgrows_its_size(tmp_path, monkeypatch):
    """When it is full, two samples become one and the next are due half as often."""
    monkeypatch.setattr(telemetry_file, "MOST_BYTES", 2000)
    recorder = Recorder(tmp_path, ())
    for second in range(1000):
        if second % telemetry.read(tmp_path).every_s == 0:
            recorder.take(at(second))
        assert (tmp_path / telemetry.NAME).stat().st_size <= 2000

    assert steps(tmp_path) == sorted(set(steps(tmp_path)))
    assert steps(tmp_path)[0] <= 32
    assert steps(tmp_path)[-1] >= 960
    assert telemetry.read(tmp_path).every_s == 32.0


def test_another_recorder_goes_on(tmp_path):
    """After a crash in the middle of a row, on other cards, at the pace of the one before."""
    Recorder(tmp_path, (0, 1)).take(at(0, cards=(0, 1)))
    path = tmp_path / telemetry.NAME
    path.write_bytes(path.read_bytes() + b"half a row")
    other = Recorder(tmp_path, (1, 7))
    other.take(at(1, attempt=2, cards=(1, 7)))

    before, after = telemetry.read(tmp_path).samples
    assert {0: GPU, 1: GPU, 7: CardSample()} == before.cards
    assert {0: CardSample(), 1: GPU, 7: GPU} == after.cards


@pytest.mark.parametrize("what", [b"", b"gpuopsT1", b"x" * 5000, b"gpuopsT1" + b"\xff" * 10])
def test_what_is_no_recording_is_begun_anew(tmp_path, what):
    """It holds nothing to a reader, and does not keep a recorder from recording."""
    (tmp_path / telemetry.NAME).write_bytes(what)

    assert [] == steps(tmp_path)
    Recorder(tmp_path, ()).take(at(5))
    assert [5] == steps(tmp_path)


def test_a_folder_that_goes_and_comes_back(tmp_path):
    """Samples are lost meanwhile, and nothing else; a file that was cut short is mended."""
    root = tmp_path / "run"
    recorder = Recorder(root, ())
    recorder.take(at(0))
    assert not root.exists()
    root.mkdir()
    recorder.take(at(1))
    assert [1] == steps(root)
    (root / telemetry.NAME).write_bytes(b"")
    recorder.take(at(2))
    recorder.take(at(3))

    assert [2, 3] == steps(root)
