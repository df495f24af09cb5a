"""The interpreter, the driver below it, the data, the checkpoint."""

from __future__ import annotations

from dataclasses import replace

import pytest
from machines import CPU, CUDA, PYTHON, inventory, needs, snapshot

from gpuops.core.machine.snapshot import DataCount, Interpreter
from gpuops.core.preflight import job


def finding(check, machine=None, *, profile=CPU, **wanted):
    """What one check finds."""
    return getattr(job, f"check_{check}")(machine or snapshot(), profile, needs(**wanted))


@pytest.mark.parametrize(
    ("interpreter", "severity", "words"),
    [
        (PYTHON, "ok", "Python 3.11.7, torch 2.9.0, CUDA 12.8, NCCL 2.27.3"),
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
    found = finding("torch", snapshot(interpreter=interpreter))

    assert severity == found.severity
    assert words in found.summary


def test_a_gpu_job_needs_a_cuda_build():
    """A CPU build of torch is fine for a CPU profile only."""
    machine = snapshot(interpreter=Interpreter(path="/x", python="3.11", torch="2.4", cuda=None))

    found = finding("torch", machine, profile=CUDA)

    assert "error" == found.severity
    assert "without CUDA" in found.summary
    assert ("2.4", "a CUDA build") == (found.measured, found.wanted)


def test_torch_here_is_not_that_of_a_simulated_machine():
    """It says nothing of the machine that is planned for."""
    plain = Interpreter(path="/x", python="3.11", torch="2.4", cuda=None)
    machine = snapshot(interpreter=plain, inventory=replace(inventory(), simulated="8x4090"))

    found = finding("torch", machine, profile=CUDA)

    assert "warning" == found.severity
    assert "that is the torch of this host, not of 8x4090" in found.summary


@pytest.mark.parametrize(
    ("driver", "cuda", "built", "severity", "words"),
    [
        ("570.86.10", (12, 8), "12.8", "ok", "runs torch's CUDA 12.8"),
        ("570.86.10", (12, 8), "12.9", "ok", "12.9, by CUDA's minor version compatibility"),
        ("570.86.10", (12, 8), "11.8", "ok", "runs torch's CUDA 11.8"),
        ("570.86.10", (12, 8), "13.0", "error", "580.65.06 or newer is needed"),
        ("580.65.06", (13, 0), "13.1", "ok", "by CUDA's minor version compatibility"),
        ("470.82.01", (11, 4), "12.1", "error", "525.60.13 or newer is needed"),
        ("440.33", (10, 2), "11.8", "error", "450.80.02 or newer is needed"),
        ("580.65.06", (13, 0), "14.0", "error", "one for CUDA 14 is needed"),
        ("525.60.13", None, "12.8", "ok", "runs torch's CUDA 12.8"),
        ("525.60.12", None, "12.8", "error", "525.60.13 or newer"),
        ("525.105.17", None, "12.8", "ok", "runs torch's CUDA 12.8"),
        ("999.1", None, "14.0", "ok", "runs"),
        ("570.86.10", (12, 8), None, "ok", "NVIDIA driver 570.86.10 (CUDA 12.8)"),
        ("570.86.10", (12, 8), "rocm", "ok", "NVIDIA driver 570.86.10 (CUDA 12.8)"),
    ],
)
def test_the_driver_must_run_torchs_cuda(driver, cuda, built, severity, words):
    """Of the same major version or an older one; it says the oldest driver that would do."""
    machine = snapshot(
        inventory=inventory(driver=driver, cuda=cuda), interpreter=replace(PYTHON, cuda=built)
    )

    found = finding("driver", machine, profile=CUDA)

    assert severity == found.severity
    assert words in found.summary
    assert ("compatibility" in words) == ("compatibility" in found.summary)
    assert driver == found.measured
    assert severity == "ok" or found.hint.startswith("Update the driver")


def test_a_driver_matters_to_gpu_jobs_that_see_one():
    """Otherwise there is nothing to say."""
    assert finding("driver") is None
    assert (
        finding("driver", snapshot(inventory=inventory(driver=None, cuda=None)), profile=CUDA)
        is None
    )


def count(**changes):
    """A whole data set."""
    facts = {"root": "data", "samples": {"train": 8, "val": 2}, "folders": ("train", "val")}
    return DataCount(**{**facts, **changes})


def data(machine_data, gaps=None):
    """What is found of a data set."""
    return finding(
        "data",
        snapshot(data=machine_data, gaps=gaps or {}),
        data_root="data",
        data_splits=("train", "val"),
    )


def test_a_whole_data_set_is_counted():
    """Samples by split, and all of them."""
    assert "ok" == data(count()).severity
    assert "8 train, 2 val" in data(count()).summary
    assert "10 samples" == data(count()).measured


def test_a_job_without_data_says_nothing_of_it():
    """A script's data is its own affair; built-in data is always there."""
    assert finding("data") is None
    assert "ok" == finding("data", data_built_in="synthetic").severity


def test_a_data_set_that_is_not_there_is_an_error_with_the_reason():
    """As the counting found it."""
    found = data(None, {"data": "there is no data set at data"})

    assert ("error", "there is no data set at data") == (found.severity, found.summary)


@pytest.mark.parametrize(
    ("offers", "hint"),
    [
        ({"data_built_ins": ("made-up",)}, "`--data made-up` trains without files."),
        ({"data_imports": True}, "`gpuops data import --help` imports yours."),
        ({}, "The layout: <root>/<class>/*.png"),
    ],
)
def test_the_way_out_is_one_that_the_trainer_offers(offers, hint):
    """Not every trainer has built-in data or importers."""
    about = "<root>/<class>/*.png"
    found = finding("data", data_root="data", data_about=about, **offers)

    assert hint == found.hint


@pytest.mark.parametrize("samples", [{"train": 8}, {"train": 8, "val": 0}, {}])
def test_a_split_without_samples_is_an_error(samples):
    """It names the split, and what is there."""
    found = data(count(samples=samples, folders=("train", "other")))

    assert "error" == found.severity
    assert "it holds: train, other" in found.summary


def test_a_split_of_broken_samples_says_what_is_wrong_with_them():
    """There are folders, and none that can be used."""
    found = data(count(samples={"train": 0, "val": 2}, unreadable=("train/a: x is empty",)))

    assert "error" == found.severity
    assert "no samples in its train split (unreadable: train/a: x is empty)" in found.summary


def test_a_split_speaks_of_its_own_folder():
    """A folder that is not there is said so; another split's faults are not its own."""
    faults = {"incomplete": ("train/a",), "unreadable": ("dev/b: x is empty",)}
    missing = data(count(samples={"train": 8}, folders=("train",), **faults))
    empty = data(count(samples={"train": 8, "val": 0}, places={"val": "dev"}, **faults))

    assert "there is no folder val/ in data (it holds: train)" == missing.summary
    assert "no samples in its val split (unreadable: dev/b: x is empty)" in empty.summary
    assert "train/a" not in empty.summary


def test_what_training_makes_of_broken_samples_is_said():
    """One that lacks a file is passed over; at an unreadable one it stops."""
    assert "is left out" in data(count(incomplete=("train/a",))).hint
    both = data(count(incomplete=("train/a",), unreadable=("train/b: x is empty",)))
    assert "Training stops at an unreadable sample" in both.hint


def test_how_many_files_were_opened_is_said():
    """The others were judged by name and size alone."""
    assert "(by name and size; 10 opened)" in data(count(opened=10)).summary


def test_broken_samples_are_a_warning_that_names_a_few():
    """Three names and how many more, of those that lack a file and of those out of reach."""
    five = tuple(f"train/{n}" for n in range(5))

    found = data(count(incomplete=five, unreadable=("val/a",)))

    assert "warning" == found.severity
    assert (
        "data: 8 train, 2 val; incomplete: train/0, train/1, train/2 and 2 more; unreadable: val/a"
    ) == found.summary
    assert "6 broken samples" == found.measured
    assert "incomplete: train/0, train/1, train/2" in data(count(incomplete=five[:3])).summary
    assert "more" not in data(count(incomplete=five[:3])).summary


def test_what_is_gone_on_from_is_said():
    """A checkpoint by name; or that there is none; or nothing, for a new run."""
    assert finding("resume") is None
    assert "step-9" in finding("resume", resume="r", resume_checkpoint="step-9").summary
    found = finding("resume", resume="r")
    assert "warning" == found.severity
    assert "from the beginning" in found.summary


def hides(*paths, **changes):
    hidden = {path.split("/")[2].partition(".")[0]: path for path in paths}
    return finding("imports", snapshot(hidden=hidden, **changes))


def test_a_file_that_the_ranks_would_import_instead_is_named():
    """Of a module of Python it is a warning: they may never import it."""
    found = hides("/job/socket.py", "/job/queue.py")

    assert ("warning", "imports") == (found.severity, found.check)
    assert "/job/socket.py, /job/queue.py in place of the real socket, queue" in found.summary
    assert "Rename" in found.hint
    assert hides() is None


def test_another_torch_than_the_one_that_was_checked_is_an_error():
    """Unless it is the same: a checkout that is installed where it lies."""
    assert "error" == hides("/job/torch/__init__.py", "/job/socket.py").severity
    own = replace(PYTHON, torch_folder="/job/torch")
    assert hides("/job/torch/__init__.py", interpreter=own) is None
    assert "error" == hides("/job/torch.py", interpreter=own).severity


def test_a_module_that_the_interpreter_does_not_find_is_an_error():
    """Ranks would say so after many seconds."""
    found = finding("imports", snapshot(missing_module="toy.trian"))

    assert ("error", "the interpreter finds no module toy.trian") == (found.severity, found.summary)
