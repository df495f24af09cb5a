"""GPUs as a scheduler gave them: all others are not ours, in every command."""

from __future__ import annotations

import json

import pytest

from gpuops.core.launch.options import LaunchOptions
from gpuops.core.supervision.restart import Replan
from gpuops.launch.inventory import read_gpus
from gpuops.launch.request import request
from gpuops.supervise import run as supervise_run
from gpuops.system.runs import plan_file

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]
OURS = {"CUDA_VISIBLE_DEVICES": "6,7"}
WORDS = "not yours: CUDA_VISIBLE_DEVICES=6,7"
REASON = "GPU 0, 1, 2, 3, 4, 5 are not yours: CUDA_VISIBLE_DEVICES=6,7"


@pytest.fixture(name="command")
def _command(mock_driver, gpuops, workers):
    """A command for a tiny script on the mock's GPUs; its torch has no CUDA."""

    def command(verb, *words, inventory=EIGHT, **environment):
        mock_driver.set(inventory)
        script = [workers / "beats.py", "--force", "torch"] if verb in SCRIPT else []
        return gpuops(verb, *script, *words, **mock_driver.env, **environment)

    return command


SCRIPT = {"plan", "preflight"}


@pytest.fixture(name="plan")
def _plan(command):
    """The indices that are planned for, and the finding about them."""

    def plan(*words, **environment):
        answer = command("plan", *words, "--json", **environment)
        assert answer.stdout, answer.stderr
        told = json.loads(answer.stdout)
        found = next(one for one in told["findings"] if one["check"] == "gpus")
        gpus = told["plan"] and told["plan"]["nodes"][0]["devices"]
        return gpus and [gpu["index"] for gpu in gpus], found

    return plan


@pytest.mark.parametrize(
    ("environment", "chosen"),
    [
        (OURS, [6, 7]),
        ({"SLURM_JOB_GPUS": "3,4"}, [3, 4]),
        ({"SLURM_JOB_GPUS": "3,4", "SLURM_STEP_GPUS": "4"}, [4]),
        ({"NVIDIA_VISIBLE_DEVICES": "3,4"}, [3, 4]),  # a privileged container
        ({"NVIDIA_VISIBLE_DEVICES": "void"}, [0, 1, 2, 3, 4, 5, 6, 7]),
        ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
    ],
)
def test_a_plan_takes_what_was_given(plan, environment, chosen):
    """All of it, and nothing else; ranks get it by UUID as ever."""
    assert chosen == plan(**environment)[0]


@pytest.mark.parametrize("value", ["", "-1", "NoDevFiles", "MIG-89c850dc"])
def test_given_nothing_a_job_takes_nothing(plan, value):
    """It does not slip onto the CPU either; the variable is named."""
    chosen, found = plan(CUDA_VISIBLE_DEVICES=value)

    assert (None, "error") == (chosen, found["severity"])
    assert "`--profile cpu` runs without a GPU" in found["hint"]
    assert "are not yours: CUDA_VISIBLE_DEVICES=" in found["summary"]
    assert ("slices of GPUs (MIG) are not supported" in found["summary"]) is ("MIG" in value)


def test_too_few_were_given(plan):
    """Waiting does not bring those of others, and only force takes them."""
    chosen, found = plan("-p", "4x4090", "--wait", **OURS)

    assert (None, "error", True) == (chosen, found["severity"], found["forcible"])
    assert REASON in found["summary"]
    assert "--wait" not in found["hint"]
    assert "`--force gpus` takes GPUs that were given to others" in found["hint"]


def test_a_gpu_outside_is_refused_by_name(plan):
    """With the reason; force overrules it and says so."""
    refused, why = plan("--gpu", "0", **OURS)
    forced, warned = plan("--gpu", "0", "--force", "gpus", **OURS)

    assert (None, "error") == (refused, why["severity"])
    assert f"GPU 0 is {WORDS}" in why["summary"]
    assert ([0], "warning") == (forced, warned["severity"])
    assert f"taken by force: GPU 0 is {WORDS}" in warned["summary"]


