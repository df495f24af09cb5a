"""The profile that is written for a host."""

from __future__ import annotations

import pytest

from gpuops.core.launch.choice import choose, wish_of
from gpuops.core.launch.profile import parse
from gpuops.core.launch.profile_detection import detect, model_of
from gpuops.core.machine.device import Device, GpuInventory, GpuProcess
from gpuops.errors import MachineError
from gpuops.system.yaml_files import parse_yaml

MIB = 1024**2


def gpu(index, name="NVIDIA GeForce RTX 4090", mib=24564, **readings):
    """A GPU in good order."""
    readings = {"uuid": f"GPU-{index:08x}", "memory_total_bytes": mib * MIB, **readings}
    return Device(index=index, name=name, processes=readings.pop("processes", ()), **readings)


def display(mib, command="Xorg"):
    """Somebody who shows a picture."""
    memory = None if mib is None else mib * MIB
    return (GpuProcess(pid=7, command=command, kind="graphics", memory_bytes=memory),)


def text_for(*gpus, **options):
    """The text for a host of some GPUs."""
    options = {"hostname": "box17.lab.example", "cores": 64, **options}
    inventory = GpuInventory(
        devices=gpus, gaps=options.pop("gaps", {}), absent=options.pop("absent", False)
    )
    return detect(inventory, **options)


def read(text):
    """The profile that a text is."""
    return parse(parse_yaml(text, "found.yaml"), "found.yaml")


def comment(text, words):
    """The comments of the lines in which some words stand."""
    return [line.partition("#")[2] for line in text.splitlines() if words in line]


