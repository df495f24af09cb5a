"""A plan as the command that runs it: argv, environment, and a line for a shell."""

from __future__ import annotations

import shlex
from collections.abc import Collection

from gpuops import run_module
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.secrets import mask_variables, mask_words
from gpuops.core.run import paths

RAS_VARIABLE = "NCCL_RAS_ADDR"


def argv(plan: LaunchPlan) -> list[str]:
    """The torchrun command of a plan.

    torchrun imports nothing from the working directory; the ranks of a script find there what
    plain ``torchrun`` lets them find.
    gpuops owns restarting, so torchrun's own is off (it hands stale addresses to the new ranks:
    pytorch#135712). Each rank's output goes to its own files below the attempt's log folder.
    """
    return [
        plan.python,
        run_module.__file__,
        "torch.distributed.run",
        f"--nnodes={len(plan.nodes)}",
        f"--nproc-per-node={len(plan.nodes[0].ranks)}",
        "--max-restarts=0",
        f"--master-addr={plan.master_address}",
        f"--master-port={plan.master_port}",
        f"--rdzv-id={plan.run_id}",
        f"--log-dir={plan.log_dir}",
        "--redirects=3",
        *plan.target.entry_argv,
        *plan.program_arguments,
    ]


def environment(plan: LaunchPlan, given: Collection[str] = ()) -> dict[str, str]:
    """What the plan adds to the environment; ``given`` holds the names that are already set.

    GPUs are named by UUID, so that a GPU that falls off the bus can never shift the others. NCCL
    gets an address of this run to answer at, unless another is given: by default all jobs of a
    machine share one.
    """
    answers = {RAS_VARIABLE: f"127.0.0.1:{plan.ras_port}"} if plan.device == "cuda" else {}
    own = {} if RAS_VARIABLE in given else answers
    added = {**own, **plan.profile_environment, **_visible(_gpus(plan))}
    if plan.target.kind == "trainer":  # never a folder of that name in the working folder
        added["PYTHONSAFEPATH"] = "1"
    if plan.import_path is not None:
        added["PYTHONPATH"] = plan.import_path
    added["GPUOPS_RUN_ID"] = plan.run_id
    added["GPUOPS_RUN_DIR"] = plan.run_dir
    added["GPUOPS_BEAT_DIR"] = f"{plan.run_dir}/{paths.beats(plan.attempt)}"
    return added


def one_gpu(plan: LaunchPlan) -> dict[str, str]:
    """The variables that give a program which needs one device a GPU of the plan."""
    return _visible(_gpus(plan)[:1])


def _gpus(plan: LaunchPlan) -> list[str]:
    if plan.device == "cpu":
        return []
    uuids = [device.uuid for device in plan.devices if device.uuid is not None]
    return uuids if len(uuids) == len(plan.devices) else [str(d.index) for d in plan.devices]


def _visible(gpus: list[str]) -> dict[str, str]:
    visible = {"CUDA_VISIBLE_DEVICES": ",".join(gpus)}
    return {"CUDA_DEVICE_ORDER": "PCI_BUS_ID", **visible} if gpus else visible


def as_shell(plan: LaunchPlan) -> str:
    """One command that pastes into a shell: working folder, environment, torchrun.

    What looks like a secret is masked: such lines are pasted into tickets too.
    """
    added = mask_variables(environment(plan))
    variables = [f"{key}={shlex.quote(value)}" for key, value in added.items()]
    command = mask_words(argv(plan))
    program = len(command) - len(plan.target.entry_argv) - len(plan.program_arguments)
    rows = [
        f"cd {shlex.quote(plan.working_dir)} &&",
        " ".join(variables),
        shlex.join(command[:3]),
        shlex.join(command[3:program]),
        shlex.join(command[program:]),
    ]
    return " \\\n  ".join(rows)
