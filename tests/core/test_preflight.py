"""What preflight says of a machine, check by check."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core import preflight
from gpuops.core.device import Device, GpuProcess
from gpuops.core.node import DataCount, Interpreter, NodeSnapshot, Requirements
from gpuops.core.preflight import GIB
from gpuops.core.profile import Gpus, Profile

CPU = Profile(name="cpu", device="cpu", workers=2)
CUDA = Profile(name="two", gpus=Gpus(count=2))
PYTHON = Interpreter(path="/venv/bin/python", python="3.11.7", torch="2.13.0", cuda="12.8")
SOMEBODY = GpuProcess(pid=4711, user="alice", command="python", memory_bytes=GIB)
NOBODY_KNOWN = GpuProcess(pid=4712, user=None, command=None, memory_bytes=None)


def node(**changes):
    """A machine on which all is well."""
    facts = {
        "hostname": "box",
        "cpu_cores": 8,
        "memory_total_bytes": 64 * GIB,
        "memory_available_bytes": 32 * GIB,
        "shm_free_bytes": 8 * GIB,
        "disk_free_bytes": 100 * GIB,
        "output_writable": True,
        "port_free": True,
        "interpreter": PYTHON,
        "devices": tuple(Device(index=index, processes=()) for index in range(4)),
    }
    return NodeSnapshot(**{**facts, **changes})


def needs(**changes):
    """A small job on two workers."""
    facts = {
        "workers": 2,
        "master_port": 29501,
        "output_dir": "runs/r",
        "memory_per_worker_bytes": GIB,
        "disk_bytes": GIB,
        "gpu_indices": (0, 1),
    }
    return Requirements(**{**facts, **changes})


def finding(check, machine=None, *, profile=CPU, **job):
    """What one check finds."""
    return getattr(preflight, f"check_{check}")(machine or node(), profile, needs(**job))


def test_where_all_is_well_nothing_is_an_error():
    """Every check that applies says ok, in the order of CHECKS."""
    found = preflight.preflight(node(), CPU, needs(data_built_in="synthetic"))

    assert {"ok"} == {f.severity for f in found}
    assert ["torch", "workers", "memory", "shm", "output", "port", "data"] == [
        f.check for f in found
    ]
    assert not preflight.has_errors(found)


def test_one_error_is_an_error():
    """A launch is stopped by any of them; warnings stop nothing."""
    assert preflight.has_errors(preflight.preflight(node(port_free=False), CPU, needs()))
    assert not preflight.has_errors(preflight.preflight(node(shm_free_bytes=0), CPU, needs()))


@pytest.mark.parametrize(
    ("interpreter", "severity", "words"),
    [
        (PYTHON, "ok", "Python 3.11.7, torch 2.13.0, CUDA 12.8"),
        (None, "error", "does not run"),
        (Interpreter(path="/x", python=None, torch=None, cuda=None), "error", "/x does not run"),
        (
            Interpreter(path="/x", python="3.11.7", torch=None, cuda=None),
            "error",
            "torch is not installed in /x",
        ),
        (Interpreter(path="/x", python="3.11.7", torch="2.4", cuda=None), "ok", "torch 2.4"),
    ],
)
def test_torch_must_be_in_the_interpreter_that_trains(interpreter, severity, words):
    """Not in the one that gpuops runs in."""
    found = finding("torch", node(interpreter=interpreter))

    assert severity == found.severity
    assert words in found.summary


def test_a_gpu_job_needs_a_cuda_build():
    """A CPU build of torch is fine for a CPU profile only."""
    machine = node(interpreter=Interpreter(path="/x", python="3.11", torch="2.4", cuda=None))

    found = finding("torch", machine, profile=CUDA)

    assert "error" == found.severity
    assert "without CUDA" in found.summary


def test_a_cpu_job_does_not_look_at_gpus():
    """There is nothing to say."""
    assert finding("gpus") is None


def cards(**changes):
    """Four free cards; ``changes`` by index as ``at3={...}``."""
    return tuple(
        Device(index=index, **{"processes": (), **changes.get(f"at{index}", {})})
        for index in range(4)
    )


def test_free_cards_are_fine():
    """The cards that the job takes are named, whatever happens on the others."""
    found = finding("gpus", node(devices=cards(at3={"processes": (SOMEBODY,)})), profile=CUDA)

    assert "ok" == found.severity
    assert "0, 1 of 4" in found.summary


@pytest.mark.parametrize(("who", "words"), [(SOMEBODY, "alice"), (NOBODY_KNOWN, "unknown user")])
def test_a_shared_card_is_a_warning_that_names_its_user(who, words):
    """Who computes on it, with what, as far as it is known."""
    found = finding("gpus", node(devices=cards(at1={"processes": (who,)})), profile=CUDA)

    assert "warning" == found.severity
    assert words in found.summary
    assert str(who.pid) in found.summary
    assert "--exclude-gpu" in found.hint


def test_a_card_whose_users_are_hidden_is_not_called_free():
    """Unknown is not free."""
    found = finding("gpus", node(devices=cards(at1={"processes": None})), profile=CUDA)

    assert "warning" == found.severity
    assert "free" not in found.summary


def test_a_faulty_card_is_named_even_where_it_is_not_taken():
    """Somebody should know; the job runs without it."""
    found = finding("gpus", node(devices=cards(at3={"fault": "fallen off"})), profile=CUDA)

    assert "warning" == found.severity
    assert "GPU 3: fallen off" in found.summary


def test_a_faulty_card_does_not_hide_a_shared_one():
    """Both are said."""
    devices = cards(at3={"fault": "fallen off"}, at0={"processes": (SOMEBODY,)})

    found = finding("gpus", node(devices=devices), profile=CUDA)

    assert "alice" in found.summary


def test_gpus_that_cannot_be_read_are_an_error():
    """A blind look does not look healthy."""
    found = finding("gpus", node(devices=(), gaps={"gpus": "no driver answers"}), profile=CUDA)

    assert "error" == found.severity
    assert "no driver answers" in found.summary


@pytest.mark.parametrize(
    ("workers", "severity"), [(1, "ok"), (8, "ok"), (9, "warning"), (32, "warning"), (33, "error")]
)
def test_more_cpu_workers_than_cores_are_slow(workers, severity):
    """Sharing a core is a warning, crowding it an error."""
    machine = node(memory_available_bytes=1000 * GIB)

    assert severity == finding("workers", machine, workers=workers).severity


def test_gpu_workers_are_not_counted_by_cores():
    """They wait for the card, not for a core."""
    assert "ok" == finding("workers", node(cpu_cores=1), profile=CUDA, workers=2).severity


def test_more_workers_than_the_memory_holds_are_an_error():
    """The offer is a number that does fit."""
    found = finding("workers", node(memory_available_bytes=5 * GIB), workers=6)

    assert "error" == found.severity
    assert "--nproc-per-node 5" in found.hint
    again = finding("workers", node(memory_available_bytes=5 * GIB), workers=5)
    assert "ok" == again.severity


def test_where_not_one_worker_fits_none_is_offered():
    """A hint that cannot help is no hint."""
    found = finding("workers", node(memory_available_bytes=GIB // 2), workers=1)

    assert "error" == found.severity
    assert "--nproc-per-node" not in found.hint


def test_an_unknown_number_of_cores_is_said():
    """None is not zero cores."""
    assert "unknown" in finding("workers", node(cpu_cores=None)).summary


@pytest.mark.parametrize("gap", ["memory_total_bytes", "memory_available_bytes"])
def test_unknown_memory_is_a_warning(gap):
    """It is shown for the record, or said to be unknown."""
    assert "ok" == finding("memory").severity
    assert "32.0 of 64.0 GiB" in finding("memory").summary
    assert "warning" == finding("memory", node(**{gap: None})).severity


@pytest.mark.parametrize(
    ("free", "severity"),
    [(8 * GIB, "ok"), (GIB // 4, "ok"), (GIB // 4 - 1, "warning"), (0, "warning")],
)
def test_little_shared_memory_is_a_warning(free, severity):
    """Containers have 64 MB by default."""
    assert severity == finding("shm", node(shm_free_bytes=free)).severity


def test_a_run_folder_that_cannot_be_written_is_an_error():
    """With the reason, as the system gave it."""
    machine = node(output_writable=False, gaps={"output": "Read-only file system"})

    found = finding("output", machine)

    assert "error" == found.severity
    assert "runs/r cannot be written: Read-only file system" in found.summary


def test_too_little_disk_for_the_checkpoints_is_an_error():
    """Before the first step, not at the first checkpoint."""
    found = finding("output", node(disk_free_bytes=GIB - 1))

    assert "error" == found.severity
    assert "ok" == finding("output", node(disk_free_bytes=GIB)).severity


def test_unknown_disk_space_is_a_warning():
    """None is not zero bytes, and not enough either."""
    assert "warning" == finding("output", node(disk_free_bytes=None)).severity


@pytest.mark.parametrize(("free", "offered"), [(29502, True), (None, False)])
def test_a_port_in_use_is_an_error_with_another(free, offered):
    """A port is only offered where one was found."""
    found = finding("port", node(port_free=False, next_free_port=free))

    assert "error" == found.severity
    assert "port 29501 is in use" in found.summary
    assert offered == ("--master-port 29502" in found.hint)
    assert "None" not in found.hint


def test_a_port_that_is_not_allowed_is_not_called_in_use():
    """The sentence says what is wrong."""
    machine = node(port_free=False, gaps={"port": "not allowed for this user"})

    assert "port 29501 is not allowed for this user" in finding("port", machine).summary


def count(**changes):
    """A whole data set."""
    facts = {"root": "data", "samples": {"train": 8, "val": 2}, "folders": ("train", "val")}
    return DataCount(**{**facts, **changes})


def data(machine_data, gaps=None):
    """What is found of a data set."""
    return finding(
        "data",
        node(data=machine_data, gaps=gaps or {}),
        data_root="data",
        data_splits=("train", "val"),
    )


def test_a_whole_data_set_is_counted():
    """Samples by split."""
    assert "ok" == data(count()).severity
    assert "8 train, 2 val" in data(count()).summary


def test_a_job_without_data_says_nothing_of_it():
    """A script's data is its own affair."""
    assert finding("data") is None