def test_a_box_of_equal_gpus():
    """Count, model, memory, threads: what a person would write."""
    profile = read(text_for(*[gpu(index) for index in range(8)]))

    assert ("box17", "8 x RTX 4090") == (profile.name, profile.summary)
    assert (8, "RTX 4090", 24.0) == (
        profile.gpus.count, profile.gpus.model, profile.gpus.memory_gib
    )  # fmt: skip
    assert [] == profile.gpus.exclude
    assert 29501 == profile.torchrun.master_port
    assert profile.environment == {
        "NCCL_DEBUG": "WARN", "NCCL_SOCKET_IFNAME": "^docker0,lo", "OMP_NUM_THREADS": "8",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "model"),
    [
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA GeForce RTX 4090 D", "RTX 4090 D"),
        ("NVIDIA GeForce RTX 4070 Ti SUPER", "RTX 4070 Ti SUPER"),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", "RTX 4090 Laptop"),
        ("NVIDIA GeForce GTX 1650 with Max-Q Design", "GTX 1650"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H100 PCIe", "H100"),
        ("NVIDIA H100 NVL", "H100 NVL"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA H20", "H20"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("A100-PCIE-40GB", "A100"),
        ("Tesla V100-SXM2-32GB", "V100"),
        ("Tesla T4", "T4"),
        ("Quadro RTX 8000", "Quadro RTX 8000"),
        ("NVIDIA RTX A6000", "RTX A6000"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 Ada"),
        ("NVIDIA RTX PRO 6000 Blackwell Max-Q Workstation Edition", "RTX PRO 6000 Blackwell"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA TITAN RTX", "TITAN RTX"),
        ("Orin (nvgpu)", "Orin (nvgpu)"),
        ("NVIDIA", "NVIDIA"),
    ],
)
def test_a_model_is_named_as_people_do(name, model):
    """And the rule by which a launch chooses GPUs finds the GPU by it."""
    gpus = (gpu(0, name), gpu(1, name))
    profile = read(text_for(*gpus))

    assert model == model_of(name) == profile.gpus.model
    assert gpus == choose(wish_of(profile.gpus), gpus).devices


@pytest.mark.parametrize(
    ("mib", "gib"), [(24564, 24), (81559, 80), (97871, 96), (143771, 140), (46068, 45)]
)
def test_the_memory_is_one_that_the_gpus_have(mib, gib):
    """In whole GiB, and no GPU is refused for it."""
    gpus = tuple(gpu(index, mib=mib) for index in range(2))
    profile = read(text_for(*gpus))

    assert gib == profile.gpus.memory_gib
    assert 0 == choose(wish_of(profile.gpus), gpus).short


def test_a_gpu_that_drives_a_display_is_left_alone():
    """The others too have a little of the display server; that is no display."""
    text = text_for(
        gpu(0, processes=display(310, "gnome-shell")),
        *[gpu(index, processes=display(4)) for index in (1, 2, 3)],
    )

    assert ([0], 3) == (read(text).gpus.exclude, read(text).gpus.count)
    assert [" drives a display (gnome-shell)"] == comment(text, "- 0")


def test_the_only_gpu_is_taken_with_its_display():
    """A workstation: there is no other, and the profile says so."""
    text = text_for(gpu(0, processes=display(None)))

    assert ([], 1) == (read(text).gpus.exclude, read(text).gpus.count)
    assert "# GPU 0 is taken, although it drives a display (Xorg)" in text


def test_gpus_that_cannot_be_used_are_left_alone():
    """Lost ones and those in MIG mode, each with its reason."""
    lost = Device(index=3, fault="GPU is lost\nworkers: 9", state="lost")
    text = text_for(gpu(0), gpu(1), gpu(2, mig=True), lost)

    assert ([2, 3], 2) == (read(text).gpus.exclude, read(text).gpus.count)
    assert [" is in MIG mode"] == comment(text, "- 2")
    assert [" cannot be used: GPU is lost workers: 9"] == comment(text, "- 3")


def test_a_box_without_a_gpu_that_can_be_used_is_told():
    """It has GPUs, so a CPU profile would hide what is wrong."""
    with pytest.raises(MachineError, match="none of the 1 GPUs can be used: GPU 0 cannot be used"):
        text_for(Device(index=0, fault="it fell off the bus"))


def test_of_two_models_the_larger_group_is_taken():
    """And the profile says which GPUs it leaves."""
    text = text_for(gpu(0, "NVIDIA T400", 4096), gpu(1), gpu(2))

    assert ("RTX 4090", 2) == (read(text).gpus.model, read(text).gpus.count)
    assert "# GPU 0 is not taken: it is NVIDIA T400." in text


def test_of_two_single_gpus_the_larger_is_taken():
    """A small one that drives the display beside a large one that computes."""
    gpus = (gpu(0, "NVIDIA T400", 4096, processes=display(90)), gpu(1))

    assert "RTX 4090" == read(text_for(*gpus)).gpus.model


def test_a_gpu_whose_name_holds_the_models_words_is_left_alone():
    """`RTX 4090` finds an RTX 4090 D as well, in use or not: it is excluded by its index."""
    busy = (GpuProcess(pid=9, memory_bytes=5 * MIB),)
    gpus = (gpu(0), gpu(1), gpu(2, "NVIDIA GeForce RTX 4090 D", processes=busy))
    profile = read(text_for(*gpus))

    assert ([2], 2) == (profile.gpus.exclude, profile.gpus.count)
    assert [0, 1] == [device.index for device in choose(wish_of(profile.gpus), gpus).devices]


def test_gpus_that_do_not_say_what_they_are():
    """No name and no memory: the count is all that is known."""
    profile = read(text_for(*[gpu(i, None, memory_total_bytes=None) for i in range(2)]))

    assert (2, None, None) == (profile.gpus.count, profile.gpus.model, profile.gpus.memory_gib)


@pytest.mark.parametrize(("cores", "workers", "threads"), [(8, 2, "4"), (1, 1, "1"), (64, 2, "32")])
def test_a_box_without_gpus_gets_a_cpu_profile(cores, workers, threads):
    """With the driver's own words in a comment."""
    text = text_for(cores=cores, gaps={"gpus": "no NVIDIA driver\n(or so)"}, absent=True)
    profile = read(text)

    assert ("cpu", workers) == (profile.device, profile.workers)
    assert threads == profile.environment["OMP_NUM_THREADS"]
    assert " no GPU: no NVIDIA driver (or so)" in comment(text, "device: cpu")


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"hostname": "my host!"}, "my-host-"),
        ({"hostname": ""}, "this-host"),
        ({"hostname": "-"}, "this-host"),
        ({"name": "mine"}, "mine"),
        ({"name": "7x4090"}, "7x4090"),
        ({"name": "0x10"}, "0x10"),
        ({"name": "null"}, "null"),
        ({"name": "1e5"}, "1e5"),
    ],
)
def test_the_name_is_text_whatever_it_looks_like(options, name):
    """A host may be called what YAML takes for a number, or what no file can be called."""
    assert name == read(text_for(gpu(0), **options)).name


def test_what_the_driver_says_stays_in_its_place():
    """A name with a line break or a colour code cannot write keys of its own."""
    profile = read(text_for(gpu(0, "Evil\nname: x\x1b[31m # 1"), gpu(1, "\ud800")))

    assert profile.gpus.count == 1
    assert profile.name == "box17"
