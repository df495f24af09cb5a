"""Which GPUs a job takes, and why not the others."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.launch.choice import Wish, choose, reasons, why_not_free, wish_of
from gpuops.core.launch.profile import Gpus
from gpuops.core.machine.device import Claim, Device, GpuProcess, Memory, select
from gpuops.errors import UsageError
from gpuops.text import GIB

SOMEBODY = GpuProcess(pid=4711, user="mei", command="python train.py", memory_bytes=3 * GIB)
DESKTOP = GpuProcess(pid=7, user="root", command="Xorg", memory_bytes=GIB, kind="graphics")
RUN = Claim(run_id="rvq-1", user="mei", pid=12, since_s=1.0)


def gpu(index, **changes):
    """A free RTX 4090."""
    facts = {
        "uuid": f"GPU-{index:08x}-0000",
        "name": "NVIDIA GeForce RTX 4090",
        "memory_total_bytes": 24 * GIB,
        "memory_used_bytes": 0,
        "processes": (),
    }
    return Device(index=index, **{**facts, **changes})


def inventory(count, **changes):
    """A machine of so many GPUs; ``changes`` by index as ``at3={...}``."""
    return tuple(gpu(index, **changes.get(f"at{index}", {})) for index in range(count))


def busy():
    """Somebody computes on it."""
    return {"processes": (SOMEBODY,), "memory_used_bytes": 3 * GIB}


def taken(devices, count, *, awaited=(), **wish):
    """The indices of the GPUs that are taken."""
    choice = choose(Wish(count=count, **wish), devices, awaited=awaited)
    return [device.index for device in choice.devices]


def reason(devices, index, **wish):
    """Why a GPU is not taken."""
    choice = choose(Wish(count=len(devices), **wish), devices)
    return next((r.reason for r in choice.refused if r.device.index == index), None)


def test_the_first_free_gpus_are_taken():
    """The lowest indices, in bus order; one that is in use is passed over."""
    assert [0, 1, 2] == taken(inventory(8), 3)
    assert [1, 3] == taken(inventory(4, at0=busy(), at2=busy()), 2)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"fault": "it has fallen off the bus", "state": "lost"}, "faulty"),
        ({"mig": True}, "mig"),
        ({"compute_mode": "prohibited"}, "prohibited"),
        ({"name": "NVIDIA H100 80GB HBM3"}, "model"),
        ({"name": None}, "model"),
        ({"memory_total_bytes": 16 * GIB}, "memory"),
        ({"claim": RUN}, "claimed"),
        ({"processes": (SOMEBODY,)}, "busy"),
        ({"processes": None, "memory_used_bytes": 2 * GIB}, "unowned memory"),
        ({"utilization_pct": 97}, "unseen work"),
        ({"utilization_pct": 97, "processes": None, "memory_used_bytes": 2 * GIB}, "unseen work"),
        ({"withheld_by": "CUDA_VISIBLE_DEVICES=0"}, "not yours"),
        ({"withheld_by": "CUDA_VISIBLE_DEVICES=0", "processes": (SOMEBODY,)}, "not yours"),
        ({"processes": (DESKTOP,), "memory_used_bytes": GIB, "utilization_pct": 30}, None),
        ({"processes": (DESKTOP,), "utilization_pct": 97}, "unseen work"),
        ({"memory_used_bytes": GIB // 2}, None),
        ({"processes": None, "memory_used_bytes": 0}, None),
        ({"memory_total_bytes": None}, None),
    ],
)
def test_each_thing_that_is_in_the_way_has_its_name(facts, expected):
    """A GPU is refused for one reason, the one that a person would mend first."""
    assert expected == reason(inventory(2, at1=facts), 1, model="RTX 4090", memory_gib=24)


def test_force_does_not_share_a_gpu_in_exclusive_mode():
    """CUDA would refuse the second process; a claim of a job that does not compute yet passes."""
    alone = {"compute_mode": "exclusive"}

    assert [] == taken(inventory(1, at0={**busy(), **alone}), 1, share=True)
    assert [0] == taken(inventory(1, at0={"claim": RUN, **alone}), 1, share=True)
    assert [0] == taken(inventory(1, at0=alone), 1)


def test_a_gpu_of_unknown_use_is_not_preferred_to_a_free_one():
    """A GPU whose users cannot be read comes last."""
    assert [1] == taken(inventory(2, at0={"processes": None}), 1)


def test_gpus_on_one_numa_node_go_together():
    """Where one node has enough, the job does not straddle two."""
    devices = inventory(4, **{f"at{index}": {"numa_node": index // 2} for index in range(4)})
    held = (*devices[:1], gpu(1, numa_node=0, **busy()), *devices[2:])

    assert [2, 3] == taken(held, 2)
    assert [0, 2, 3] == taken(held, 3)


def test_exclusions_of_profile_and_command_line_add_up():
    """A profile's exclusion that this machine lacks is no error: it is for many machines."""
    assert [2, 3] == taken(inventory(4), 2, spared=("0", "GPU-ffff", "9"), exclude=("1",))
    assert [0, 2] == taken(inventory(3), 2, spared=("GPU-00000001",))


