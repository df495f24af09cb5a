"""The layout of a run's folder: the one place that spells it. Names are relative to the folder.

::

    runs/<run_id>/
      plan.json                     what was launched; `launch --resume RUN` starts it again
      secrets.json                  what is masked in the plan; only its owner can read it
      events.jsonl                  what happened, one event a line
      environment.json              where it ran: host, GPUs, versions
      telemetry.jsonl               what was measured while it ran: step, loss, GPUs
      supervisor.lock               which process supervises it
      diagnosis/                    why an attempt hung or failed, as JSON and as a page
      logs/attempt-1/agent.log      the output of torchrun
      logs/attempt-1/rank-0/        the output of rank 0: stdout.log, stderr.log
      state/attempt-1/beats/        heartbeats of the ranks
      state/attempt-1/members.json  the processes below the reaper, as the supervisor last saw them
      state/attempt-1/              process.json and exit.json, which the reaper writes and names
      train.log metrics.jsonl tensorboard/ checkpoints/ config_used.yaml    the trainer's own
"""

from __future__ import annotations

import re

PLAN = "plan.json"
EVENTS = "events.jsonl"
ENVIRONMENT = "environment.json"
TELEMETRY = "telemetry.jsonl"
SUPERVISOR_LOCK = "supervisor.lock"
DIAGNOSES = "diagnosis"
LOGS = "logs"
STATES = "state"
MEMBERS, BEATS = "members.json", "beats"  # in an attempt's state
SECRETS = "secrets.json"

# What a trainer writes; a run of a trainer that writes elsewhere links to it.
METRICS = "metrics.jsonl"
CHECKPOINTS = "checkpoints"
CONFIGURATION = "config_used.yaml"
OUTPUTS = ("train.log", METRICS, "tensorboard", CHECKPOINTS, CONFIGURATION)

ATTEMPT = "attempt-"
RANK = "rank-"
_BEATS = re.compile(rf"(.+)/{STATES}/{ATTEMPT}([0-9]{{1,9}})/{BEATS}", re.DOTALL)
_DIAGNOSIS = re.compile(rf"{ATTEMPT}([0-9]{{1,9}})-(\w+)\.json")


def logs(attempt: int) -> str:
    """The folder of an attempt's logs."""
    return f"{LOGS}/{ATTEMPT}{attempt}"


def agent_log(attempt: int) -> str:
    """The output of an attempt's torchrun."""
    return f"{logs(attempt)}/agent.log"


def rank_log(attempt: int, rank: int, stream: str) -> str:
    """The ``stdout`` or ``stderr`` of a rank in an attempt."""
    return f"{logs(attempt)}/{RANK}{rank}/{stream}.log"


def state(attempt: int) -> str:
    """The folder of an attempt's heartbeats and of the records of its processes."""
    return f"{STATES}/{ATTEMPT}{attempt}"


def beats(attempt: int) -> str:
    """The folder of an attempt's heartbeats."""
    return f"{state(attempt)}/{BEATS}"


def parse_beats(folder: str) -> tuple[str, int] | None:
    """The run's folder and the attempt, from the whole path of an attempt's ``beats``."""
    found = _BEATS.fullmatch(folder)
    return (found[1], int(found[2])) if found else None


def diagnosis(attempt: int, what: str) -> str:
    """A diagnosis of an attempt; ``what`` happened: ``suspected``, ``hung``, ``crashed``."""
    return f"{DIAGNOSES}/{ATTEMPT}{attempt}-{what}.json"


def parse_diagnosis(name: str) -> tuple[int, str] | None:
    """The attempt and what happened, from the name of a file of ``diagnosis/``."""
    found = _DIAGNOSIS.fullmatch(name)
    return (int(found[1]), found[2]) if found else None
