"""Whether a training step fits on a GPU, and what would."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.launch.memory import (
    CONTEXT_BYTES,
    NCCL_BYTES,
    WORKSPACE_BYTES,
    Beside,
    Gpu,
    assess_fit,
    beside,
    gpu,
    parse,
    ranks,
    room_bytes,
)
from gpuops.core.launch.profile import Gpus, Limits, Profile
from gpuops.core.machine.device import Device
from gpuops.errors import GpuopsError
from gpuops.text import GIB, MIB

GPU = Gpu(name="RTX 4090", memory_bytes=24 * GIB, headroom=0.1)
NOTHING = Beside()
SEVEN = Profile(name="7", gpus=Gpus(count=7, model="RTX 4090", memory_gib=24))
ANY = Profile(name="any", gpus=Gpus(count=2), limits=Limits(memory_headroom=0.5))
CPU = Profile(name="cpu", device="cpu", workers=3)


def document(*needs, size=10, **changes):
    """What a trainer prints: sizes and what they take in GiB."""
    return {
        "setting": "batch_size",
        "size": size,
        "batch": "10 windows",
        "ranks": 1,
        "device": "cuda",
        "precision": "float32",
        "needs": [
            {"size": n, "peak_bytes": int(gib * GIB), "at": "forward", "parts": {"batch": 1}}
            for n, gib in needs
        ],
        **changes,
    }


def estimate(*needs, size=10, **changes):
    return parse(document(*needs, size=size, **changes), "mine.estimate")


def test_what_fits_is_said_with_how_much_more_would():
    """The largest size that was rehearsed and fits, and what one more takes."""
    fit = assess_fit(estimate((10, 2), (20, 3), (200, 21)), GPU, NOTHING)

    assert fit.fits is True
    assert fit.largest == 200
    assert fit.per_sample_bytes == pytest.approx(0.1 * GIB, rel=1e-6)
    assert fit.sentence == ("It fits: 2.0 of 21.6 GiB with batch_size 10; up to about 200 would.")


def test_what_does_not_fit_is_said_with_what_would():
    """And with the flags by which the same batch would be smaller."""
    fit = assess_fit(estimate((5, 20), (10, 30), (20, 50), savers=["--half"]), GPU, NOTHING)

    assert fit.fits is False
    assert fit.largest == 5
    assert fit.sentence == (
        "It does not fit: batch_size 10 needs 30.0 GiB, 21.6 GiB are available; "
        "--batch-size 5 would."
    )
    assert fit.hint == "`--half` makes it smaller."


def test_where_no_size_fits_none_is_named():
    """The weights alone are too much."""
    fit = assess_fit(estimate((10, 30), (20, 31)), GPU, NOTHING)

    assert fit.largest == 0
    assert "no batch_size would" in fit.sentence
    assert fit.hint == ""


def test_where_none_near_the_room_was_rehearsed_the_line_tells():
    """A trainer that does not look for the largest size is still told it, to be careful with."""
    fit = assess_fit(estimate((10, 2), (20, 3)), GPU, NOTHING)

    assert fit.largest == 205
    assert assess_fit(estimate((10, 2), (20, 3), (150, 22)), GPU, NOTHING).largest < 150


def test_a_single_size_is_judged_too():
    """Nothing is known of others."""
    assert assess_fit(estimate((10, 2)), GPU, NOTHING).largest == 10
    assert assess_fit(estimate((10, 2)), GPU, NOTHING).per_sample_bytes is None


def test_without_a_gpu_there_is_no_assessment():
    """Neither yes nor no; on CPUs there is none to be named."""
    unknown = assess_fit(estimate((10, 2), (20, 3)), None, NOTHING)
    on_cpu = assess_fit(estimate((10, 2), (20, 3), device="cpu"), None, NOTHING)

    assert unknown.fits is on_cpu.fits is None
    assert unknown.largest is None
    assert "--profile" in unknown.hint
    assert "the tensors of all ranks take" in on_cpu.sentence


def test_context_and_workspace_count_against_the_gpu():
    """What fits by its tensors alone may not fit with them; NCCL comes with a second rank."""
    one, two = beside(on_gpu=True, ranks=1), beside(on_gpu=True, ranks=2)

    assert one.total_bytes == CONTEXT_BYTES + WORKSPACE_BYTES
    assert two.total_bytes == one.total_bytes + NCCL_BYTES
    assert beside(on_gpu=False, ranks=2).total_bytes == 0
    assert assess_fit(estimate((10, 21.5), (20, 40)), GPU, NOTHING).fits is True
    assert assess_fit(estimate((10, 21.5), (20, 40)), GPU, one).fits is False
    assert room_bytes(GPU, two) == GPU.usable_bytes - two.total_bytes
    assert room_bytes(None, two) is None
    assert room_bytes(Gpu(name="small", memory_bytes=GIB, headroom=0.1), two) == 0


def test_rounding_counts_too():
    """What the allocator's segments leave over is no room for tensors."""
    needs = [{"size": 10, "peak_bytes": 21 * GIB, "at": "forward", "parts": {}}]
    rounded = [{**needs[0], "rounding_bytes": GIB}]

    assert assess_fit(estimate(needs=needs), GPU, NOTHING).fits is True
    assert assess_fit(estimate(needs=rounded), GPU, NOTHING).fits is False


