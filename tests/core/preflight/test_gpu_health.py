"""Whether the chosen GPUs are well."""

from __future__ import annotations

import pytest
from machines import CPU, CUDA, GIB, gpu, inventory, needs, on, snapshot

from gpuops.core.launch.choice import Refusal
from gpuops.core.launch.profile import Gpus, Limits, Profile
from gpuops.core.machine.device import Device, GpuInventory, Memory, Pcie, Xid
from gpuops.core.preflight import gpu_health


def found(*chosen, others=(), refused=(), profile=CUDA, **machine):
    """The findings of a job on some GPUs, by name."""
    there = snapshot(inventory=inventory(*chosen, *others), **machine)
    return {f.check: f for f in gpu_health.check_gpus(there, profile, on(*chosen, refused=refused))}


def test_gpus_that_are_well_are_one_line():
    """It says what was looked at; and where the GPUs are."""
    said = found(gpu(0), gpu(1))

    assert ["gpu-health", "topology"] == list(said)
    assert (
        "35 to 36 °C, at full clocks, no memory errors, PCIe at full width, NVLinks up, "
        "no Xid errors"
    ) == said["gpu-health"].summary
    assert ("36 °C", "< 85 °C") == (said["gpu-health"].measured, said["gpu-health"].wanted)
    assert "GPU 0, 1 on NUMA node 0" == said["topology"].summary


def test_what_was_not_read_is_not_called_well():
    """A GPU that tells nothing: nothing is claimed, and what could be had is named."""
    blind = gpu(
        temperature_c=None,
        slowed_by=None,
        memory=Memory(),
        pcie=Pcie(),
        nvlinks_up=None,
        nvlinks_down=None,
        persistence=None,
        numa_node=None,
        memory_used_bytes=None,
        xids=None,
    )

    said = found(blind)

    assert ["gpu-health"] == list(said)
    assert "Xid errors unknown: the kernel's log cannot be read" == said["gpu-health"].summary
    assert said["gpu-health"].measured is None


def test_of_a_gpu_that_tells_only_a_programs_fault_that_is_said():
    """Such an Xid is no fault of the GPU, and the line is not empty."""
    told = Device(index=0, xids=(Xid(code=13, at_s=0.0, text=""),))

    said = found(told)

    assert "Xid errors of programs only" == said["gpu-health"].summary


def test_why_the_log_could_not_be_read_is_said():
    """A person may be allowed to read it in another way."""
    blind = gpu(xids=None)
    machine = snapshot(
        inventory=GpuInventory(devices=(blind,), gaps={"xids": "`sudo dmesg` shows it"})
    )

    said = gpu_health.check_gpus(machine, CUDA, on(blind))[0]

    assert said.summary.endswith(", Xid errors unknown: `sudo dmesg` shows it")


def test_a_cpu_job_has_no_gpus():
    """Nothing is said; nor of a job that found none."""
    assert [] == gpu_health.check_gpus(snapshot(), CPU, needs())
    assert [] == gpu_health.check_gpus(snapshot(), CUDA, on())


TROUBLES = [
    ("temperature", {"temperature_c": 91}, "GPU 2: 91 °C", "91 °C", "< 85 °C"),
    ("ecc", {"memory": Memory(ecc_uncorrected=3)}, "3 uncorrected memory errors", 3, 0),
    ("ecc", {"memory": Memory(ecc_uncorrected=1)}, "1 uncorrected memory error since", 1, 0),
    ("remap", {"memory": Memory(remap_pending=True)}, "rows wait for a reset", "pending", "none"),
    ("remap", {"memory": Memory(retired_pending=True)}, "pages wait for", "pending", "none"),
    ("xid", {"xids": (Xid(code=79, at_s=0.0, text=""),)}, "fell off the bus", "Xid 79", "none"),
    ("throttle", {"slowed_by": ("heat", "power brake")}, "slowed by heat, power brake", 1, 0),
    ("pcie", {"pcie": Pcie(width=8, width_max=16)}, "8 of 16 PCIe lanes", "x8", "x16"),
    (
        "pcie",
        {"pcie": Pcie(generation=1, generation_max=4), "utilization_pct": 90},
        "PCIe 1 instead of 4 at work",
        "PCIe 1",
        "PCIe 4",
    ),
    ("nvlink", {"nvlinks_up": 16, "nvlinks_down": (4, 7)}, "NVLink 4, 7 down", 16, 18),
    ("nvlink", {"nvlinks_up": 17, "nvlinks_down": ()}, "17 of 18 NVLinks up", 17, 17),
    ("persistence", {"persistence": False}, "persistence mode is off", "off", "on"),
    (
        "headroom",
        {"memory_used_bytes": 10 * GIB},
        "10.0 of 80.0 GiB in use already",
        "10.0 GiB in use",
        "<= 8.0 GiB in use",
    ),
]


