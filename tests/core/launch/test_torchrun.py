"""A plan as the command that runs it. That the line for a shell runs is tested in system."""

from __future__ import annotations

from gpuops import run_module
from gpuops.core.launch.plan import LaunchPlan, NodePlan, Target
from gpuops.core.launch.torchrun import argv, as_shell, environment
from gpuops.core.machine.device import DeviceRef

ONE_GPU = (NodePlan(host="here", devices=(DeviceRef(index=0, uuid="GPU-1"),), ranks=(0,)),)
SCRIPT = Target(kind="script", name="train", entry="./train.py")


def a_plan(**changes):
    """A CPU plan of two ranks."""
    facts = {
        "run_id": "20260101-000000-train",
        "run_dir": "/runs/20260101-000000-train",
        "attempt": 2,
        "target": SCRIPT,
        "profile": "cpu",
        "device": "cpu",
        "nodes": (NodePlan(host="here", ranks=(0, 1)),),
        "ranks_wanted": 2,
        "master_port": 29501,
        "python": "/venv/bin/python",
        "import_path": None,
        "working_dir": "/home/me",
        "defaults": {},
        "arguments": ("--lr", "1e-3"),
        "resume_arguments": (),
        "profile_environment": {"OMP_NUM_THREADS": "1"},
        "stop_save_s": 60.0,
        "stop_terminate_s": 10.0,
    }
    return LaunchPlan(**{**facts, **changes})


def test_torchrun_runs_in_the_chosen_interpreter():
    """It is the interpreter's own torchrun, not one from PATH or the working directory."""
    assert ["/venv/bin/python", run_module.__file__, "torch.distributed.run"] == argv(a_plan())[:3]


def test_torchrun_never_restarts_and_keeps_each_ranks_output():
    """One owner of restarting; every rank's output in files below the attempt's logs."""
    command = argv(a_plan())

    assert "--max-restarts=0" in command
    assert "--redirects=3" in command
    assert "--log-dir=/runs/20260101-000000-train/logs/attempt-2" in command
    assert "--nproc-per-node=2" in command
    assert "--master-port=29501" in command


def test_the_program_comes_last_with_its_arguments():
    """Whatever follows the program's name is the program's."""
    assert ["./train.py", "--lr", "1e-3"] == argv(a_plan())[-3:]


def test_a_module_is_run_as_a_module():
    """``-m`` goes before a module's or trainer's name."""
    target = Target(kind="trainer", name="rvq", entry="trainers.rvq.train")

    assert ["-m", "--", "trainers.rvq.train", "--lr", "1e-3"] == argv(a_plan(target=target))[-5:]


def test_workers_learn_their_run_and_where_to_beat():
    """Each worker knows its run, and the folder of this attempt's heartbeats."""
    added = environment(a_plan())

    assert "20260101-000000-train" == added["GPUOPS_RUN_ID"]
    assert "/runs/20260101-000000-train/state/attempt-2/beats" == added["GPUOPS_BEAT_DIR"]
    assert "1" == added["OMP_NUM_THREADS"]


def test_a_profile_cannot_take_away_the_heartbeats_or_the_gpus():
    """What gpuops must know of a job is not the profile's to change."""
    added = environment(
        a_plan(
            device="cuda",
            nodes=ONE_GPU,
            profile_environment={"CUDA_VISIBLE_DEVICES": "7", "GPUOPS_BEAT_DIR": "/x"},
        )
    )

    assert "GPU-1" == added["CUDA_VISIBLE_DEVICES"]
    assert added["GPUOPS_BEAT_DIR"].endswith("/beats")


def test_nccl_answers_at_an_address_of_the_runs_own():
    """Beside the rendezvous port, which no other run has; unless somebody gave another."""
    gpus = {"device": "cuda", "nodes": ONE_GPU}
    theirs = a_plan(**gpus, profile_environment={"NCCL_RAS_ADDR": "localhost:1"})

    assert "127.0.0.1:30501" == environment(a_plan(**gpus))["NCCL_RAS_ADDR"]
    assert "127.0.0.1:64535" == environment(a_plan(**gpus, master_port=65535))["NCCL_RAS_ADDR"]
    assert "NCCL_RAS_ADDR" not in environment(a_plan(**gpus), {"NCCL_RAS_ADDR"})
    assert "NCCL_RAS_ADDR" not in environment(a_plan())
    assert "localhost:1" == environment(theirs)["NCCL_RAS_ADDR"]


def test_the_import_path_is_only_set_where_it_is_needed():
    """Our own interpreter's PYTHONPATH is left as it is."""
    assert "PYTHONPATH" not in environment(a_plan())
    assert "/src" == environment(a_plan(import_path="/src"))["PYTHONPATH"]


def test_a_line_for_a_shell_is_one_command():
    """It may be pasted: every row but the last goes on, and nothing stands before the folder."""
    rows = as_shell(a_plan()).split("\n")

    assert rows[0].startswith("cd /home/me &&")
    assert all(row.endswith(" \\") for row in rows[:-1])
    assert rows[-1].split() == ["--", "./train.py", "--lr", "1e-3"]
