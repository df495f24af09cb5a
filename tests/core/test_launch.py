"""Which cards, ports and arguments a job gets."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.device import Device, GpuProcess, select
from gpuops.core.launch import LaunchRequest, choose_gpus, plan
from gpuops.core.plan import Target
from gpuops.core.profile import Gpus, Profile, Torchrun
from gpuops.core.torchrun import environment
from gpuops.errors import GpuopsError, UsageError

SOMEBODY = GpuProcess(pid=4711, user="alice", command="python", memory_bytes=2**30)


def card(index, **changes):
    """A free RTX 4090."""
    facts = {"uuid": f"GPU-{index:08x}-0000", "name": "NVIDIA GeForce RTX 4090", "processes": ()}
    return Device(index=index, **{**facts, **changes})


def box(count, **changes):
    """A machine of so many cards; ``changes`` by index as ``at3={...}``."""
    return tuple(card(index, **changes.get(f"at{index}", {})) for index in range(count))


def gpus(count, **changes):
    """A profile that wants so many cards."""
    return Profile(name="some", gpus=Gpus(count=count, **changes))


def request(**changes):
    """A launch of a trainer."""
    facts = {
        "target": Target(kind="trainer", name="rvq", entry="trainers.rvq.train"),
        "run_id": "run-1",
        "run_dir": "/runs/run-1",
        "python": "/usr/bin/python3",
    }
    return LaunchRequest(**{**facts, **changes})


def chosen(profile, devices, **changes):
    """The indices of the cards that a job takes."""
    return [device.index for device in choose_gpus(profile, devices, request(**changes))]


def test_the_first_cards_are_taken():
    """Where all are free, the lowest indices are taken, in bus order."""
    assert [0, 1, 2] == chosen(gpus(3), box(8))


def test_free_cards_come_before_busy_ones():
    """A card on which somebody computes is the last to be taken."""
    devices = box(4, at0={"processes": (SOMEBODY,)}, at2={"processes": (SOMEBODY,)})

    assert [1, 3] == chosen(gpus(2), devices)
    assert [0, 1, 3] == chosen(gpus(3), devices)


def test_a_card_of_unknown_use_is_not_preferred_to_a_free_one():
    """A card whose users cannot be read is no free card."""
    assert [1] == chosen(gpus(1), box(2, at0={"processes": None}))


def test_a_faulty_card_is_never_taken():
    """A card that does not answer is left out, even where it is missed."""
    devices = box(3, at1={"fault": "fallen off the bus"})

    assert [0, 2] == chosen(gpus(2), devices)
    with pytest.raises(GpuopsError, match="2 usable"):
        chosen(gpus(3), devices)


def test_the_profiles_exclusions_hold():
    """What the profile excludes is never taken, by index or UUID."""
    assert [1, 2] == chosen(gpus(2, exclude=[0]), box(3))
    assert [0, 2] == chosen(gpus(2, exclude=["GPU-00000001"]), box(3))


def test_a_profiles_exclusion_that_is_not_there_is_no_error():
    """A profile for eight cards still works on a machine that lacks the excluded one."""
    assert [0, 1] == chosen(gpus(2, exclude=[7, "GPU-ffff"]), box(2))


def test_the_exclusions_asked_for_add_to_the_profiles():
    """``--exclude-gpu`` does not replace what the profile excludes."""
    assert [2, 3] == chosen(gpus(2, exclude=[0]), box(4), exclude_gpus=("1",))


@pytest.mark.parametrize(
    "selector", ["2", "02", "GPU-00000002-0000", "GPU-00000002", "gpu-00000002"]
)
def test_a_card_is_named_by_index_uuid_or_its_beginning(selector):
    """All the ways to name card 2 leave card 2 alone."""
    assert [0, 1, 3] == chosen(gpus(3), box(4), exclude_gpus=(selector,))


@pytest.mark.parametrize("selector", ["9", "GPU-ffff", "", " ", "-1", "0,1", "²", "٣", "GPU 0"])
def test_a_selector_that_matches_nothing_is_refused(selector):
    """A typing error must not mean "exclude nothing", nor "exclude all"."""
    with pytest.raises(UsageError, match="matches no GPU") as caught:
        chosen(gpus(1), box(3), exclude_gpus=(selector,))

    assert "0, 1, 2" in caught.value.hint


def test_only_cards_of_the_model_are_taken():
    """The model is a filter, whatever the case."""
    devices = box(3, at0={"name": "NVIDIA H100 80GB HBM3"})

    assert [1, 2] == chosen(gpus(2, model="rtx 4090"), devices)


@pytest.mark.parametrize(
    ("model", "name"),
    [("H20", "NVIDIA H200"), ("A10", "NVIDIA A100-SXM4-80GB"), ("RTX 409", "RTX 4090")],
)
def test_a_model_is_a_whole_word(model, name):
    """An H200 is no H20."""
    with pytest.raises(GpuopsError, match="0 usable"):
        chosen(gpus(1, model=model), (card(0, name=name),))


@pytest.mark.parametrize("name", ["NVIDIA H200", "NVIDIA H200 NVL", "nvidia h200", "H200"])
def test_a_model_may_stand_anywhere_in_the_name(name):
    """Drivers put words around a model's name."""
    assert [0] == chosen(gpus(1, model="H200"), (card(0, name=name),))


def test_a_card_without_a_name_is_of_no_model():
    """What cannot be read is not assumed."""
    with pytest.raises(GpuopsError):
        chosen(gpus(1, model="H200"), (card(0, name=None),))