def test_force_shares_our_own_gpus_first(plan):
    """Those that were given, though they are in use, before those of others."""
    busy = [*EIGHT, "gpu 6 used=9000"]

    assert [6, 7] == plan("-p", "4x4090", "--nproc-per-node", "2", "--force", "gpus",
                          inventory=busy, **OURS)[0]  # fmt: skip


def test_preflight_and_gpus_say_it(command):
    """As JSON too; who uses a GPU of others is still shown."""
    preflight = command("preflight", "-p", "4x4090", COLUMNS="300", **OURS)
    busy = [*EIGHT, "gpu 2 used=9000"]
    shown = command("gpus", COLUMNS="300", inventory=busy, **OURS).stdout.splitlines()[1:]
    told = json.loads(command("gpus", "--json", **OURS).stdout)["inventory"]["devices"]

    assert 1 == preflight.returncode
    assert REASON in preflight.stdout
    assert [True] * 6 + [False] * 2 == [WORDS in row for row in shown]
    assert f"{WORDS}; has 8.8 GiB in use" in shown[2]
    assert shown[7].rstrip().endswith("free")
    assert ["CUDA_VISIBLE_DEVICES=6,7"] * 6 + [None] * 2 == [gpu["withheld_by"] for gpu in told]


def test_a_monitor_does_not_call_them_idle(command):
    """They are left out, with the reason; a simulated host is nobody's."""
    frame = json.loads(command("monitor", "--once", "--json", **OURS).stdout)
    simulated = json.loads(command("gpus", "--simulate", "2x4090", "--json", **OURS).stdout)

    states = [gpu["state"] for gpu in frame["gpus"]]
    assert ["excluded"] * 4 + ["ok"] * 2 == states[2:]  # other tests may have jobs on the first
    assert WORDS == frame["gpus"][5]["holder"]
    assert not any(gpu["withheld_by"] for gpu in simulated["inventory"]["devices"])


def test_a_profile_counts_what_was_given(gpuops, mock_driver):
    """It does not exclude the others: next time the scheduler may give those."""
    mock_driver.set(EIGHT)
    made = gpuops("profiles", "detect", **mock_driver.env, **OURS)
    none = gpuops("profiles", "detect", "--out", "p.yaml", **mock_driver.env,
                  CUDA_VISIBLE_DEVICES="")  # fmt: skip

    assert "  count: 2\n" in made.stdout
    assert "# GPU 0 is not counted: it is not yours (CUDA_VISIBLE_DEVICES=6,7).\n" in made.stdout
    assert "exclude" not in made.stdout
    assert 3 == none.returncode
    assert "none of the 8 GPUs is yours" in none.stderr
    assert not (gpuops.folder / "p.yaml").exists()


def test_a_run_keeps_what_its_launch_was_given(command, monkeypatch, tmp_path, mock_driver):
    """A supervisor in another shell restarts it there; a person decides anew."""
    answer = json.loads(command("plan", "--json", **OURS).stdout)
    root = tmp_path / "runs" / answer["plan"]["run_id"]
    root.mkdir(parents=True)
    (root / "plan.json").write_text(json.dumps(answer["plan"]))
    plan = plan_file.load(root)
    for name, value in {**mock_driver.env, "CUDA_VISIBLE_DEVICES": "0,1"}.items():
        monkeypatch.setenv(name, value)
    lost = Replan(after_s=0, why="GPU 7 is lost")
    restarted = request(supervise_run._next_options(plan, lost))[1].options
    typed = request(LaunchOptions(resume=str(root)))[1].options

    assert OURS == plan.options.allotted == restarted.allotted
    assert {"CUDA_VISIBLE_DEVICES": "0,1"} == typed.allotted
    assert ours(read_gpus(allotted=restarted.allotted)) == [6, 7]
    assert ours(read_gpus(allotted=typed.allotted)) == ours(read_gpus()) == [0, 1]


def ours(inventory):
    return [device.index for device in inventory.devices if device.withheld_by is None]