def test_who_names_gpus_gets_them_whatever_the_profile_leaves_alone():
    """The command line is the stronger word, and says how many."""
    wish = wish_of(Gpus(count=7, exclude=[0]), only=("0,2",))

    assert (2, ("0", "2"), ()) == (wish.count, wish.only, wish.spared)
    assert [0, 2] == [device.index for device in choose(wish, inventory(4)).devices]


@pytest.mark.parametrize(
    "selector", ["2", "02", "GPU-00000002-0000", "GPU-00000002", "gpu-00000002"]
)
def test_a_gpu_is_named_by_index_uuid_or_its_beginning(selector):
    """All the ways to name GPU 2 mean GPU 2."""
    assert [0, 1, 3] == taken(inventory(4), 3, exclude=(selector,))
    assert [2] == taken(inventory(4), 1, only=(selector,))


@pytest.mark.parametrize("selector", ["9", "GPU-ffff", "", " ", "-1", "1,", "²", "٣", "GPU 0"])
@pytest.mark.parametrize("flag", ["only", "exclude"])
def test_a_selector_that_matches_nothing_is_refused(flag, selector):
    """A typing error must not mean "nothing", nor "all"."""
    with pytest.raises(UsageError, match="matches no GPU") as caught:
        taken(inventory(3), 1, **{flag: (selector,)})

    assert "0, 1, 2" in caught.value.hint


@pytest.mark.parametrize("flag", ["only", "exclude"])
def test_a_beginning_that_several_gpus_share_is_refused(flag):
    """``GPU-`` is no name of one GPU."""
    with pytest.raises(UsageError, match="matches several GPUs: 0, 1, 2"):
        taken(inventory(3), 1, **{flag: ("GPU-0000000",)})


def test_selectors_that_contradict_are_refused():
    """Twice the same GPU, or asked for and excluded at once."""
    with pytest.raises(UsageError, match="names GPU 1 twice"):
        taken(inventory(3), 2, only=("1", "GPU-00000001"))
    with pytest.raises(UsageError, match="both name GPU 1"):
        taken(inventory(3), 1, only=("1", "2"), exclude=("1",))


@pytest.mark.parametrize(
    ("model", "name"),
    [("H20", "NVIDIA H200"), ("A10", "NVIDIA A100-SXM4-80GB"), ("RTX 409", "RTX 4090")],
)
def test_a_model_is_a_whole_word(model, name):
    """An H200 is no H20."""
    assert "model" == reason((gpu(0, name=name),), 0, model=model)


@pytest.mark.parametrize("name", ["NVIDIA H200", "NVIDIA H200 NVL", "nvidia h200", "H200"])
def test_a_model_may_stand_anywhere_in_the_name(name):
    """Drivers put words around a model's name."""
    assert [0] == taken((gpu(0, name=name),), 1, model="H200")


@pytest.mark.parametrize(("gib", "fits"), [(79.65, 80), (44.99, 48), (23.5, 24)])
def test_a_gpus_memory_is_what_the_box_says_less_what_it_keeps(gib, fits):
    """An 80 GB GPU shows 79.65 GiB, one with ECC a sixteenth less."""
    assert [0] == taken((gpu(0, memory_total_bytes=int(gib * GIB)),), 1, memory_gib=fits)