def test_too_few_cards_is_an_error_that_counts():
    """The sentence says what is wanted, what is there, and what was excluded."""
    with pytest.raises(GpuopsError) as caught:
        chosen(gpus(4, model="RTX 4090"), box(4), exclude_gpus=("0", "2"))

    assert "wants 4 GPU(s) of model RTX 4090" in caught.value.message
    assert "2 usable besides the excluded 0, 2" in caught.value.message
    assert "--nproc-per-node" in caught.value.hint


def test_no_cards_at_all_is_an_error_not_an_empty_plan():
    """A GPU profile on a machine without GPUs gives no plan."""
    with pytest.raises(GpuopsError, match="0 usable"):
        plan(gpus(1), (), request())


def test_the_number_asked_for_overrules_the_profiles():
    """``--nproc-per-node`` is how many cards are taken."""
    launch = plan(gpus(4), box(4), request(nproc_per_node=2))

    assert (2, (0, 1)) == (launch.nproc_per_node, launch.gpu_indices)


def test_a_cpu_plan_takes_no_cards():
    """A CPU profile leaves the GPUs of the machine alone."""
    launch = plan(Profile(name="cpu", device="cpu", workers=2), box(4), request())

    assert (2, (), ()) == (launch.nproc_per_node, launch.gpu_indices, launch.gpu_uuids)
    assert not environment(launch)["CUDA_VISIBLE_DEVICES"]


def test_cards_are_named_to_the_job_by_uuid():
    """UUIDs do not shift when a card falls off the bus."""
    added = environment(plan(gpus(2), box(2), request()))

    assert "GPU-00000000-0000,GPU-00000001-0000" == added["CUDA_VISIBLE_DEVICES"]
    assert "PCI_BUS_ID" == added["CUDA_DEVICE_ORDER"]


def test_the_job_sees_as_many_cards_as_it_has_ranks():
    """A card without a UUID makes all be named by index: none is dropped."""
    added = environment(plan(gpus(3), box(3, at1={"uuid": None}), request()))

    assert "0,1,2" == added["CUDA_VISIBLE_DEVICES"]


def test_the_port_asked_for_overrules_the_profiles():
    """``--master-port`` wins over the profile, the profile over the default."""
    profile = Profile(name="cpu", device="cpu", workers=1, torchrun=Torchrun(master_port=30000))

    assert 30000 == plan(profile, (), request()).master_port
    assert 31000 == plan(profile, (), request(master_port=31000)).master_port


def test_arguments_go_from_weakest_to_strongest():
    """A profile's wishes, then the run's folder, then what was typed, then how to resume."""
    profile = Profile(
        name="cpu",
        device="cpu",
        workers=1,
        trainers={"rvq": {"preset": "demo", "lengths": [0.5, 1.0]}, "float": {"lr": 1}},
    )
    launch = plan(
        profile,
        (),
        request(
            defaults={"out_dir": "/runs/run-1"},
            arguments=("--lr", "1e-3"),
            resume_arguments=("--resume", "auto"),
        ),
    )

    assert (
        "--defaults",
        "preset=demo",
        "lengths=0.5,1.0",
        "out_dir=/runs/run-1",
        "--lr",
        "1e-3",
        "--resume",
        "auto",
    ) == launch.program_arguments


def test_the_runs_own_folder_overrules_the_profiles_wish():
    """What gpuops decides for the run is not the profile's to change."""
    profile = Profile(
        name="cpu", device="cpu", workers=1, trainers={"rvq": {"out_dir": "/elsewhere"}}
    )

    launch = plan(profile, (), request(defaults={"out_dir": "/runs/run-1"}))

    assert {"out_dir": "/runs/run-1"} == launch.defaults


@pytest.mark.parametrize("kind", ["script", "module"])
def test_a_script_gets_its_own_arguments_and_no_more(kind):
    """A program without a manifest is handed what was typed, untouched."""
    profile = Profile(name="cpu", device="cpu", workers=1, trainers={"t": {"a": 1}})
    target = Target(kind=kind, name="t", entry="t")

    launch = plan(profile, (), request(target=target, arguments=("--x", "", "a b")))

    assert ("--x", "", "a b") == launch.program_arguments


def test_the_plan_remembers_what_was_excluded():
    """A resumed run can leave the same cards alone."""
    assert ("1",) == plan(gpus(1), box(2), request(exclude_gpus=("1",))).exclude_gpus


def test_a_uuid_that_looks_like_a_number_is_an_index():
    """Digits are an index, whatever the UUIDs are."""
    devices = (card(0, uuid="1234"), card(1))

    assert (devices[1],) == select(devices, "1")


states = st.builds(
    dict,
    processes=st.sampled_from([(), (SOMEBODY,), None]),
    fault=st.sampled_from([None, None, "gone"]),
)


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(states, max_size=8),
    st.integers(1, 8),
    st.sets(st.integers(0, 7), max_size=3),
)
def test_a_choice_is_always_lawful(cards, count, excluded):
    """Never a faulty or excluded card, never a busy one while a free one is left out."""
    devices = tuple(card(index, **facts) for index, facts in enumerate(cards))
    usable = [d for d in devices if d.fault is None and d.index not in excluded]
    try:
        taken = choose_gpus(gpus(count, exclude=sorted(excluded)), devices, request())
    except GpuopsError:
        assert len(usable) < count
        return

    assert count == len(taken)
    assert set(taken) <= set(usable)
    assert [d.index for d in taken] == sorted(d.index for d in taken)
    left_free = [d for d in usable if d not in taken and d.busy is False]
    assert not (left_free and any(d.busy for d in taken))
