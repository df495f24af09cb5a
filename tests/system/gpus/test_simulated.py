"""Machines that are not here, as somebody describes them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from gpuops.core.machine.device import GpuProcess
from gpuops.errors import UsageError
from gpuops.system.gpus import simulated

DOCUMENT = Path(__file__).parents[3] / "docs" / "simulate.md"
GIB = 1024**3


@pytest.fixture(name="scenario")
def _scenario(tmp_path):
    """Reads a scenario as it is written."""

    def read(text):
        path = tmp_path / "host.yaml"
        path.write_text(text)
        return simulated.read(str(path))

    return read


@pytest.mark.parametrize(
    ("spec", "count", "name", "memory_gib"),
    [
        ("8x4090", 8, "NVIDIA GeForce RTX 4090", 24.0),
        ("4xH100", 4, "NVIDIA H100 80GB HBM3", 79.6),
        ("1xh200", 1, "NVIDIA H200", 140.4),
        ("8xh20", 8, "NVIDIA H20", 95.6),
        ("16 x RTX 3090", 16, "NVIDIA GeForce RTX 3090", 24.0),
    ],
)
def test_a_few_letters_are_a_machine(spec, count, name, memory_gib):
    """So many GPUs of a kind: all well, all free, all told apart."""
    inventory = simulated.read(spec)

    assert list(range(count)) == [device.index for device in inventory.devices]
    assert {name} == {device.name for device in inventory.devices}
    assert inventory.devices[0].memory_total_bytes / GIB == pytest.approx(memory_gib, abs=0.1)
    assert all(device.state == "ok" and device.busy is False for device in inventory.devices)
    assert count == len({device.uuid for device in inventory.devices})
    assert count == len({device.bus_id for device in inventory.devices})
    assert (inventory.driver, inventory.cuda, inventory.gaps) == ("580.95.05", (13, 0), {})


def test_the_same_words_are_the_same_machine():
    """And nobody takes its GPUs for real ones."""
    inventory = simulated.read("8x4090")

    assert inventory == simulated.read("8x4090")
    assert inventory.devices[3].uuid == "GPU-51300003-0000-4000-8000-000000000000"


def test_a_machine_may_have_gpus_of_several_kinds():
    """In the order in which they are named."""
    names = [device.name for device in simulated.read("1xh100+2xa100").devices]

    assert names == ["NVIDIA H100 80GB HBM3", *2 * ["NVIDIA A100-SXM4-80GB"]]


def test_eight_gpus_hang_on_two_sockets():
    """Four on one, as such machines are built."""
    assert [0] * 4 + [1] * 4 == [device.numa_node for device in simulated.read("8x4090").devices]
    assert [0] * 4 == [device.numa_node for device in simulated.read("4x4090").devices]


def test_the_documents_example_is_one(scenario):
    """What docs/simulate.md shows does what it says."""
    (example,) = re.findall(r"^```yaml\n(.*?)^```", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
    inventory = scenario(example)
    gpus = inventory.devices

    assert gpus[0].processes == (
        GpuProcess(
            pid=4000, user="ana", command="python train.py --lr 3e-4", memory_bytes=int(18.5 * GIB)
        ),
    )
    assert gpus[0].unowned_bytes == 0
    assert (gpus[1].claim.user, gpus[1].claim.run_id) == ("ben", "rvq-0412-183000")
    assert (gpus[2].busy, gpus[2].unowned_bytes) == (False, 11 * GIB)
    assert ["lost", "stuck"] == [gpus[3].state, gpus[4].state]
    assert "fallen off the bus" in gpus[3].fault
    assert (gpus[5].temperature_c, gpus[5].slowed_by) == (91, ("heat",))
    assert gpus[6:] == simulated.read("8x4090").devices[6:]


def test_every_key_is_documented_and_every_model_named():
    """The document's table is the whole of the format."""
    text = DOCUMENT.read_text()
    keys = {name for section in simulated.SECTIONS for name in section.model_fields}

    assert [] == [key for key in keys if not re.search(rf"[`.]{key}[`.]", text)]
    assert [] == [model for model in simulated.MODELS if f"`{model}`" not in text]


