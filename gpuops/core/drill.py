"""The faults of a drill, the outcome that each must have, and the assessment of a run."""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import pairwise
from typing import Any, Literal

from gpuops.core.diagnosis.diagnosis import Kind
from gpuops.errors import ExitCode, UsageError

STEPS, SAVE_EVERY, RANKS = 60, 5, 2
HANG_TIMEOUT_S, SLOW = 4.0, 0.4
Then = Literal["restarted", "given up", "goes on"]
Culprit = Literal["right", "unsure", "wrong"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that can happen to a job.

    ``kinds`` are the diagnoses that are right. ``culprit``: whether they must name the rank.
    ``then``: what gpuops must do; a run that it gives up must be resumable.
    ``rank`` is set if only one rank can have the fault; ``saving``: it happens at a checkpoint.
    ``gpus``: it is about claims, so the job has simulated GPUs and a lock folder of its own.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...] = ()
    culprit: bool = True
    then: Then = "restarted"
    rank: int | None = None
    saving: bool = False
    hangs: bool = False
    gpus: bool = False


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault("kill", "a rank gets SIGKILL", ("signal",)),
        Fault("stop", "a rank gets SIGSTOP", ("rank stopped",), hangs=True),
        Fault("segv", "a rank reads from an invalid address", ("signal",)),
        Fault("exception", "a rank raises, once", ("exception",)),
        Fault(
            "skip",
            "a rank leaves out an all_reduce and waits at the next barrier",
            ("collective mismatch",),
            saving=True,
            hangs=True,
        ),
        Fault(
            "spin",
            "a rank computes forever and never releases the interpreter's lock",
            ("python spin",),
            hangs=True,
        ),
        Fault("loader", "a rank's data set sleeps forever", ("data loader starved",), hangs=True),
        Fault(
            "oom",
            "a rank asks for more memory than its address space may have: MemoryError "
            "(the kernel's OOM killer takes no part)",
            ("out of memory (host)",),
            then="given up",
        ),
        Fault("agent", "torchrun gets SIGKILL", ("signal",), culprit=False),
        Fault(
            "reaper",
            "the reaper, which started torchrun, gets SIGKILL",
            ("signal",),
            culprit=False,
        ),
        Fault(
            "orphans",
            "reaper and torchrun get SIGKILL together, and the ranks train on without them",
            ("signal",),
            culprit=False,
        ),
        Fault(
            "supervisor",
            "gpuops gets SIGKILL; `gpuops supervise` adopts the run; a rank gets SIGKILL",
            ("signal",),
            then="goes on",
        ),
        Fault(
            "suspend",
            "gpuops gets SIGSTOP, as by Ctrl-Z; a rank gets SIGKILL; then gpuops gets SIGCONT",
            ("signal",),
            then="goes on",
        ),
        Fault(
            "waiter",
            "another launch waits in line for the run's GPUs; a rank gets SIGKILL",
            ("signal",),
            then="goes on",
            gpus=True,
        ),
        Fault(
            "locks",
            "the run's locks lose their records and their folder can no longer be written, as if "
            "it were full; a rank gets SIGKILL",
            ("signal",),
            then="goes on",
            gpus=True,
        ),
        Fault(
            "checkpoint",
            "the newest checkpoint is cut in half, and a rank gets SIGKILL",
            ("signal",),
        ),
        Fault(
            "disk",
            "saving fails at a limit of the file's size, once",
            ("disk full",),
            then="given up",
            rank=0,
            saving=True,
        ),
        Fault(
            "port",
            "another process takes the rendezvous port between plan and start",
            ("port taken",),
            culprit=False,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A fault, the rank that has it, and the step before (or after) which it happens.

    ``kill_step`` is the step at which the rank is killed if the fault itself spares the job.
    """

    fault: Fault
    rank: int
    step: int
    kill_step: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The words of the job's ``--fault``: ``1:23:kill``."""
        word = f"{self.rank}:{self.step}:{self.fault.name}"
        return (word, *([f"{self.rank}:{self.kill_step}:kill-later"] if self.kill_step else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that was trained: its time (seconds of ``time.time()``) and attempt."""

    at_s: float
    attempt: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What was seen of a run with a fault.

    ``exit_code`` is that of the supervision; ``resumed`` that of the launch that resumed a run that
    was given up. ``fault_s``, and the events' times, are seconds of ``time.time()``.
    ``weights`` are the ranks' checksums, ``left`` names what should be gone and is not. ``wrong``
    has a sentence for each thing that went wrong beside the run.
    """

    exit_code: int
    resumed: int | None = None
    fault_s: float | None
    steps: Sequence[Step]
    events: Sequence[Mapping[str, Any]]
    weights: tuple[str, ...]
    left: tuple[str, ...]
    wrong: tuple[str, ...] = ()
    begun_s: float
    took_s: float

    @property
    def cold_start_s(self) -> float | None:
        """Seconds from the command to the first step."""
        return self.steps[0].at_s - self.begun_s if self.steps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The result of one fault; ``None`` for what does not apply or could not be seen.

    ``detected_s``: from the last progress to the first diagnosis; ``recovered_s``: from the fault
    to the first new step. ``wrong`` has a sentence for each thing that is not as it must be.
    """

    fault: str
    rank: int
    step: int
    detected_s: float | None
    kind: str | None
    named: int | None
    sure: bool | None
    culprit: Culprit | None
    recovered_s: float | None
    steps_lost: int | None
    same_weights: bool
    exit_code: int
    resumed: int | None
    left: tuple[str, ...]
    took_s: float
    wrong: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether all is as it must be."""
        return not self.wrong


def hang_timeout_s(cold_start_s: float | None) -> float:
    """After how many seconds without a step a job hangs, on a host that starts it in such a time.

    A step takes 0.05 s. On a busy host even a rank that fails may take seconds to end.
    """
    return max(HANG_TIMEOUT_S, round(SLOW * (cold_start_s or 0.0), 1))


def select_faults(names: Sequence[str]) -> tuple[Fault, ...]:
    """The faults of these names, each once; all of them if none is named.

    Raises:
        UsageError: there is no such fault.
    """
    for name in names:
        if name not in FAULTS:
            near = get_close_matches(name, FAULTS, n=1)
            raise UsageError(
                f"there is no fault {name!r}{f'; did you mean {near[0]}?' if near else '.'}",
                f"The faults: {', '.join(FAULTS)}.",
            )
    return tuple(FAULTS[name] for name in dict.fromkeys(names or FAULTS))


def place_fault(fault: Fault, seed: int) -> Injection:
    """Draw the rank and the step of a fault; the same seed gives the same place."""
    chance = random.Random(f"{seed} {fault.name}")  # noqa: S311 - no secret
    rank = fault.rank if fault.rank is not None else chance.randrange(RANKS)
    if fault.then == "goes on":
        later = chance.randint(STEPS // 2, STEPS * 3 // 4)
        return Injection(fault=fault, rank=rank, step=SAVE_EVERY + 1, kill_step=later)
    step = chance.randint(STEPS // 4, STEPS // 2)
    step -= step % SAVE_EVERY
    if not fault.saving:
        step += chance.randrange(2, SAVE_EVERY)  # so that steps are lost
    return Injection(fault=fault, rank=rank, step=step)


def assess(done: Injection, seen: Observed, undisturbed: tuple[str, ...]) -> Row:
    """Compare what was seen of a run with what is right."""
    fault = done.fault
    diagnoses = [event for event in seen.events if event.get("event") == "diagnosis"]
    first = diagnoses[0] if diagnoses and fault.kinds else None
    # The first attempt's last diagnosis: a suspicion may have been confirmed by then.
    same = [one for one in diagnoses if first and one.get("attempt") == first.get("attempt")]
    final = same[-1] if same else None
    before, after = _split_at_restart(seen)
    begin_s = before[-1].at_s if before else seen.fault_s
    row = Row(
        fault=fault.name,
        rank=done.rank,
        step=done.step,
        detected_s=float(first["time"]) - begin_s if first and begin_s is not None else None,
        kind=final.get("kind") if final else None,
        named=final.get("rank") if final else None,
        sure=final.get("sure") is True if final else None,
        culprit=judge_culprit({done.rank}, final) if final and fault.culprit else None,
        recovered_s=after[0].at_s - seen.fault_s if after and seen.fault_s is not None else None,
        steps_lost=before[-1].number - (after[0].number - 1) if before and after else None,
        same_weights=bool(undisturbed) and seen.weights == undisturbed,
        exit_code=seen.exit_code,
        resumed=seen.resumed,
        left=seen.left,
        took_s=seen.took_s,
        wrong=(),
    )
    return replace(row, wrong=tuple(_wrong(done, row, seen, before)))


def _wrong(done: Injection, row: Row, seen: Observed, before: Sequence[Step]) -> list[str]:
    fault = done.fault
    due = ExitCode.GAVE_UP if fault.then == "given up" else ExitCode.OK
    wrong = []
    if seen.fault_s is None:
        return ["the fault did not happen"]
    if seen.exit_code != due:
        wrong.append(f"it ended with exit code {seen.exit_code}, and {int(due)} is right")
    if due and seen.resumed:
        wrong.append(f"`launch --resume` ended with exit code {seen.resumed}")
    if fault.kinds and row.kind is None:
        wrong.append("there is no diagnosis")
    elif fault.kinds and row.kind not in fault.kinds:
        wrong.append(f"the diagnosis is {row.kind!r}, and {' or '.join(fault.kinds)!r} is right")
    if row.culprit == "wrong":
        named = "no rank" if row.named is None else f"rank {row.named}"
        wrong.append(f"it is sure of {named}, and rank {row.rank} had the fault")
    if done.kill_step is not None and (not before or before[-1].number < done.kill_step - 1):
        wrong.append("the job was started again before one of its ranks was killed")
    wrong += trained_beside(seen.steps)
    # Steps since the last checkpoint; since the one before if that one is broken.
    may_lose = SAVE_EVERY * (2 if fault.name == "checkpoint" else 1)
    if row.steps_lost is not None and row.steps_lost > may_lose:
        wrong.append(f"{row.steps_lost} steps were lost, {may_lose} can be")
    if not row.same_weights:
        wrong.append("the final weights are not those of the undisturbed run")
    return [*wrong, *seen.wrong, *(f"left behind: {thing}" for thing in row.left)]


def trained_beside(steps: Sequence[Step]) -> list[str]:
    """A sentence for each attempt that still trained when the next one had begun to."""
    begun: dict[str, float] = {}
    for step in steps:
        begun.setdefault(step.attempt, step.at_s)
    last = {step.attempt: step.at_s for step in steps}
    return [
        f"{before} still trained beside {after}"
        for before, after in pairwise(begun)
        if last[before] > begun[after]
    ]


def judge_culprit(ranks: Collection[int], diagnosis: Mapping[str, Any]) -> Culprit:
    """Whether one of the ranks is named; a wrong name that is only a guess is ``unsure``."""
    if diagnosis.get("rank") in ranks:
        return "right"
    named = diagnosis.get("rank") is not None
    return "wrong" if named and diagnosis.get("sure") is True else "unsure"


def _split_at_restart(seen: Observed) -> tuple[list[Step], list[Step]]:
    """The steps of the attempt with the fault, and those of later attempts."""
    steps = seen.steps
    if seen.fault_s is not None and steps and steps[0].at_s > seen.fault_s:
        return [], list(steps)  # the fault came before the first step
    before = [step for step in steps if step.attempt == steps[0].attempt]
    return before, [step for step in steps if step.attempt != steps[0].attempt]
