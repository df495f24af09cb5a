"""GPUs as they are: at work unseen, in containers, silent, in slices."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from gpuops.cli import app
from gpuops.core.launch.choice import Wish, choose
from gpuops.core.machine.device import Device, GpuInventory, GpuProcess
from gpuops.core.monitor.frame import Frame, filter_frame
from gpuops.core.monitor.gpu_rows import gpu_rows
from gpuops.core.monitor.hung_jobs import unreleased
from gpuops.core.monitor.jobs import Process, gpu_use
from gpuops.core.monitor.rows import GpuRow
from gpuops.errors import UsageError
from gpuops.system.gpus import nvml
from gpuops.system.processes import jobs

HOST = ["driver 580.95.05", "cuda 13.0"]
EIGHT = [*HOST, "gpu 0-7 model=rtx4090"]  # jobs of other tests may be planned for the first
TWO = [*HOST, "gpu 0-1 model=rtx4090"]
NO_LIST = "fault * nvmlDeviceGet*RunningProcesses* NOT_SUPPORTED"
UNSEEN = "in use by a process that cannot be seen (97 % utilisation)"
FOREIGN = "of the host: of another container, or of the host"


@pytest.fixture(name="command")
def _command(mock_driver, gpuops):
    """A command on a host of the given state, on a wide screen."""

    def command(*words, inventory):
        mock_driver.set(inventory)
        return gpuops(*words, **mock_driver.env, COLUMNS="300")

    return command


@pytest.fixture(name="reader")
def _reader(mock_driver, monkeypatch, tmp_path):
    """A reader of the mock's GPUs that takes its samples quickly."""
    for name, value in mock_driver.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(nvml, "SAMPLE_S", 0.01)
    (tmp_path / "kmsg").touch()
    with nvml.Reader(kernel_log=tmp_path / "kmsg") as reader:
        yield reader


def test_a_gpu_at_work_is_in_use(command):
    """Whoever works on it: it is not free, not idle, and not taken."""
    busy = [*EIGHT, "gpu 7 util=97 used=400"]
    shown = command("gpus", inventory=busy).stdout
    frame = json.loads(command("monitor", "--once", "--json", inventory=busy).stdout)

    assert UNSEEN in shown
    assert ("busy-other", UNSEEN) == (frame["gpus"][7]["state"], frame["gpus"][7]["holder"])


def test_work_that_ends_at_once_is_no_use(mock_driver, reader, monkeypatch):
    """The mean of a second outlasts a process that has ended; a reader looks several times."""
    mock_driver.set([*TWO, "gpu 0 util=97"])
    sleeps = []

    def sleep(seconds):
        sleeps.append(seconds)
        if len(sleeps) == 3:
            mock_driver.set(TWO)

    monkeypatch.setattr(nvml.time, "sleep", sleep)
    utilization = reader.read_use().devices[0].utilization_pct

    assert (0, 3) == (utilization, len(sleeps))


def test_work_that_goes_on_is_waited_for_once(mock_driver, reader, monkeypatch):
    """Later readings are not slower for it."""
    mock_driver.set([*TWO, "gpu 0 util=97"])
    sleeps = []
    monkeypatch.setattr(nvml, "SETTLE_S", 0.5)
    monkeypatch.setattr(nvml.time, "sleep", sleeps.append)
    reader.read()  # the driver is awake
    first, count = reader.read_use(), len(sleeps)
    second = reader.read_use()

    assert 97 == first.devices[0].utilization_pct == second.devices[0].utilization_pct
    assert 0 < count == len(sleeps)


def test_users_that_the_driver_does_not_list_are_unknown(command):
    """Neither idle nor well; and what would not help is not advised."""
    inventory = [*EIGHT, NO_LIST]
    frame = command("monitor", "--once", inventory=inventory)
    refused = [*EIGHT, NO_LIST.replace("NOT_SUPPORTED", "NO_PERMISSION")]
    denied = command("preflight", "--force", "torch", inventory=refused)
    unlisted = command("preflight", "--force", "torch", inventory=inventory)

    assert frame.returncode in (5, 6)  # 6 if a job of another test hangs just now
    assert "USERS UNKNOWN" in frame.stdout
    assert re.search(r" users unknown \([^)]*7\)", frame.stdout)
    assert "FINE" not in frame.stdout
    assert "0 idle" in frame.stdout
    assert "`sudo nvidia-smi` may show them" in denied.stdout
    assert "sudo" not in unlisted.stdout
    assert "Only readings of memory and utilisation say that they are free" in unlisted.stdout


def test_in_a_container_a_pid_of_the_host_is_nobody_here(mock_driver):
    """All commands say so in the same words, though a process here has the same pid."""
    if subprocess.run(["unshare", "-p", "-f", "--mount-proc", "true"], check=False).returncode:
        pytest.skip("no PID namespace can be made here")
    state = [*TWO, "proc gpu=0 pid=1 mem=18000 type=C keep"]
    mock_driver.set(state)
    words = f"{sys.executable} -m gpuops"
    script = f"{words} gpus; {words} monitor --once"
    shown = subprocess.run(
        ["unshare", "-p", "-f", "--mount-proc", "sh", "-c", script],
        env={**os.environ, **mock_driver.env, "COLUMNS": "300"},
        capture_output=True,
        text=True,
        check=False,
    ).stdout

    assert f"used by pid 1 {FOREIGN} (17.6 GiB)" in shown
    assert f"pid 1 {FOREIGN}" in shown.partition("BUSY-OTHER")[2]
    assert "sh -c" not in shown


