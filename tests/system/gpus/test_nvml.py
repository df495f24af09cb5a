"""Reading the GPUs: the real client of the driver's library, on a mock of the driver."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import time

import pytest
from driver_looks import EIGHT, ONE, look

from gpuops.core.machine.device import Memory, Pcie
from gpuops.system.gpus import nvml

MIB = 1024**2
GONE = 4_194_305  # above every pid that Linux gives


@pytest.fixture(name="trainer")
def _trainer():
    """A process that could be training."""
    command = [sys.executable, "-c", "print(flush=True); input()", "--lr", "3e-4"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        yield child


def test_all_is_read_of_a_gpu(driver, reader):
    """Name, UUID, place, memory, heat, power, clocks, and the driver that told them."""
    driver.set([*EIGHT, "gpu 3 used=2048 util=37 temp=61 power=210 clk=2520 numa=1"])
    inventory = reader.read()
    gpu = inventory.devices[3]

    assert (inventory.driver, inventory.cuda, inventory.gaps) == ("580.95.05", (13, 0), {})
    assert [device.index for device in inventory.devices] == list(range(8))
    assert gpu.name == "NVIDIA GeForce RTX 4090"
    assert gpu.uuid.startswith("GPU-")
    assert gpu.bus_id == "00000000:61:00.0"
    assert gpu.numa_node == 1
    assert (gpu.memory_used_bytes, gpu.memory_total_bytes) == (2048 * MIB, 24564 * MIB)
    assert (gpu.utilization_pct, gpu.temperature_c) == (37, 61)
    assert (gpu.power_w, gpu.power_limit_w) == (210, 450)
    assert (gpu.clock_mhz, gpu.clock_max_mhz) == (2520, 3105)
    assert (gpu.slowed_by, gpu.xids, gpu.processes, gpu.claim) == ((), (), (), None)


def test_who_is_busy_is_named(driver, trainer):
    """A real process: its user, what it runs, since when, how much memory."""
    inventory = look(driver, [*EIGHT, f"proc gpu=0 pid={trainer.pid} mem=18432 type=C"])
    process = inventory.devices[0].processes[0]

    assert [device.busy for device in inventory.devices] == [True] + 7 * [False]
    assert process.user == pwd.getpwuid(os.getuid()).pw_name
    assert process.command.startswith("python")
    assert process.command.endswith("input() --lr 3e-4")
    assert process.memory_bytes == 18432 * MIB
    assert process.started_at_s == pytest.approx(time.time(), abs=30)
    assert (process.whose, process.kind) == ("known", "compute")
    assert inventory.devices[0].unowned_bytes == pytest.approx(0, abs=2 * MIB)


def test_three_ways_not_to_know_whose_memory_it_is(driver, reader):
    """A process that has gone, no permission, a container: each is told apart."""
    held = [*ONE, f"proc gpu=0 pid={GONE} mem=9000 keep"]
    driver.set(held)
    ghost = reader.read().devices[0]
    driver.set([*held, "fault * *RunningProcesses* NO_PERMISSION"])
    denied = reader.read().devices[0]
    reader._contained = True
    driver.set(held)
    elsewhere = reader.read().devices[0]
    driver.set([*ONE, "gpu 0 used=9000"])
    hidden = reader.read().devices[0]

    assert [process.whose for process in ghost.processes] == ["gone"]
    assert (denied.processes, denied.busy) == (None, None)
    assert denied.processes_gap == "the driver does not show processes to this user"
    assert [process.whose for process in elsewhere.processes] == ["elsewhere"]
    assert (hidden.processes, hidden.unowned_bytes) == ((), 9000 * MIB)
    assert hidden.processes_gap == "processes of other containers are not shown here"
    assert ghost.processes_gap is None


def test_memory_without_an_owner_has_none(driver):
    """Nothing is made up for it, on a machine whose PIDs we all see."""
    gpu = look(driver, [*EIGHT, "gpu 2 used=9000"]).devices[2]

    assert (gpu.processes, gpu.busy, gpu.unowned_bytes) == ((), False, 9000 * MIB)


@pytest.mark.parametrize("count", [0, 1, 16])
def test_a_machine_has_as_many_gpus_as_it_has(driver, count):
    """None is no gap; sixteen stand in the order of the bus."""
    lines = [f"gpu 0-{count - 1} model=h20"] if count else ["driver 580.95.05"]
    inventory = look(driver, lines)

    assert (len(inventory.devices), inventory.driver) == (count, "580.95.05")
    assert "gpus" not in inventory.gaps
    assert [device.bus_id for device in inventory.devices] == sorted(
        d.bus_id for d in inventory.devices
    )


@pytest.mark.parametrize(
    ("lines", "field", "value"),
    [
        (["gpu 0 temp=93"], "temperature_c", 93),
        (["gpu 0 temp=93"], "slowed_by", ("heat (slowed by the hardware)",)),
        (["gpu 0 throttle=0"], "slowed_by", ()),
        (["gpu 0 throttle=0x103"], "slowed_by", ()),
        (["gpu 0 throttle=0x24"], "slowed_by", ("the power limit", "heat")),
        (["gpu 0 throttle=0x88"], "slowed_by", ("the power supply's brake",)),
        (["gpu 0 throttle=0x8"], "slowed_by", ("the hardware",)),
        (["gpu 0 throttle=na"], "slowed_by", None),
        (["gpu 0 mig=1"], "mig", True),
        (["gpu 0 mig=0"], "mig", False),
        (["gpu 0 mig=na"], "mig", None),
        (["gpu 0 cmode=0"], "compute_mode", "default"),
        (["gpu 0 cmode=2"], "compute_mode", "prohibited"),
        (["gpu 0 cmode=3"], "compute_mode", "exclusive"),
        (["gpu 0 cmode=na"], "compute_mode", None),
        (["gpu 0 persist=0"], "persistence", False),
        (["gpu 0 ecc=0"], "memory", Memory(ecc_enabled=False, remap_pending=False,
                                           remap_failed=False, retired_pending=False)),
        (["gpu 0 eccvu=3 rmpend=1 rmfail=1 retpend=1"], "memory",
         Memory(ecc_enabled=True, ecc_uncorrected=3, remap_pending=True, remap_failed=True,
                retired_pending=True)),
        (["gpu 0 ecc=na rmcorr=na"], "memory", Memory()),
        (["gpu 0 pciewidth=8 pciegen=3"], "pcie",
         Pcie(generation=3, generation_max=5, width=8, width_max=16)),
        (["nvlink 0 0-17 up", "nvlink 0 4,7 down"], "nvlinks_down", (4, 7)),
        (["nvlink 0 0-17 up", "nvlink 0 4,7 down"], "nvlinks_up", 16),
        ([], "nvlinks_up", None),
        ([], "nvlinks_down", None),
        (["gpu 0 power=na"], "power_w", None),
        (["gpu 0 util=na"], "utilization_pct", None),
        (["gpu 0 mem=na"], "memory_total_bytes", None),
        (["gpu 0 used=100"], "memory_used_bytes", 100 * MIB),
        # An older driver counts what it keeps for itself as used.
        (["gpu 0 used=100", "fault 0 nvmlDeviceGetMemoryInfo_v2 FUNCTION_NOT_FOUND"],
         "memory_used_bytes", 670 * MIB),
        (["fault 0 *RunningProcesses NOT_SUPPORTED", "fault 0 *Processes_v* NOT_SUPPORTED"],
         "processes_gap", "the driver does not list processes of this GPU"),
    ],
)  # fmt: skip
def test_what_the_driver_tells_of_a_gpu(driver, reader, lines, field, value):
    """Each reading as it is; what is not available is None."""
    driver.set([*ONE, *lines])
    gpu = reader.read().devices[0]

    assert (gpu.state, getattr(gpu, field)) == ("ok", value)


@pytest.mark.parametrize(
    ("entries", "lines", "listed"),
    [
        (["type=G mem=300"], [], [("graphics", 300)]),
        (["type=C+G mem=300"], [], [("compute", 300)]),
        (["type=M mem=300"], [], [("compute", 300)]),
        (["type=C mem=na"], [], [("compute", None)]),
        (["type=C mem=300"], ["fault 0 *Processes_v3 FUNCTION_NOT_FOUND"], [("compute", 300)]),
    ],
)
def test_what_the_driver_tells_of_a_process(driver, entries, lines, listed):
    """Those that draw are no work; those of MPS are; an older driver is asked its own way."""
    processes = [f"proc gpu=0 pid={os.getpid()} {entry}" for entry in entries]
    gpu = look(driver, [*ONE, *processes, *lines]).devices[0]

    assert listed == [
        (found.kind, found.memory_bytes and found.memory_bytes // MIB) for found in gpu.processes
    ]
    assert gpu.busy is (listed[0][0] == "compute")


def test_xids_find_their_gpu(driver, reader, log):
    """The kernel's log names a GPU by its slot, and spells it its own way."""
    driver.set([*EIGHT, "lost 3 handle=ok"])
    record = "4,1,5000000,-;NVRM: Xid (PCI:0000:61:00): 79, GPU has fallen off the bus.\n"
    log.write_text(record)
    assert reader.read().devices[3].xids is None  # it was never read, so its slot is not known
    driver.set(EIGHT)
    inventory = reader.read()

    assert [[xid.code for xid in device.xids] for device in inventory.devices] == [
        [], [], [], [79], [], [], [], [],
    ]  # fmt: skip


