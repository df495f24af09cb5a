"""What a drill does to a job, and what has to come of it.

A fault is a word; ``verdict`` compares what was seen after it with what is right.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from gpuops.core.diagnosis.diagnosis import Kind
from gpuops.errors import ExitCode, UsageError

STEPS, SAVE_EVERY, RANKS = 60, 5, 2
Then = Literal["restarted", "given up", "goes on"]
Culprit = Literal["right", "unsure", "wrong"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One thing that can happen to a job.

    ``kinds`` are the diagnoses that are right. ``blames``: whether they have to name the rank.
    ``then``: what gpuops has to do about it; what is given up has to be there to go on with.
    ``rank`` is whose fault it is where only one can be; ``saving``: it happens at a checkpoint.
    """

    name: str
    about: str
    kinds: tuple[Kind, ...] = ()
    blames: bool = True
    then: Then = "restarted"
    rank: int | None = None
    saving: bool = False
    hangs: bool = False


FAULTS: Mapping[str, Fault] = {
    fault.name: fault
    for fault in (
        Fault(name="kill", about="a rank gets SIGKILL", kinds=("signal",)),
        Fault(name="stop", about="a rank gets SIGSTOP", kinds=("rank stopped",), hangs=True),
        Fault(name="segv", about="a rank reads where no memory is", kinds=("signal",)),
        Fault(name="exception", about="a rank raises, once", kinds=("exception",)),
        Fault(
            name="skip",
            about="a rank leaves out an all_reduce and waits at the next barrier",
            kinds=("collective mismatch",),
            saving=True,
            hangs=True,
        ),
        Fault(
            name="spin",
            about="a rank computes for ever, and never lets go of the interpreter's lock",
            kinds=("python spin",),
            hangs=True,
        ),
        Fault(
            name="loader",
            about="a rank's data set sleeps for ever",
            kinds=("data loader starved",),
            hangs=True,
        ),
        Fault(
            name="oom",
            about="a rank asks for more memory than its address space may have: MemoryError "
            "(the kernel's OOM killer is not called upon)",
            kinds=("out of memory (host)",),
            then="given up",
        ),
        Fault(name="agent", about="torchrun gets SIGKILL", kinds=("signal",), blames=False),
        Fault(
            name="supervisor",
            about="gpuops gets SIGKILL; `gpuops supervise` adopts the run; a rank gets SIGKILL",
            kinds=("signal",),
            then="goes on",
        ),
        Fault(
            name="checkpoint",
            about="the newest checkpoint is cut in half, and a rank gets SIGKILL",
            kinds=("signal",),
        ),
        Fault(
            name="disk",
            about="saving fails at a limit of the file's size, once",
            kinds=("disk full",),
            then="given up",
            rank=0,
            saving=True,
        ),
        Fault(
            name="port",
            about="somebody takes the rendezvous port between plan and start",
            kinds=("port taken",),
            blames=False,
        ),
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Injection:
    """A fault, the rank that commits it, and the step before (or after) which it happens.

    ``orphan_step``: where the rank is killed after somebody has adopted the job.
    """

    fault: Fault
    rank: int
    step: int
    orphan_step: int | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """As the job takes them: ``1:23:kill``."""
        word = f"{self.rank}:{self.step}:{self.fault.name}"
        return (word, *([f"{self.rank}:{self.orphan_step}:orphan"] if self.orphan_step else ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step that was trained: when (``time.time()``), and in which attempt."""

    at_s: float
    attempt: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What a drilled run left behind.

    ``exit_code`` is that of the supervision; ``resumed`` that of the launch that went on with what
    had been given up. ``fault_s``, and the events' times, are seconds of ``time.time()``.
    ``weights`` are the ranks' checksums, ``left`` what should have gone and has not.
    """

    exit_code: int
    resumed: int | None = None
    fault_s: float | None
    steps: Sequence[Step]
    events: Sequence[Mapping[str, Any]]
    weights: tuple[str, ...]
    left: tuple[str, ...]
    begun_s: float
    took_s: float

    @property
    def cold_start_s(self) -> float | None:
        """From the command to the first step."""
        return self.steps[0].at_s - self.begun_s if self.steps else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """How one fault went; ``None`` stands for what does not apply or could not be seen.

    ``detected_s``: last progress to the first diagnosis; ``recovered_s``: fault to first new step.
    ``wrong``: what was not as it has to be, a sentence each.
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
        """Whether all is as it has to be."""
        return not self.wrong


def known(names: Sequence[str]) -> tuple[Fault, ...]:
    """The faults of these names, each once; all of them where none is named.

    Raises:
        UsageError: there is no such fault.
    """
    for name in names:
        if name not in FAULTS:
            raise UsageError(f"there is no fault {name!r}.", f"The faults: {', '.join(FAULTS)}.")
    return tuple(FAULTS[name] for name in dict.fromkeys(names or FAULTS))


def injection(fault: Fault, seed: int) -> Injection:
    """Where a fault strikes: by chance, and at the same place for the same seed."""
    chance = random.Random(f"{seed} {fault.name}")  # noqa: S311 - no secret
    rank = fault.rank if fault.rank is not None else chance.randrange(RANKS)
    first, last = STEPS // 4, STEPS // 2
    if fault.then == "goes on":
        orphan = chance.randint(STEPS // 2, STEPS * 3 // 4)
        return Injection(fault=fault, rank=rank, step=SAVE_EVERY + 1, orphan_step=orphan)
    step = chance.randint(first, last)
    step -= step % SAVE_EVERY
    if not fault.saving:
        step += chance.randrange(2, SAVE_EVERY)  # something is to be lost
    return Injection(fault=fault, rank=rank, step=step)


def verdict(done: Injection, seen: Seen, undisturbed: tuple[str, ...]) -> Row:
    """What was seen of a drilled run, and what of it is not right."""
    fault = done.fault
    diagnoses = [event for event in seen.events if event.get("event") == "diagnosis"]
    first = next(iter(diagnoses), None) if fault.kinds else None
    # The first attempt's last word: what was only suspected at first may have been confirmed.
    same = [one for one in diagnoses if first and one.get("attempt") == first.get("attempt")]
    final = same[-1] if same else None
    before, after = _parted(seen)
    same_weights = bool(undisturbed) and seen.weights == undisturbed
    row = Row(
        fault=fault.name,
        rank=done.rank,
        step=done.step,
        detected_s=_since(first, before[-1].at_s if before else seen.fault_s),
        kind=final.get("kind") if final else None,
        named=final.get("rank") if final else None,
        sure=final.get("sure") is True if final else None,
        culprit=culprit({done.rank}, final) if final and fault.blames else None,
        recovered_s=after[0].at_s - seen.fault_s if after and seen.fault_s is not None else None,
        steps_lost=_lost(before, after),
        same_weights=same_weights,
        exit_code=seen.exit_code,
        resumed=seen.resumed,
        left=seen.left,
        took_s=seen.took_s,
        wrong=(),
    )
    return replace(row, wrong=tuple(_wrong(done, row, seen, before)))


def _wrong(done: Injection, row: Row, seen: Seen, before: Sequence[Step]) -> list[str]:
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
        wrong.append("nobody said what had happened")
    elif fault.kinds and row.kind not in fault.kinds:
        wrong.append(f"the diagnosis is {row.kind!r}, and {' or '.join(fault.kinds)!r} is right")
    if row.culprit == "wrong":
        named = "no rank" if row.named is None else f"rank {row.named}"
        wrong.append(f"it is sure of {named}, and rank {row.rank} did it")
    if done.orphan_step is not None and (not before or before[-1].number < done.orphan_step - 1):
        wrong.append("the job was started again, though only its supervisor had gone")
    if row.steps_lost is not None and row.steps_lost > _may_lose(fault):
        wrong.append(f"{row.steps_lost} steps were lost, {_may_lose(fault)} can be")
    if not row.same_weights:
        wrong.append("the final weights are not those of the undisturbed run")
    return [*wrong, *(f"left behind: {thing}" for thing in row.left)]


def _may_lose(fault: Fault) -> int:
    """Since the last checkpoint; where that one is broken, since the one before."""
    return SAVE_EVERY * (2 if fault.name == "checkpoint" else 1)


def culprit(ranks: Collection[int], said: Mapping[str, Any]) -> Culprit:
    """Whether one of those is named; a wrong name that is given as a guess is ``unsure``."""
    if said.get("rank") in ranks:
        return "right"
    return "wrong" if said.get("sure") is True and said.get("rank") is not None else "unsure"


def _parted(seen: Seen) -> tuple[list[Step], list[Step]]:
    """The steps of the attempt that was struck, and those of the ones after it."""
    first = seen.steps[0].attempt if seen.steps else ""
    if seen.fault_s is not None and seen.steps and seen.steps[0].at_s > seen.fault_s:
        return [], list(seen.steps)  # it was struck before it trained
    struck = [step for step in seen.steps if step.attempt == first]
    return struck, [step for step in seen.steps if step.attempt != first]


def _since(event: Mapping[str, Any] | None, moment_s: float | None) -> float | None:
    return None if event is None or moment_s is None else float(event["time"]) - moment_s


def _lost(before: Sequence[Step], after: Sequence[Step]) -> int | None:
    return before[-1].number - (after[0].number - 1) if before and after else None
