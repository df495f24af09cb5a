"""Which GPUs, ports and arguments a job gets."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from gpuops.core.launch.choice import choose
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchRequest, NodePlan, Target
from gpuops.core.launch.plan_launch import plan, wish
from gpuops.core.launch.profile import Gpus, Profile, Torchrun
from gpuops.core.launch.torchrun import environment
from gpuops.core.machine.device import Device, DeviceRef
from gpuops.errors import UsageError


def gpu(index, **changes):
    """A free RTX 4090."""
    facts = {"uuid": f"GPU-{index:08x}-0000", "name": "NVIDIA GeForce RTX 4090", "processes": ()}
    return Device(index=index, **{**facts, **changes})


def inventory(count, **changes):
    """A machine of so many GPUs; ``changes`` by index as ``at3={...}``."""
    return tuple(gpu(index, **changes.get(f"at{index}", {})) for index in range(count))


def gpus(count, **changes):
    """A profile that wants so many GPUs."""
    return Profile(name="some", gpus=Gpus(count=count, **changes))


def request(**changes):
    """A launch of a trainer."""
    facts = {
        "target": Target(kind="trainer", name="rvq", entry="trainers.rvq.train"),
        "run_id": "run-1",
        "run_dir": "/runs/run-1",
        "python": "/usr/bin/python3",
    }
    typed = {one.name for one in fields(LaunchOptions)} - {
        one.name for one in fields(LaunchRequest)
    }
    options = LaunchOptions(**{name: changes.pop(name) for name in typed & set(changes)})
    return LaunchRequest(**{**facts, "options": options, **changes})


def indices(launch):
    """The GPUs of a plan."""
    return tuple(gpu.index for gpu in launch.devices)


def planned(profile, devices, **changes):
    """The plan of a launch."""
    asked = request(**changes)
    wanted = wish(profile, asked.options)
    return plan(profile, choose(wanted, devices) if wanted else None, asked)


def test_the_number_asked_for_overrules_the_profiles():
    """``--nproc-per-node`` is how many GPUs are taken."""
    launch = planned(gpus(4), inventory(4), nproc_per_node=2)

    assert (2, (0, 1)) == (launch.world_size, indices(launch))


def test_a_cpu_plan_takes_no_gpus():
    """A CPU profile leaves the GPUs of the machine alone."""
    launch = planned(Profile(name="cpu", device="cpu", workers=2), inventory(4))

    assert (2, ()) == (launch.world_size, launch.devices)
    assert not environment(launch)["CUDA_VISIBLE_DEVICES"]


def test_gpus_are_named_to_the_job_by_uuid():
    """UUIDs do not shift when a GPU falls off the bus."""
    added = environment(planned(gpus(2), inventory(2)))

    assert "GPU-00000000-0000,GPU-00000001-0000" == added["CUDA_VISIBLE_DEVICES"]
    assert "PCI_BUS_ID" == added["CUDA_DEVICE_ORDER"]


def test_the_job_sees_as_many_gpus_as_it_has_ranks():
    """A GPU without a UUID makes all be named by index: none is dropped."""
    added = environment(planned(gpus(3), inventory(3, at1={"uuid": None})))

    assert "0,1,2" == added["CUDA_VISIBLE_DEVICES"]


def test_the_port_asked_for_overrules_the_profiles():
    """``--master-port`` wins over the profile, the profile over the default."""
    profile = Profile(name="cpu", device="cpu", workers=1, torchrun=Torchrun(master_port=30000))

    assert 30000 == plan(profile, None, request()).master_port
    assert 31000 == plan(profile, None, request(master_port=31000)).master_port


def test_the_time_to_save_asked_for_overrules_the_profiles():
    """``--stop-grace`` is for a job whose checkpoint takes longer than the profile allows."""
    profile = Profile(name="cpu", device="cpu", workers=1)

    assert profile.stop.save_s == plan(profile, None, request()).stop_save_s
    assert 600 == plan(profile, None, request(stop_grace_s=600.0)).stop_save_s


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
        None,
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

    launch = plan(profile, None, request(defaults={"out_dir": "/runs/run-1"}))

    assert {"out_dir": "/runs/run-1"} == launch.defaults


@pytest.mark.parametrize("kind", ["script", "module"])
def test_a_script_gets_its_own_arguments_and_no_more(kind):
    """A program without a manifest is handed what was typed, untouched."""
    profile = Profile(name="cpu", device="cpu", workers=1, trainers={"t": {"a": 1}})
    target = Target(kind=kind, name="t", entry="t")

    launch = plan(profile, None, request(target=target, arguments=("--x", "", "a b")))

    assert ("--x", "", "a b") == launch.program_arguments


def test_the_plan_remembers_what_was_excluded():
    """A resumed run can leave the same GPUs alone."""
    assert ("1",) == planned(gpus(1), inventory(2), exclude_gpus=("1",)).options.exclude_gpus


def test_a_job_with_too_few_gpus_is_planned_for_as_many_as_were_wanted():
    """What it lacks is the choice's to say; the rest of preflight looks at the whole job."""
    launch = planned(gpus(4), inventory(2))

    assert (4, 4, (0, 1)) == (launch.world_size, launch.ranks_wanted, indices(launch))


