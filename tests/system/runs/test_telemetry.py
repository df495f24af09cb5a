"""A run's recording in its folder."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.run import telemetry as core
from gpuops.core.run.telemetry import MOST_SAMPLES, GpuSample, Recording, Sample, thinned
from gpuops.heartbeat import PHASES
from gpuops.system.runs import telemetry
from gpuops.system.runs.telemetry import Recorder, decode, encode

GPU = GpuSample(utilization_pct=98, temperature_c=71, power_w=412, memory_used_bytes=1024**3)


def at(second, attempt=1, gpus=(), **said):
    gpus = dict.fromkeys(gpus, GPU)
    return Sample(
        **{"at_s": 1e9 + second, "attempt": attempt, "step": second, "gpus": gpus, **said}
    )


def steps(root):
    return [sample.step for sample in telemetry.read(root).samples]


def test_it_can_be_read_while_it_is_written(tmp_path):
    """Each sample is there once it is taken; the next is due a second later."""
    recorder = Recorder(tmp_path)

    assert recorder.due
    for second in range(3):
        recorder.take(at(second, gpus=(0,)))
        assert list(range(second + 1)) == steps(tmp_path)
    assert not recorder.due
    assert {0: GPU} == telemetry.read(tmp_path).samples[-1].gpus


def test_it_never_outgrows_its_size(tmp_path, monkeypatch):
    """When it is full, two samples become one and the next are due half as often."""
    for module in (core, telemetry):
        monkeypatch.setattr(module, "MOST_SAMPLES", 40)
    recorder = Recorder(tmp_path)
    for second in range(1000):
        if second % telemetry.read(tmp_path).every_s == 0:
            recorder.take(at(second))
        assert len((tmp_path / telemetry.TELEMETRY).read_bytes().splitlines()) <= 1 + 40

    assert steps(tmp_path) == sorted(set(steps(tmp_path)))
    assert steps(tmp_path)[0] <= 32
    assert steps(tmp_path)[-1] >= 960
    assert telemetry.read(tmp_path).every_s == 32.0


def test_another_recorder_goes_on(tmp_path):
    """After a crash in the middle of a row, on other GPUs, at the pace of the one before."""
    path = tmp_path / telemetry.TELEMETRY
    path.write_bytes(encode(Recording(every_s=8.0, samples=(at(0, gpus=(0, 1)),))) + b'{"at_s": 1')
    other = Recorder(tmp_path)
    other.take(at(1, attempt=2, gpus=(1, 7)))

    found = telemetry.read(tmp_path)
    before, after = found.samples
    assert 8.0 == found.every_s
    assert {0: GPU, 1: GPU} == before.gpus
    assert {1: GPU, 7: GPU} == after.gpus


@pytest.mark.parametrize("torn", [b'{"at_s":1000000002.5,"att', b"\n", bytes(4096)])
def test_a_file_that_does_not_end_with_our_row_is_mended(tmp_path, torn):
    """A full disk cuts a row; zeros are what a crash of the host leaves of one."""
    recorder = Recorder(tmp_path)
    recorder.take(at(0))
    with (tmp_path / telemetry.TELEMETRY).open("ab") as file:
        file.write(torn)
    for second in range(1, 4):
        recorder.take(at(second))

    assert [0, 1, 2, 3] == steps(tmp_path)
    assert encode(telemetry.read(tmp_path)) == (tmp_path / telemetry.TELEMETRY).read_bytes()


@pytest.mark.parametrize(
    "what", [b"", b"gpuopsT1", b"x" * 5000, b"\n" * 5000, b"[" * 100_000, b'{"every_s": 0}\nnull\n']
)
def test_what_is_no_recording_is_begun_anew(tmp_path, what):
    """It holds nothing to a reader, and does not keep a recorder from recording."""
    (tmp_path / telemetry.TELEMETRY).write_bytes(what)

    assert Recording() == telemetry.read(tmp_path)
    Recorder(tmp_path).take(at(5))
    assert [5] == steps(tmp_path)


def test_a_folder_that_goes_and_comes_back(tmp_path):
    """Samples are lost meanwhile, and nothing else; a file that was cut short is mended."""
    root = tmp_path / "run"
    recorder = Recorder(root)
    recorder.take(at(0))
    assert not root.exists()
    root.mkdir()
    recorder.take(at(1))
    assert [1] == steps(root)
    (root / telemetry.TELEMETRY).write_bytes(b"")
    recorder.take(at(2))
    recorder.take(at(3))

    assert [2, 3] == steps(root)


def test_a_person_can_read_it():
    """JSON that every program takes: names with units, and nothing of what was not available."""
    said = {"loss": math.inf, "step_s": None, "phase": "save"}
    data = encode(Recording(every_s=4.0, samples=(at(4, gpus=(5,), **said), at(8))))
    head, first, second = [json.loads(row, parse_constant=pytest.fail) for row in data.splitlines()]

    assert {"every_s": 4.0} == head
    assert {"at_s": 1e9 + 8, "attempt": 1, "step": 8, "gpus": {}} == second
    assert {"5": asdict(GPU)} == first["gpus"]
    assert ("Infinity", "save") == (first["loss"], first["phase"])
    assert "step_s" not in first


def test_what_was_written_is_read():
    """To the last bit; what was not available stays so."""
    recording = Recording(
        every_s=4.0,
        samples=(
            at(0, step=None),
            at(4, phase="save", loss=math.inf, step_s=0.1, data_wait=0.2, gpus=(5,)),
            at(8, attempt=65535, step=2**40, cpu_cores=1.5, memory_bytes=5e9),
        ),
    )

    assert recording == decode(encode(recording))


@pytest.mark.parametrize(
    "broken",
    [
        bytes(200),
        b"[1]",
        b"null",
        b'{"step": 4}',
        b'{"at_s": 0, "attempt": 1}',
        b'{"at_s": "NaN", "attempt": 1}',
        b'{"at_s": 1e300, "attempt": 1}',
        b'{"at_s": 1e9, "attempt": 0}',
        b'{"at_s": 1e9, "attempt": 1, "phase": "lunch"}',
        b'{"at_s": 1e9, "attempt": 1, "gpus": {"a": {}}}',
        b'{"at_s": 1e9, "attempt": 1, "loss": "little"}',
    ],
)
def test_a_torn_row_and_rows_that_make_no_sense_are_passed_over(broken):
    """What a crash leaves of a file is read as far as it goes."""
    data = encode(Recording(every_s=2.0, samples=(at(1), at(2))))
    rest = encode(Recording(samples=(at(4), at(5)))).split(b"\n", 1)[1]
    found = decode(data + broken + b"\n" + rest[:-2])

    assert 2.0 == found.every_s
    assert [1, 2, 4] == [one.step for one in found.samples]


def test_a_full_file_is_read_whole():
    """On sixteen GPUs, with every reading and all its digits."""
    gpu = GpuSample(
        utilization_pct=100 / 3, temperature_c=100 / 3, power_w=1000 / 3, memory_used_bytes=1e11 / 3
    )
    third = 100 / 3
    full = replace(
        at(2**30, phase="evaluate", gpus=range(16), loss=third, step_s=third, data_wait=third),
        cpu_cores=third,
        memory_bytes=1e12 / 3,
        gpus=dict.fromkeys(range(16), gpu),
    )
    data = encode(Recording(samples=(full,) * MOST_SAMPLES))

    assert len(data) < telemetry.LONGEST
    assert MOST_SAMPLES == len(decode(data).samples)


numbers = st.none() | st.floats()
samples = st.builds(
    Sample,
    at_s=st.floats(),
    attempt=st.integers(0, 2**40),
    step=st.none() | st.integers(0, 2**80),
    phase=st.none() | st.sampled_from([*PHASES, "?"]),
    loss=numbers,
    step_s=numbers,
    data_wait=numbers,
    cpu_cores=numbers,
    memory_bytes=numbers,
    gpus=st.dictionaries(
        st.integers(0, 9),
        st.builds(
            GpuSample,
            **dict.fromkeys(
                ("utilization_pct", "temperature_c", "power_w", "memory_used_bytes"), numbers
            ),
        ),
    ),
)
sound = st.builds(
    replace,
    samples,
    at_s=st.floats(1.0, 1e11),
    attempt=st.integers(1, 2**40),
    phase=st.none() | st.sampled_from(PHASES),
)


@given(st.lists(samples, max_size=4), st.integers(0, 900), st.binary())
def test_any_samples_can_be_written_and_any_bytes_read(taken, length, other):
    """Cut anywhere, or bytes of something else: samples or none, and never an error."""
    data = encode(Recording(samples=tuple(taken)))
    whole = decode(data).samples

    assert len(whole) <= len(taken)
    assert repr(whole).startswith(repr(decode(data[:length]).samples)[:-1].rstrip(","))
    decode(other)
    decode(data[:18] + other)
    thinned(decode(data))


@given(st.lists(sound, max_size=4), st.sampled_from([1.0, 2.0, 1024.0]))
def test_all_that_makes_sense_comes_back(taken, every_s):
    """Every sample, bit for bit."""
    recording = Recording(every_s=every_s, samples=tuple(taken))

    assert repr(recording) == repr(decode(encode(recording)))
