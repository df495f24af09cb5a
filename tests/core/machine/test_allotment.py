"""Which GPUs a scheduler gave: as CUDA reads its variable, and as Slurm lists them."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpuops.core.machine.allotment import (
    mark_withheld,
    parse_container,
    parse_slurm,
    parse_visible,
)
from gpuops.core.machine.device import Device

EIGHT = tuple(
    Device(index=index, uuid=f"GPU-{index:08x}-0000", name="NVIDIA H100") for index in range(8)
)
LOST = Device(index=0, state="lost", fault="it has fallen off the bus")
MIXED = (Device(index=0, uuid="GPU-a", name="NVIDIA T4"), Device(index=1, uuid="GPU-b", name="H20"))


@pytest.mark.parametrize(
    ("value", "count", "ours"),
    [
        ("all", 8, None),
        ("void", 2, None),
        ("", 2, None),
        ("none", 8, set()),
        ("6,7", 2, None),  # indices of the host: the container shows no others
        ("6,7", 1, None),  # one of them was lost
        ("6,7", 8, {6, 7}),  # a privileged container
        ("0", 8, {0}),
        ("9", 8, set()),
        ("GPU-00000001-0000", 2, {1}),
        (" GPU-00000001-0000, GPU-00000002-0000", 8, {1, 2}),
        ("GPU-00000001-0000,5", 8, {1, 5}),
        ("GPU-elsewhere", 2, set()),
        ("MIG-89c850dc", 1, None),
        ("0:1", 1, None),
        ("nvidia.com/gpu=0", 8, None),
        ("/var/run/nvidia-container-devices", 8, None),
        ("6,x", 8, None),
        ("٣", 8, None),
    ],
)
def test_a_container_was_given_gpus_of_the_host(value, count, ours):
    """Mostly the driver shows only these; UUIDs are the same everywhere, indices the host's."""
    assert ours == parse_container(value, EIGHT[:count])


def test_a_lost_gpu_without_a_uuid_may_be_the_one_that_was_given():
    """It is then said that it is lost, not that it is another's."""
    assert {0, 1} == parse_container("GPU-00000001-0000,GPU-gone", (LOST, *EIGHT[1:]))


@pytest.mark.parametrize(
    ("value", "ours"),
    [
        ("6,7", {6, 7}),
        ("7,6", {6, 7}),
        (" 6 , 7", {6, 7}),
        ("0", {0}),
        ("", set()),
        (" ", set()),
        ("-1", set()),
        ("NoDevFiles", set()),
        ("none", set()),
        ("all", set()),
        ("6,-1,7", {6}),
        ("6,,7", {6}),
        ("6,8,7", {6}),
        ("8", set()),
        ("99999999999999999999", set()),
        ("6,x,7", {6}),
        ("6,6", set()),
        ("1,2,1", set()),
        ("1gpu2,2ampere", {1, 2}),
        ("+3", {3}),
        ("06", {6}),
        ("٣", set()),
        ("GPU-00000006-0000,GPU-00000007-0000", {6, 7}),
        ("GPU-00000006", {6}),
        ("GPU-0000000", set()),
        ("GPU-00000006,GPU-ffff,GPU-00000007", {6}),
        ("GPU-00000006,GPU-00000006-0000", set()),
        ("GPU-00000006,7", {6}),
        ("6,GPU-00000007", {6}),
        ("MIG-89c850dc", set()),
        ("MIG-GPU-00000006/1/0", set()),
        ("GPU-00000006,MIG-89c850dc", {6}),
    ],
)
def test_a_value_is_parsed_as_cuda_does(value, ours):
    """The first entry that names no GPU ends the list, and a GPU named twice empties it."""
    assert ours == parse_visible(value, EIGHT)


def test_a_lost_gpu_does_not_end_the_list():
    """It may be the one whose UUID no GPU has now: the others that are named are still ours."""
    there = (LOST, *EIGHT[1:])

    assert {1} == parse_visible("GPU-00000000,GPU-00000001", there)
    assert {1} == parse_visible("GPU-00000001,x,GPU-00000002", there)


@pytest.mark.parametrize(
    ("value", "count", "ours"),
    [
        ("3,4", 8, {3, 4}),
        ("0-2,7", 8, {0, 1, 2, 7}),
        ("6,9", 8, {6}),
        ("gpu", 8, set()),
        # A control group shows the GPUs of the job alone, with numbers of its own.
        ("3,4", 2, {0, 1}),
        ("5", 1, {0}),
        ("0-7", 8, set(range(8))),
    ],
)
def test_slurm_counts_the_gpus_of_the_host(value, count, ours):
    """Unless a control group hides all others: then what is visible was given."""
    assert ours == parse_slurm(value, EIGHT[:count])