def test_a_shrunk_job_takes_what_is_there_and_remembers_what_it_wanted():
    """Going on with it tomorrow wants all four again."""
    launch = planned(gpus(4), inventory(3), shrink=True)

    assert (3, 4, (0, 1, 2)) == (launch.world_size, launch.ranks_wanted, indices(launch))


def test_what_fits_the_batch_is_stronger_than_what_was_typed():
    """The last word on a flag counts."""
    asked = request(arguments=("--accumulate", "2"))
    made = plan(Profile(name="cpu", device="cpu", workers=1), None, asked)
    launch = replace(made, fit_arguments=("--accumulate", "1"))

    assert ("--accumulate", "2", "--accumulate", "1") == launch.program_arguments


def test_gpus_named_for_a_job_on_the_cpu_are_refused():
    """Silence would let somebody believe that they are used."""
    with pytest.raises(UsageError, match="runs on the CPU"):
        wish(Profile(name="cpu", device="cpu", workers=1), request(gpus=("0",)).options)


def test_each_rank_has_a_gpu_of_its_node():
    """Ranks are counted over all nodes, GPUs on each node."""
    alone = planned(gpus(2), inventory(3, at0={"fault": "it is lost"}))
    far = NodePlan(host="b", devices=(DeviceRef(index=0), DeviceRef(index=1)), ranks=(2, 3))
    both = replace(alone, nodes=(*alone.nodes, far))

    assert ({0: 1, 1: 2}, "127.0.0.1") == (alone.gpu_of_rank, alone.master_address)
    assert ({0: 1, 1: 2, 2: 0, 3: 1}, 4) == (both.gpu_of_rank, both.world_size)
    assert both.nodes[0].host == both.master_address


def test_a_next_attempt_keeps_what_lasts_and_takes_what_is_typed():
    """What was for one attempt is not kept; GPUs that are named now replace all those before."""
    first = LaunchOptions(
        name="rvq", profile="7x4090", hang_timeout_s=60.0, force=("disk",), exclude_gpus=("0",)
    )
    again = first.next_attempt(LaunchOptions(resume="last", hang_timeout_s=90.0, nproc_per_node=2))
    named = again.next_attempt(LaunchOptions(resume="last", gpus=("3", "4", "5")))

    assert (
        LaunchOptions(
            resume="last",
            profile="7x4090",
            hang_timeout_s=90.0,
            exclude_gpus=("0",),
            nproc_per_node=2,
        )
        == again
    )
    assert (
        LaunchOptions(resume="last", profile="7x4090", hang_timeout_s=90.0, gpus=("3", "4", "5"))
        == named
    )
