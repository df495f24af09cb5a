"""The closing summary of a run, from the files of its last attempt."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpuops.core.diagnosis.torchrun_failure import last_lines, signal_name
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.run import paths
from gpuops.core.supervision.restart import GiveUp
from gpuops.core.supervision.run import Outcome
from gpuops.core.supervision.summary import FailureSummary, RunSummary, next_commands
from gpuops.errors import ExitCode
from gpuops.launch.launch import Launch
from gpuops.system import files
from gpuops.system.runs import checkpoints, rank_logs, run_dir
from gpuops.ui import words

NOT_FIGURES = {"step", "total_steps", "time", "split", "seconds", "epoch"}
KILLED = (
    "Killed from outside: by a user, or by the kernel when memory ran out (then `dmesg` says so)."
)
PORT_TAKEN = ("EADDRINUSE", "address already in use")


def summarise(launch: Launch, outcome: Outcome, given_up: GiveUp | None = None) -> RunSummary:
    """Build the summary."""
    plan, manifest, places = launch.plan, launch.manifest, launch.places
    lines = files.read_json_lines(places.metrics_file) if places.metrics_file else []
    begun_s = time.time() - outcome.duration_s  # earlier rows are an earlier attempt's
    figures = [row for row in lines if _at_s(row, begun_s) >= begun_s]
    losses = [row["loss"] for row in figures if row.get("split") == "train" and "loss" in row]
    evaluated = [row for row in figures if row.get("split") == "val"]
    kept = manifest is not None and bool(checkpoints.list_checkpoints(places.checkpoints))
    shown = {"folder": plan.run_dir, "logs": plan.log_dir}
    if kept:
        shown["checkpoints"] = str(places.checkpoints)
        shown["curves"] = str(places.out_dir / "tensorboard")
    failed = outcome.ending == "failed" or outcome.failure is not None
    return RunSummary(
        run_id=plan.run_id,
        ending=outcome.ending,
        exit_code=_exit_code(outcome, given_up, plan.max_restarts),
        duration_s=outcome.duration_s,
        step=outcome.progress.step,
        total_steps=outcome.progress.total_steps,
        first_loss=losses[0] if losses else None,
        last_loss=losses[-1] if losses else None,
        validation={
            key: value
            for key, value in (evaluated[-1] if evaluated else {}).items()
            if isinstance(value, (int, float)) and key not in NOT_FIGURES
        },
        places=shown,
        next_commands=next_commands(
            run=_reference(plan),
            ending=outcome.ending,
            trainer=manifest is not None,
            evaluates=manifest is not None and "evaluate" in manifest.verbs,
            kept=kept,
            spoke=bool(rank_logs.ranks(Path(plan.run_dir), plan.attempt)),
        ),
        failure=_failure(launch, outcome) if failed else None,
    )


def _at_s(row: Mapping[str, Any], else_s: float) -> float:
    """When a row was written; a trainer may write no time, or one in words."""
    at_s = row.get("time")
    return at_s if isinstance(at_s, (int, float)) else else_s


def _exit_code(outcome: Outcome, given_up: GiveUp | None, restarts: int) -> int:
    if given_up is not None and restarts:
        return int(ExitCode.GAVE_UP)
    if outcome.stop_signal is not None:
        return 128 + outcome.stop_signal
    return 1 if outcome.ending == "failed" else 0


def _failure(launch: Launch, outcome: Outcome) -> FailureSummary:
    plan, cause = launch.plan, outcome.failure
    name, code = paths.agent_log(plan.attempt), cause.exitcode if cause else outcome.returncode
    if cause is not None:
        name = paths.rank_log(plan.attempt, cause.rank, "stderr")
    log, signal = Path(plan.run_dir, name), signal_name(code)
    text = files.tail(log)
    hint = _explain_agent(plan, text, there=log.exists()) if cause is None else ""
    return FailureSummary(
        rank=cause.rank if cause else None,
        how=signal or f"exit code {code}",
        last_words=tuple(last_lines(text)),
        log=str(log),
        hint=KILLED if cause is not None and signal == "SIGKILL" else hint,
    )


def _explain_agent(plan: LaunchPlan, text: str, *, there: bool) -> str:
    """Explain an end of torchrun whose cause is known; empty if it is not."""
    if not there:
        return "The run's folder is gone: it was removed while the job ran."
    if any(words in text for words in PORT_TAKEN) and "port" not in plan.options.force:
        return (
            f"Port {plan.master_port} was taken after preflight had looked: launch again, "
            "or choose another with --master-port."
        )
    return ""


def _reference(plan: LaunchPlan) -> str:
    """The run as the user can type it: its name, or its folder if that is not below runs."""
    root = Path(plan.run_dir)
    if root.parent == run_dir.runs_dir(None):
        return plan.run_id
    return words.place(root, str(Path.cwd()))