def test_the_gpu_is_the_profiles():
    """Its memory and its headroom, whatever the host has."""
    found = gpu(SEVEN, [Device(index=0, memory_total_bytes=80 * GIB, name="H100")])

    assert found == Gpu(name="RTX 4090", memory_bytes=24 * GIB, headroom=0.1)
    assert found.usable_bytes == int(21.6 * GIB)


def test_the_gpu_is_the_smallest_of_the_box_where_the_profile_names_no_memory():
    """A GPU that cannot be used does not count, nor one whose memory is not known."""
    inventory = [
        Device(index=0, memory_total_bytes=8 * GIB, name="old", fault="lost"),
        Device(index=1, memory_total_bytes=None, name="mute"),
        Device(index=2, memory_total_bytes=80 * GIB, name="H100"),
        Device(index=3, memory_total_bytes=48 * GIB, name="A6000"),
    ]

    assert gpu(ANY, inventory) == Gpu(name="A6000", memory_bytes=48 * GIB, headroom=0.5)
    assert gpu(None, inventory) == Gpu(name="A6000", memory_bytes=48 * GIB, headroom=0.1)
    assert gpu(None, []) is None
    assert gpu(CPU, inventory) is None


def test_ranks_are_asked_for_or_the_profiles_or_the_boxs():
    """In this order; a planner without any of them has one."""
    inventory = [Device(index=0), Device(index=1), Device(index=2, fault="lost")]

    assert ranks(SEVEN, inventory, 3) == 3
    assert ranks(SEVEN, inventory, None) == 7
    assert ranks(CPU, (), None) == 3
    assert ranks(None, inventory, None) == 2
    assert ranks(None, (), None) == 1


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"size": 0}, "size"),
        ({"needs": []}, "needs"),
        ({"needs": [{"size": 10}]}, "needs.0.peak_bytes"),
        ({"needs": [{"size": 10, "peak_bytes": -1, "at": "x", "parts": {}}]}, "needs.0.peak_bytes"),
        ({"device": "tpu"}, "device"),
        ({"size": 11}, "none of size 11"),
        ({"precision": None}, "precision"),
    ],
)
def test_what_is_no_estimate_is_refused_by_its_path(changes, path):
    """Another trainer's mistake is a sentence that says where it is."""
    with pytest.raises(GpuopsError, match=r"mine\.estimate printed no estimate") as caught:
        parse(document((10, 2), **changes), "mine.estimate")

    assert path in caught.value.message


def test_what_more_a_trainer_says_is_passed_over():
    """Its answer may know more than this version of gpuops."""
    assert estimate((10, 2), new={"figures": 1}).asked.peak_bytes == 2 * GIB


@given(
    fixed=st.integers(0, 40 * GIB),
    each=st.integers(1, GIB),
    size=st.integers(1, 1000),
    gpu_gib=st.integers(1, 200),
)
def test_what_is_said_to_fit_fits(fixed, each, size, gpu_gib):
    """Whatever the line is, and wherever the configured size lies on it."""
    takes = {n: fixed + each * n for n in (size, 2 * size)}
    needs = [{"size": n, "peak_bytes": b, "at": "", "parts": {}} for n, b in takes.items()]
    small = Gpu(name="gpu", memory_bytes=gpu_gib * GIB, headroom=0.1)

    fit = assess_fit(estimate(size=size, needs=needs), small, NOTHING)

    assert fit.fits is (takes[size] <= small.usable_bytes)
    assert fit.largest is not None
    if fit.fits:
        assert fit.largest >= size
        assert fixed + each * fit.largest <= small.usable_bytes + MIB