@pytest.mark.parametrize(
    ("variables", "ours", "words"),
    [
        ({}, set(range(8)), None),
        ({"CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, set(range(8)), None),
        ({"SLURM_JOB_GPUS": ""}, set(range(8)), None),
        ({"CUDA_VISIBLE_DEVICES": "6,7"}, {6, 7}, "CUDA_VISIBLE_DEVICES=6,7"),
        ({"CUDA_VISIBLE_DEVICES": ""}, set(), "CUDA_VISIBLE_DEVICES=''"),
        ({"SLURM_JOB_GPUS": "3,4"}, {3, 4}, "SLURM_JOB_GPUS=3,4"),
        ({"SLURM_JOB_GPUS": "3,4", "SLURM_STEP_GPUS": "4"}, {4}, "SLURM_STEP_GPUS=4"),
        (
            {"SLURM_JOB_GPUS": "3,4", "CUDA_VISIBLE_DEVICES": "3,4"},
            {3, 4},
            "CUDA_VISIBLE_DEVICES=3,4",
        ),
        (
            {"CUDA_VISIBLE_DEVICES": "MIG-89c850dc"},
            set(),
            "CUDA_VISIBLE_DEVICES=MIG-89c850dc, slices of GPUs (MIG) are not supported",
        ),
    ],
)
def test_gpus_of_others_name_the_variable(variables, ours, words):
    """Without a variable all GPUs are ours."""
    marked = mark_withheld(EIGHT, variables)

    assert ours == {device.index for device in marked if device.withheld_by is None}
    assert {device.withheld_by for device in marked} - {None} == ({words} if words else set())


def test_both_variables_narrow():
    """A user who asks for more than Slurm gave gets what Slurm gave."""
    marked = mark_withheld(EIGHT, {"CUDA_VISIBLE_DEVICES": "0,3", "SLURM_JOB_GPUS": "3,4"})

    assert [3] == [device.index for device in marked if device.withheld_by is None]
    assert "SLURM_JOB_GPUS=3,4" == marked[0].withheld_by


@pytest.mark.parametrize(
    ("variables", "noted"),
    [
        ({"CUDA_VISIBLE_DEVICES": "0"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "FASTEST_FIRST"}, True),
        ({"CUDA_VISIBLE_DEVICES": "0", "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}, False),
        ({"CUDA_VISIBLE_DEVICES": "GPU-a"}, False),
    ],
)
def test_the_order_is_said_if_cuda_may_count_otherwise(variables, noted):
    """CUDA counts the fastest model first unless it is told not to; the driver's library never."""
    t4, h20 = mark_withheld(MIXED, variables)

    assert t4.withheld_by is None
    assert noted is ("counted in PCI bus order" in h20.withheld_by)


def test_the_value_cannot_play_with_the_terminal():
    """It is on one line, short, and without control characters."""
    words = mark_withheld(EIGHT, {"CUDA_VISIBLE_DEVICES": "\x1b[2J\n" + "9" * 500})[0].withheld_by

    assert words.isprintable()
    assert len(words) < 100


@settings(max_examples=300)
@given(st.text("0123456789,-+GPUMIG xn\x00", max_size=40))
@example("GPU-" * 20)
def test_any_value_gives_some_of_the_gpus(value):
    """Never an error, and never a GPU that is not there."""
    assert parse_visible(value, EIGHT) <= set(range(8))
    assert parse_slurm(value, EIGHT) <= set(range(8))
    assert (parse_container(value, EIGHT) or set()) <= set(range(8))
    assert len(mark_withheld(EIGHT, {"CUDA_VISIBLE_DEVICES": value, "SLURM_JOB_GPUS": value})) == 8


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("6,x,7", "CUDA_VISIBLE_DEVICES=6,x,7, which CUDA reads up to 'x'"),
        ("6,,7", "CUDA_VISIBLE_DEVICES=6,,7, which CUDA reads up to ''"),
        ("6,x", "CUDA_VISIBLE_DEVICES=6,x"),
        ("-1", "CUDA_VISIBLE_DEVICES=-1"),
    ],
)
def test_an_entry_that_ends_the_list_is_named(value, words):
    """If more entries follow: GPU 7 is listed, and CUDA does not give it."""
    assert words == mark_withheld(EIGHT, {"CUDA_VISIBLE_DEVICES": value})[7].withheld_by