def test_a_machine_that_is_not_here_says_so(tmp_path):
    """By the words with which it was asked for."""
    path = tmp_path / "host.yaml"
    path.write_text("gpus: 2x4090")

    assert "8x4090" == simulated.read("8x4090").simulated
    assert str(path) == simulated.read(str(path)).simulated
    with pytest.raises(UsageError) as refused:
        simulated.read("nowhere.yaml")
    assert "`8x4090`" in refused.value.hint


def test_whatever_can_be_the_matter(scenario):
    """Each word of the format ends in the GPU's readings."""
    (gpu,) = scenario(
        "gpus: 1xh100\ndriver: '535.1'\ncuda: '12.2'\nbut: {0: {ecc_uncorrected: 2, "
        "remap_pending: true, remap_failed: false, pcie_width: 8, nvlinks_down: [3, 4], xids: [79],"
        "mig: true, persistence: false, numa_node: 5}}"
    ).devices

    assert (gpu.memory.ecc_uncorrected, gpu.memory.remap_pending) == (2, True)
    assert (gpu.pcie.width, gpu.pcie.width_max) == (8, 16)
    assert (gpu.nvlinks_up, gpu.nvlinks_down) == (16, (3, 4))
    assert [79] == [xid.code for xid in gpu.xids]
    assert (gpu.mig, gpu.persistence, gpu.numa_node) == (True, False, 5)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "does not describe a host"),
        ("many", "does not describe a host"),
        ("8x", "does not describe a host"),
        ("-1x4090", "does not describe a host"),
        ("8x4091", "did you mean 4090?"),
        ("8xtpu", "not a model that can be simulated"),
        ("0x4090", "1 to 64 GPUs"),
        ("60x4090+60x3090", "1 to 64 GPUs"),
        ("999999999999x4090", "does not describe a host"),
        ("nowhere.yaml", "cannot be read"),
    ],
)
def test_what_is_no_machine_is_refused(spec, words):
    """With what would be one."""
    with pytest.raises(UsageError) as refused:
        simulated.read(spec)

    assert words in refused.value.message


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("8x4090", "must be a mapping"),
        ("{}", "gpus is missing"),
        ("gpus: 8", "gpus is 8"),
        ("gpus: 8x4090\nbutt: {}", "butt is not a key (the nearest is but)"),
        ("gpus: 8x4090\nbut: {3: losst}", "but.3.state is 'losst'"),
        ("gpus: 8x4090\nbut: {3: {temperatur_c: 90}}", "(the nearest is temperature_c)"),
        ("gpus: 8x4090\nbut: {3: {busy: {}}}", "but.3.busy.user is missing"),
        ("gpus: 8x4090\nbut: {3: {busy: {user: a, memory_gib: .inf}}}", "but.3.busy.memory_gib"),
        ("gpus: 8x4090\nbut: {3: {temperature_c: hot}}", "but.3.temperature_c is 'hot'"),
        ("gpus: 8x4090\nbut: {3: }", "but.3 is None"),
        ("gpus: 8x4090\nbut: {0: {busy: ana}}", "'ana': keys and values are wanted"),
        ("gpus: 8x4090\nbut: {three: lost}", "but.three is not a GPU"),
        ("gpus: 8x4090\nbut: {9: lost}", "has no GPU 9"),
        ("gpus: 8x4090\nbut: {-1: lost}", "has no GPU -1"),
        ("gpus: 8x4091", "4091 is not a model"),
        ("gpus: 8x4090\ncuda: 13.0", "put it in quotes"),
        ("GPUs: [", "host.yaml, line"),
    ],
)
def test_what_is_no_scenario_is_refused_by_its_key(scenario, text, words):
    """Where in the file, and what would be right."""
    with pytest.raises(UsageError) as refused:
        scenario(text)

    assert words in refused.value.message