def test_a_short_choice_says_by_how_much_and_whether_waiting_helps():
    """A GPU in use comes back, a lost one does not."""
    taken_gpu = choose(Wish(count=3), inventory(3, at1=busy()))
    lost = choose(Wish(count=3), inventory(3, at1={"fault": "it is lost"}))
    both = choose(Wish(count=3), inventory(3, at1={"fault": "it is lost"}, at2=busy()))

    assert (1, True) == (taken_gpu.short, taken_gpu.waiting_helps)
    assert (1, False) == (lost.short, lost.waiting_helps)
    assert (2, False) == (both.short, both.waiting_helps)
    assert "GPU 1 is used by mei (python train.py, pid 4711, 3.0 GiB)" == str(taken_gpu.refused[0])


def test_gpus_with_the_same_reason_are_named_together():
    """In the grammar of one or of several."""
    choice = choose(
        Wish(count=5, exclude=("0",)), inventory(4, at1={"claim": RUN}, at3={"claim": RUN})
    )

    assert reasons(choice.refused) == "GPU 0 is excluded; GPU 1, 3 are held by run rvq-1 of mei"


def test_gpus_that_are_ours_already_are_taken_again():
    """Where they are all there; else it chooses anew."""
    ours = ("GPU-00000002-0000", "GPU-00000003-0000")

    assert [2, 3] == taken(inventory(4), 2, prefer=ours)
    assert [0, 1] == taken(inventory(4, at3=busy()), 2, prefer=ours)


def test_gpus_in_use_are_shared_only_on_demand_and_last():
    """Free ones first; the shared ones are named."""
    choice = choose(Wish(count=2, share=True), inventory(3, at0=busy(), at1=busy()))

    assert [0, 2] == [device.index for device in choice.devices]
    assert ["GPU 0"] == [refusal.device.label for refusal in choice.shared]
    assert 0 == choice.short


def test_gpus_of_others_are_taken_by_force_alone_and_after_our_own():
    """Waiting does not bring them; those in use that are ours come first."""
    withheld = {"withheld_by": "CUDA_VISIBLE_DEVICES=1,2"}
    devices = inventory(3, at0=withheld, at1=busy())
    short = choose(Wish(count=3), devices)

    assert (False, True) == (short.waiting_helps, short.force_helps)
    assert [1, 2] == taken(devices, 2, share=True)
    assert [0, 1, 2] == taken(devices, 3, share=True)
    assert "GPU 0 is not yours: CUDA_VISIBLE_DEVICES=1,2" == str(short.refused[0])


def test_what_others_wait_for_is_not_taken():
    """Who came first is served first."""
    awaited = {"GPU-00000001-0000"}

    assert [0, 2] == taken(inventory(3), 3, awaited=awaited)


def test_a_claim_is_named_before_the_process_that_it_explains():
    """The run's name helps more than its pid."""
    assert "is held by run rvq-1 of mei" == why_not_free(gpu(0, claim=RUN, **busy()))


@pytest.mark.parametrize(
    ("claim", "words"),
    [
        (Claim(user="mei"), "is held by another gpuops run of mei"),
        (Claim(), "is held by another gpuops run"),
        (
            Claim(user="mei", file="/l/gpu-0.lock", unusable="is a link"),
            "is in use by mei: its lock is a link (`sudo rm /l/gpu-0.lock` frees it)",
        ),
        (
            Claim(user="root", ours=True, file="/$(id).lock", unusable="is a folder"),
            "is in use by root: its lock is a folder (`rm -r '/$(id).lock'` frees it)",
        ),
    ],
)
def test_a_claim_names_its_user_and_what_would_free_a_lock_that_is_not_one(claim, words):
    """A name that another user chose is quoted: it is copied into a shell."""
    assert words == why_not_free(gpu(0, claim=claim))
    assert why_not_free(gpu(0)) is None


def test_a_gpu_that_no_launch_takes_is_not_free():
    """In parts, or kept for somebody who waits."""
    assert "is in MIG mode" in why_not_free(gpu(0, mig=True))
    assert why_not_free(gpu(0), {gpu(0).uuid}) == "goes to a launch that waits for it"


def test_what_several_gpus_are_kept_for_is_said_in_the_plural():
    """``them``, not ``it``."""
    devices = inventory(2)
    choice = choose(Wish(count=2), devices, awaited={device.uuid for device in devices})

    assert reasons(choice.refused) == "GPU 0, 1 go to a launch that waits for them"