def test_the_kernels_side_knows_where_a_lost_gpu_is(tmp_path):
    """As long as it lists as many GPUs as the library counts."""
    for name in ("0000:61:00.0", "0000:01:00.0"):
        (tmp_path / name).mkdir()

    assert ["0000:01:00.0", "0000:61:00.0"] == nvml.bus_ids(2, tmp_path)
    assert [None] * 3 == nvml.bus_ids(3, tmp_path)
    assert [None] == nvml.bus_ids(1, tmp_path / "nothing")


@pytest.mark.parametrize(
    ("vendor", "kind", "there"),
    [("0x10de", "0x030200", True), ("0x10de", "0x0c0330", False), ("0x8086", "0x030000", False)],
)
def test_gpus_are_seen_on_the_bus_without_a_driver(tmp_path, vendor, kind, there):
    """By vendor and class: NVIDIA makes network GPUs and bridges as well."""
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "vendor").write_text(f"{vendor}\n")
    (tmp_path / "0000:01:00.0" / "class").write_text(f"{kind}\n")

    assert there is nvml.on_the_bus(tmp_path)
    assert nvml.on_the_bus(tmp_path / "no") is False


def test_we_load_no_library_ourselves():
    """A stuck driver, or a broken library, is the child's."""
    code = "import sys; from gpuops.system.gpus import nvml; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert not {"pynvml", "pydantic", "torch"} & set(ran.stdout.split())


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="there is no NVIDIA driver")
def test_the_real_driver_is_read_as_nvidia_smi_reads_it():
    """What both tell of each GPU, and what does not move between two looks."""
    keys = "uuid,name,pci.bus_id,memory.total,pcie.link.width.max,driver_version,persistence_mode"
    ran = subprocess.run(
        ["nvidia-smi", f"--query-gpu={keys}", "--format=csv,noheader,nounits"],
        capture_output=True,
        text=True,
        check=True,
    )
    inventory = nvml.read()

    assert ran.stdout.strip().splitlines() == [
        f"{gpu.uuid}, {gpu.name}, {gpu.bus_id}, {gpu.memory_total_bytes // MIB}, "
        f"{gpu.pcie.width_max}, {inventory.driver}, {'Enabled' if gpu.persistence else 'Disabled'}"
        for gpu in inventory.devices
    ]