@pytest.mark.parametrize(("name", "change", "words", "measured", "wanted"), TROUBLES)
def test_a_trouble_is_a_warning_of_its_own_name(name, change, words, measured, wanted):
    """It names the GPU and both figures, and what to do."""
    said = found(gpu(1), gpu(2, **change), now_s=None)

    assert name in said, said
    assert "gpu-health" not in said
    assert "warning" == said[name].severity
    assert "GPU 2: " in said[name].summary
    assert words in said[name].summary
    assert said[name].hint
    assert (measured, wanted) == (said[name].measured, said[name].wanted)


@pytest.mark.parametrize(
    "change",
    [
        {"temperature_c": 84},
        {"memory": Memory(ecc_enabled=False)},
        {"pcie": Pcie(generation=1, generation_max=5, width=16, width_max=16)},
        {"pcie": Pcie(generation=1, generation_max=5), "utilization_pct": None},
        {"pcie": Pcie(generation=1, generation_max=5), "utilization_pct": 9},
        {"pcie": Pcie(generation=5, generation_max=5), "utilization_pct": 90},
        {"memory_used_bytes": 8 * GIB},
        {"memory_total_bytes": 0, "memory_used_bytes": GIB},
    ],
)
def test_what_is_as_it_should_be_is_no_trouble(change):
    """Below the limits; and a link may slow down while its GPU idles."""
    assert {"ok"} == {f.severity for f in found(gpu(0), gpu(1, **change)).values()}


def test_memory_that_cannot_be_repaired_is_an_error():
    """With the way to do without the GPU; others that wait are told in the same breath."""
    said = found(
        gpu(0, memory=Memory(remap_failed=True, remap_pending=True)),
        gpu(1, memory=Memory(remap_pending=True)),
    )["remap"]

    assert "error" == said.severity
    assert "GPU 0: broken memory could not be replaced" in said.summary
    assert "GPU 1: broken memory rows wait" in said.summary
    assert "`--exclude-gpu 0`" in said.hint


def test_gpus_of_which_the_same_is_said_stand_together():
    """Three hot GPUs are one line."""
    said = found(
        gpu(0, temperature_c=91), gpu(1, temperature_c=88), gpu(2, temperature_c=91), gpu(3)
    )

    assert "GPU 0, 2: 91 °C; GPU 1: 88 °C;" in said["temperature"].summary
    assert "91 °C" == said["temperature"].measured


def test_the_limits_are_the_profiles():
    """What is hot, and what is full, a profile may say."""
    strict = Profile(
        name="s", gpus=Gpus(count=1), limits=Limits(temperature_c=30, memory_headroom=0.5)
    )

    said = found(gpu(temperature_c=30, memory_used_bytes=39 * GIB), profile=strict)

    assert "warning" == said["temperature"].severity
    assert "headroom" not in said


def test_gpus_without_bridges_have_no_links_down():
    """Where no GPU of the kind has a link up, none is missing."""
    lone = {"nvlinks_up": 0, "nvlinks_down": (0, 1, 2, 3)}

    assert "nvlink" not in found(gpu(0, **lone), gpu(1, **lone))
    said = found(gpu(0, **lone), gpu(1, nvlinks_up=4))
    assert "GPU 0: NVLink 0, 1, 2, 3 down" == said["nvlink"].summary
    assert "nvlink" not in found(gpu(0, **lone), gpu(1, name="another", nvlinks_up=4))


@pytest.mark.parametrize(
    ("nodes", "words"),
    [
        ((0, 0), "GPU 0, 1 on NUMA node 0"),
        ((0, 1), "GPU 0 on NUMA node 0; GPU 1 on NUMA node 1"),
        ((0, None), None),
        ((0,), None),
    ],
)
def test_where_the_gpus_are_is_told_if_it_is_known(nodes, words):
    """On one node or across; one GPU has no neighbours."""
    said = found(*(gpu(index, numa_node=place) for index, place in enumerate(nodes)))

    assert words == (said["topology"].summary if "topology" in said else None)


ILL = [
    {"fault": "fallen off the bus", "state": "lost"},
    {"memory": Memory(remap_failed=True)},
    {"memory": Memory(ecc_uncorrected=2)},
]


@pytest.mark.parametrize("change", ILL)
def test_an_ill_gpu_that_is_not_used_is_told(change):
    """The job runs without it; its operator should know."""
    said = found(gpu(0), others=(gpu(3, **change),))["others"]

    assert "warning" == said.severity
    assert said.summary.startswith("GPU 3: ")
    assert "`--exclude-gpu 3`" in said.hint


@pytest.mark.parametrize(("reason", "severity"), [("excluded", "ok"), ("faulty", "warning")])
def test_who_leaves_out_an_ill_gpu_on_purpose_is_not_warned(reason, severity):
    """He knows."""
    ill = gpu(3, fault="fallen off the bus")
    refusal = Refusal(device=ill, reason=reason, words="is out")

    said = found(gpu(0), others=(ill,), refused=(refusal,))["others"]

    assert severity == said.severity


def test_a_gpu_that_somebody_else_heats_is_no_business_of_ours():
    """Only what is broken is told of the GPUs that are not taken."""
    busy = gpu(3, temperature_c=95, slowed_by=("heat",), memory_used_bytes=70 * GIB)

    assert "others" not in found(gpu(0), others=(busy,))