def test_a_lost_gpu_can_still_be_excluded_by_its_uuid():
    """It no longer tells its UUID: a script that leaves it alone goes on working."""
    lost = inventory(3, at1={"uuid": None, "fault": "it has fallen off the bus", "state": "lost"})

    assert [0, 2] == taken(lost, 2, exclude=("GPU-00000001",))
    with pytest.raises(UsageError, match="--exclude-gpu 9 matches no GPU"):
        taken(lost, 2, exclude=("9",))


def test_who_asks_for_a_lost_gpu_is_told_that_it_is_lost():
    """As far as can be known."""
    lost = inventory(2, at1={"uuid": None, "fault": "it has fallen off the bus", "state": "lost"})

    with pytest.raises(UsageError, match="matches no GPU") as caught:
        taken(lost, 1, only=("GPU-00000001",))

    assert "GPU 1 does not report its UUID: it has fallen off the bus." in caught.value.hint


def test_an_endless_number_is_no_gpu():
    """However many digits somebody types."""
    with pytest.raises(UsageError, match="matches no GPU"):
        taken(inventory(2), 1, only=("9" * 5000,))


def test_nothing_between_commas_is_shown_as_nothing():
    """Not as two blanks."""
    with pytest.raises(UsageError, match="--gpu '' matches no GPU"):
        taken(inventory(2), 1, only=("1,",))


def test_more_ranks_than_the_gpus_named_are_refused():
    """Fewer may choose among them."""
    with pytest.raises(UsageError, match="--nproc-per-node 4 wants more GPUs than --gpu names: 2"):
        wish_of(Gpus(count=7), count=4, only=("0,1",))

    assert 2 == wish_of(Gpus(count=7), count=2, only=("0,1,2",)).count


def test_a_uuid_that_looks_like_a_number_is_an_index():
    """Digits are an index, whatever the UUIDs are."""
    devices = (gpu(0, uuid="1234"), gpu(1))

    assert (devices[1],) == select(devices, "1")


states = st.builds(
    dict,
    processes=st.sampled_from([(), (SOMEBODY,), None]),
    fault=st.sampled_from([None, None, "is gone"]),
    claim=st.sampled_from([None, None, RUN]),
    numa_node=st.sampled_from([None, 0, 1]),
    memory_used_bytes=st.sampled_from([None, 0, 3 * GIB, 20 * GIB]),
)


@settings(max_examples=100)
@given(
    gpus=st.lists(states, max_size=8),
    count=st.integers(1, 8),
    spared=st.sets(st.integers(0, 7), max_size=3),
    share=st.booleans(),
)
def test_a_choice_is_always_lawful(gpus, count, spared, share):
    """Nothing broken, spared or held is taken; who is short has left no free GPU out."""
    devices = tuple(gpu(index, **facts) for index, facts in enumerate(gpus))
    choice = choose(Wish(count=count, spared=tuple(map(str, spared)), share=share), devices)
    refused = [refusal.device for refusal in choice.refused]

    assert not set(choice.devices) & set(refused)
    assert len(choice.devices) <= count
    assert not any(d.fault or d.index in spared for d in choice.devices)
    in_use = {d.index for d in choice.devices if d.claim or d.busy}
    assert in_use <= {refusal.device.index for refusal in choice.shared}
    assert share or not in_use
    if choice.short:
        usable = [d for d in devices if why_not_free(d) is None and not d.fault]
        assert len([d for d in usable if d.index not in spared]) < count


@pytest.mark.parametrize(
    "ill",
    [
        {"memory": Memory(remap_failed=True)},
        {"memory": Memory(ecc_uncorrected=3)},
        {"temperature_c": 91},
        {"slowed_by": ("heat",)},
    ],
)
def test_well_gpus_come_before_ill_ones(ill):
    """A hot or broken GPU is taken where there is no other, and not before."""
    assert [0, 2] == taken(inventory(3, at1=ill), 2)
    assert [0, 1, 2] == taken(inventory(3, at1=ill), 3)
    assert [4, 5, 6, 7] == taken(
        tuple(gpu(i, numa_node=i // 4, **(ill if i == 1 else {})) for i in range(8)), 4
    )
