"""Jobs that hang: what could be seen of them from then on."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace

from hang_jobs import LOOK_S, Job, World, always, log_normal, observations

from gpuops.core.hang.detector import HangPolicy, Hung, Suspect, assess
from gpuops.core.hang.observation import HangState, update_state

DEFAULT = HangPolicy()


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What the kernel shows of the two ranks once the job hangs."""

    name: str
    cpu: tuple[float, float]
    state: str = "S"


FAULTS = [
    Fault(name="a rank stopped", cpu=(0.0, 0.0), state="T"),
    Fault(name="deadlock over gloo", cpu=(0.0, 0.0)),
    Fault(name="deadlock over NCCL", cpu=(1.0, 1.0)),
    Fault(name="a rank spins in Python", cpu=(0.0, 1.0)),
    Fault(name="a rank stuck in I/O", cpu=(0.0, 0.0), state="D"),
]


@dataclass(frozen=True, kw_only=True)
class Prey:
    """A job that will hang: in this phase, for the first time or at any of its steps.

    ``soon``: it is to be suspected within 10 s, or 20 steps.
    """

    name: str
    job: Job
    phase: str = "train"
    policy: HangPolicy = DEFAULT
    first: int = 20
    soon: bool = True


def prey() -> list[Prey]:
    """Jobs that hang at any of their steps, and elsewhere."""
    phased = HangPolicy(phased=True)
    jobs = [
        Prey(name=f"{step_s} s a step", job=Job(step_s=always(step_s)), policy=phased)
        for step_s in (0.1, 1, 10, 60)
    ]
    silent = Job(phases=False)
    return [
        *jobs,
        Prey(
            name="log-normal steps, 1 s",
            job=Job(chance=log_normal(1), step_s=always(1)),
            policy=phased,
        ),
        Prey(name="never says phases, 0.1 s", job=silent),
        Prey(name="never says phases, 60 s", job=replace(silent, step_s=always(60))),
        Prey(name="never beats, 0.1 s", job=Job(beats=False), first=100, soon=False),
        Prey(name="in an evaluation, 0.1 s", job=Job(), phase="evaluate", soon=False),
        Prey(name="in a save, 0.1 s", job=Job(), phase="save", soon=False),
        Prey(name="before the first step", job=Job(), phase="start", soon=False),
        Prey(
            name="0.1 s, --hang-timeout 30",
            job=Job(),
            policy=HangPolicy(hang_timeout_s=30.0),
        ),
    ]


def struck(
    victim: Prey, fault: Fault, rng: random.Random, most_s: float = 2e5
) -> tuple[float | None, float | None]:
    """Seconds from the last progress to suspicion, and to being hung; ``None`` is never."""
    world, watch = World(), HangState(most_s=math.inf)
    count = rng.randint(victim.first, 1500) if victim.phase == "train" else rng.randint(1, 3)
    count = 1 if victim.phase == "start" else count
    for seen in observations(victim.job, world, rng, end=victim.phase, count=count):
        watch = update_state(watch, seen)
    begin_s, suspect_s = world.now_s, None
    world.states[1] = fault.state
    phase_s = rng.random() * LOOK_S  # where between two looks it strikes
    while (silence_s := world.now_s - begin_s) < most_s:
        world.passes(max(LOOK_S, silence_s / 100) if silence_s else phase_s, fault.cpu)
        watch = update_state(watch, world.observed())
        assessment = assess(watch, victim.policy)
        if isinstance(assessment, (Suspect, Hung)) and suspect_s is None:
            suspect_s = world.now_s - begin_s
        if isinstance(assessment, Hung):
            return suspect_s, world.now_s - begin_s
    return suspect_s, None