def test_a_data_set_that_is_not_there_is_an_error_with_the_reason():
    """As the counting found it."""
    found = data(None, {"data": "there is no data set at data"})

    assert ("error", "there is no data set at data") == (found.severity, found.summary)


@pytest.mark.parametrize("samples", [{"train": 8}, {"train": 8, "val": 0}, {}])
def test_a_split_without_samples_is_an_error(samples):
    """It names the split, and what is there."""
    found = data(count(samples=samples, folders=("train", "other")))

    assert "error" == found.severity
    assert "it holds: train, other" in found.summary


def test_incomplete_samples_are_a_warning_that_names_a_few():
    """Three names and how many more."""
    found = data(count(incomplete=tuple(f"train/{n}" for n in range(5))))

    assert "warning" == found.severity
    assert "train/0, train/1, train/2 and 2 more" in found.summary


def test_what_is_gone_on_from_is_said():
    """A checkpoint by name; or that there is none; or nothing, for a new run."""
    assert finding("resume") is None
    assert "step-9" in finding("resume", resume="r", resume_checkpoint="step-9").summary
    found = finding("resume", resume="r")
    assert "warning" == found.severity
    assert "anew" in found.summary


amounts = st.none() | st.sampled_from([0, 1, GIB, 100 * GIB])
truths = st.none() | st.booleans()
versions = st.none() | st.just("2.4")
machines = st.builds(
    NodeSnapshot,
    hostname=st.just("box"),
    cpu_cores=st.none() | st.integers(1, 64),
    memory_total_bytes=amounts,
    memory_available_bytes=amounts,
    shm_free_bytes=amounts,
    disk_free_bytes=amounts,
    output_writable=truths,
    port_free=truths,
    next_free_port=st.none() | st.just(29502),
    interpreter=st.none()
    | st.builds(Interpreter, path=st.just("/x"), python=versions, torch=versions, cuda=versions),
    devices=st.lists(
        st.builds(
            Device,
            index=st.integers(0, 7),
            processes=st.sampled_from([None, (), (SOMEBODY,), (NOBODY_KNOWN,)]),
            fault=st.sampled_from([None, "gone"]),
        ),
        max_size=3,
        unique_by=lambda device: device.index,
    ).map(tuple),
    data=st.none() | st.builds(count, samples=st.sampled_from([{}, {"train": 1, "val": 1}])),
    gaps=st.dictionaries(st.sampled_from(["gpus", "output", "port", "data"]), st.just("why")),
)
UNREAD = {
    "torch": lambda machine: machine.interpreter is None,
    "memory": lambda machine: machine.memory_available_bytes is None,
    "shm": lambda machine: machine.shm_free_bytes is None,
    "output": lambda machine: machine.disk_free_bytes is None,
    "port": lambda machine: machine.port_free is None,
    "data": lambda machine: machine.data is None,
}


@settings(derandomize=True, deadline=None, max_examples=400)
@given(machines, st.sampled_from([CPU, CUDA]))
def test_any_machine_is_judged_and_the_unread_is_never_ok(machine, profile):
    """Whatever could not be read: sentences without None, hints where needed, no false ok."""
    job = needs(data_root="data", data_splits=("train", "val"))

    for found in preflight.preflight(machine, profile, job):
        assert "None" not in found.summary + found.hint
        assert found.hint or found.severity == "ok"
        assert "\n" not in found.summary
        unread = UNREAD.get(found.check)
        assert not (found.severity == "ok" and unread and unread(machine))