def test_a_pid_of_the_host_is_not_that_of_a_job():
    """Its memory is not a rank's; whether the rank holds some is then not known."""
    foreign = GpuProcess(pid=7, memory_bytes=1 << 30, whose="elsewhere")
    inventory = GpuInventory(devices=(Device(index=0, processes=(foreign,)),))
    facts = {"parent_pid": 1, "session": 1, "state": "R", "user": "me", "ours": True}
    ended = Process(pid=7, start_ticks=1, argv=("python",), python=True, **facts)

    assert ((), None) == gpu_use(inventory, 7)
    assert () == unreleased([ended], inventory)
    assert "busy-other" == gpu_rows(inventory, (), (), 0.0)[0].state


@pytest.mark.parametrize("state", ["init 999", "init LIB_RM_VERSION_MISMATCH"])
def test_a_silent_driver_is_no_cpu_host(command, gpuops, state):
    """No profile of a host whose GPUs cannot be read; every command says what to do."""
    made = command("profiles", "detect", "--out", "p.yaml", inventory=[state])
    rehearsed = command("estimate", "rvq", inventory=[state])
    shown = command("gpus", inventory=[state])

    assert [3] * 3 == [one.returncode for one in (made, rehearsed, shown)]
    assert not (gpuops.folder / "p.yaml").exists()
    for one in (made, rehearsed, shown):
        assert "container" in one.stderr
        assert "restart" in one.stderr


def test_kill_hung_says_that_it_did_not_see_the_gpus(mock_driver, monkeypatch):
    """It exits with 3, though it has found no job that hangs."""
    mock_driver.set(["init 999"])
    for name, value in mock_driver.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(jobs, "find", lambda _inventory: ())  # other tests have jobs of theirs
    answer = CliRunner().invoke(app, ["kill-hung", "--dry-run", "--json"])

    assert 3 == answer.exit_code
    assert "the GPUs were not seen, nor what the jobs hold there: NVIDIA's library" in answer.stderr
    assert "restart the container" in " ".join(answer.stderr.split())
    assert json.loads(answer.stdout)["gpus_unseen"]


def test_a_gpu_that_is_closed_to_computation_is_not_taken(command):
    """Nor counted; one that takes one process at a time is not shared, even by force."""
    inventory = [*TWO, "gpu 0 cmode=2", "gpu 1 cmode=3", f"proc gpu=1 pid={os.getpid()} mem=900"]
    shown = command("gpus", inventory=inventory).stdout.splitlines()
    forced = command("preflight", "--force", "gpus", inventory=inventory)

    assert "closed to computation (compute mode Prohibited" in shown[1]
    assert "and takes one process at a time" in shown[2]
    assert "✗ gpus" in forced.stdout


def test_slices_are_not_supported(command):
    """Said plainly; no command is advised that would take the slices of others away."""
    inventory = [*HOST, "gpu 0-1 model=a100 mig=1", "gpu 1 mig=0"]
    asked = command("preflight", "--gpu", "MIG-89c850dc", inventory=inventory)
    shown = command("gpus", inventory=inventory)
    checked = command("preflight", "--gpu", "0", "--force", "torch", inventory=inventory)

    assert 2 == asked.returncode
    assert "names a slice of a GPU: slices of GPUs (MIG) are not supported" in asked.stderr
    assert "in MIG mode: slices of GPUs (MIG) are not supported" in shown.stdout
    assert "-mig" not in shown.stdout + checked.stdout + asked.stderr
    for flag in ("only", "exclude"):
        with pytest.raises(UsageError, match="not supported"):
            choose(Wish(count=1, **{flag: ("mig-1",)}), (Device(index=0),))
    with pytest.raises(UsageError, match="not supported"):
        filter_frame(Frame(at_s=0.0, gpus=(GpuRow(index=0),)), gpus=("MIG-1",))


def test_a_name_that_cannot_be_decoded_is_shown(mock_driver, reader):
    """As far as it can be: neither a traceback nor an unreadable GPU."""
    mock_driver.set(TWO)
    text = mock_driver.state.read_bytes() + b'gpu 0 name="NVIDIA \xff\xe9 4090"\n'
    mock_driver.state.write_bytes(text.replace(b"580.95.05", b"580\xff"))
    inventory = reader.read()

    assert "580�" == inventory.driver
    assert ("ok", "NVIDIA �� 4090") == (inventory.devices[0].state, inventory.devices[0].name)


def test_a_uuid_that_cannot_be_decoded_is_none(mock_driver, reader):
    """With a part of it the GPU would be claimed and made visible under a name of no GPU."""
    mock_driver.set(TWO)
    mock_driver.state.write_bytes(mock_driver.state.read_bytes() + b"gpu 0 uuid=GPU-\xff0\n")
    device = reader.read().devices[0]

    assert ("ok", None) == (device.state, device.uuid)
