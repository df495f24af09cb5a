"""Healthy jobs that never run: what could be seen of them, drawn from a seed.

A job is a sequence of silences, each ended by a sign. It is looked at twice a second; or, where a
million steps would take too long so, as each long silence begins and just before it ends, when it
is at its worst. Then all the time between two looks counts (``HangState.most_s`` is lifted), so
that nothing is forgiven.
"""

# ruff: noqa: S311 - chance, no secrets

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from gpuops.core.hang.detector import Assessment, HangPolicy, Hung, Suspect, assess
from gpuops.core.hang.observation import HangState, Observation, RankVitals, update_state
from gpuops.heartbeat import Beat

LOOK_S, EDGE_S = 0.5, 1e-3


class Span(NamedTuple):
    """A silence, and the sign that ends it.

    ``phase`` is what the ranks beat at its end; ``None`` where they do not. ``cpu`` is what each
    uses meanwhile, in cores. ``unwatched``: nobody looks, as the machine is paused or we are.
    """

    seconds: float
    step: int | None = None
    phase: str | None = None
    cpu: float = 1.0
    log: int = 0
    saved: int = 0
    unwatched: bool = False


@dataclass
class World:
    """A simulated job's processes and files at one moment, as a supervisor would see them."""

    ranks: int = 2
    now_s: float = 5000.0
    beats: dict[int, Beat] = field(default_factory=dict)
    cpu_s: list[float] = field(default_factory=lambda: [0.0] * 64)
    states: dict[int, str] = field(default_factory=dict)
    log_bytes: int = 0
    checkpoint_bytes: int = 0

    def passes(self, seconds: float, cpu: tuple[float, ...]) -> None:
        self.now_s += seconds
        for rank in range(self.ranks):
            self.cpu_s[rank] += seconds * cpu[rank % len(cpu)]

    def beat(
        self,
        step: int | None,
        phase: str,
        ranks: tuple[int, ...] | None = None,
        step_before: int | None = None,
    ) -> None:
        for rank in range(self.ranks) if ranks is None else ranks:
            self.beats[rank] = Beat(
                pid=100 + rank,
                rank=rank,
                step=step,
                total_steps=None,
                loss=None,
                data_wait=None,
                monotonic_s=self.now_s,
                phase=phase,
                step_before=step_before,
            )

    def observed(self) -> Observation:
        return Observation(
            now_s=self.now_s,
            beats=tuple(self.beats.values()),
            vitals=tuple(
                RankVitals(
                    rank=rank,
                    pid=100 + rank,
                    state=self.states.get(rank, "S"),
                    cpu_s=round(self.cpu_s[rank], 2),
                    io_bytes=0,
                )
                for rank in range(self.ranks)
            ),
            log_bytes=self.log_bytes,
            checkpoint_bytes=self.checkpoint_bytes,
        )


@dataclass(frozen=True, kw_only=True)
class Job:
    """How a healthy job behaves: its usual n-th step, and what chance multiplies it by."""

    steps: int = 2000
    step_s: Callable[[int], float] = lambda _n: 0.1
    chance: Callable[[random.Random], float] = lambda rng: rng.uniform(0.9, 1.1)
    warm_up_s: float = 20.0
    evaluate_every: int = 500
    save_every: int = 250
    beats: bool = True
    phases: bool = True
    numbers: bool = True
    beating: tuple[int, ...] | None = None
    evaluating: tuple[int, ...] | None = None
    log_every: int = 10
    cpu: float = 1.0
    pause: Callable[[random.Random], float] | None = None

    def spans(self, rng: random.Random) -> Iterator[Span]:
        """Start, steps, and what is due between them; as the engine beats it."""
        begun = "start" if self.beats and self.phases else None
        yield Span(self.warm_up_s * rng.random() / 2, None, begun, log=80, cpu=self.cpu)
        left_s, away_s = self.warm_up_s, 0.0
        evaluated = rng.randrange(self.evaluate_every)  # where in its cycle it begins
        saved = rng.randrange(self.save_every)
        for n in range(1, self.steps + 1):
            usual_s = self.step_s(n)
            step = n if self.numbers else None
            done = "train" if self.beats else None
            log = 60 if n % self.log_every == 0 else 0
            pause_s = self.pause(rng) if self.pause else 0.0
            if pause_s and rng.random() < 0.5:  # the machine sleeps; or else its supervisor does
                yield Span(pause_s, cpu=0.0, unwatched=True)
                pause_s = 0.0
            away_s = max(away_s, pause_s)
            step_s = usual_s * self.chance(rng) + left_s
            yield Span(step_s, step, done, self.cpu, log, unwatched=away_s > 0)
            away_s, left_s = away_s - step_s, 0.0
            if n > 1 and (n + saved) % self.save_every == 0:
                if self.phases and self.beats:
                    yield Span(0.0, step, "save")
                left_s += 100 * usual_s * rng.uniform(0.9, 1.1)
                if not self.beats:  # its checkpoint is all that it shows
                    yield Span(left_s, cpu=self.cpu, saved=1 << 20)
                    left_s = 0.0
            if n > 1 and (n + evaluated) % self.evaluate_every == 0:
                if self.phases and self.beats:
                    yield Span(left_s, step, "evaluate")
                    left_s = 0.0
                left_s += 200 * usual_s * rng.uniform(0.9, 1.1)


def observations(
    job: Job,
    world: World,
    rng: random.Random,
    *,
    dense: bool = False,
    end: str = "",
    count: int = 0,
) -> Iterator[Observation]:
    """A healthy job as it is seen; where not ``dense``, a long silence as it begins and ends.

    Where ``end`` is a phase, it ends as the ranks begin to be silent in it for the n-th time.
    """
    look_at = world.now_s
    for span in job.spans(rng):
        left, cpu = span.seconds, (span.cpu,)
        if span.unwatched:
            world.passes(left, cpu)
            left, look_at = 0.0, world.now_s
        elif dense or left <= LOOK_S:
            while world.now_s + left > look_at:
                ahead = max(0.0, look_at - world.now_s)
                world.passes(ahead, cpu)
                left -= ahead
                yield world.observed()
                look_at += LOOK_S
        else:
            yield world.observed()
            world.passes(left - EDGE_S, cpu)
            yield world.observed()
            left, look_at = EDGE_S, world.now_s + LOOK_S
        world.passes(left, cpu)
        world.log_bytes += span.log
        world.checkpoint_bytes += span.saved
        if span.phase is not None:
            ranks = job.evaluating if span.phase in {"evaluate", "save"} else None
            world.beat(span.step, span.phase, ranks or job.beating)
        if end in {span.phase, "train" if span.step and not job.beats else None}:
            count -= 1
            if count == 0:
                return


def spikes(rng: random.Random) -> float:
    """One step in 1,000 takes 30 times as long."""
    return rng.uniform(0.9, 1.1) * (30 if rng.random() < 1e-3 else 1)


def log_normal(sigma: float) -> Callable[[random.Random], float]:
    return lambda rng: math.exp(rng.gauss(0, sigma))


def always(step_s: float) -> Callable[[int], float]:
    return lambda _n: step_s


def naps(rng: random.Random) -> float:
    """Now and then, for a second or for days."""
    return math.exp(rng.uniform(0, 13)) if rng.random() < 0.02 else 0.0


@dataclass(frozen=True)
class Scenario:
    """One line of the table: a job, and its share of all the steps."""

    name: str
    job: Job
    share: float
    dense: bool = False
    drawn: bool = False


def healthy() -> list[Scenario]:
    """What must never be ended. A share is of all the steps."""
    spiked = Job(chance=spikes)
    silent = Job(phases=False, chance=spikes)
    mute = Job(beats=False, chance=spikes)
    warming = Job(warm_up_s=1200)
    return [
        Scenario("evaluation 200 x a step, save 100 x", Job(), 0.09),
        Scenario("warm-up of 20 min", replace(warming, steps=60), 0.04),
        Scenario("warm-up of 20 min, no rank at work", replace(warming, steps=60, cpu=0.0), 0.04),
        Scenario("1 step in 1,000 lasts 30 x", spiked, 0.06),
        Scenario(
            "1 step in 1,000 lasts 30 x, 10 s a step", replace(spiked, step_s=always(10)), 0.06
        ),
        Scenario(
            "1 step in 1,000 lasts 30 x, 60 s a step", replace(spiked, step_s=always(60)), 0.06
        ),
        Scenario("never says phases", silent, 0.07),
        Scenario("never says phases, 10 s a step", replace(silent, step_s=always(10)), 0.04),
        Scenario("never says phases, 60 s a step", replace(silent, step_s=always(60)), 0.04),
        Scenario("says neither phases nor steps", replace(silent, numbers=False), 0.02),
        Scenario("only rank 0 beats", replace(spiked, beating=(0,)), 0.02),
        Scenario("rank 0 alone evaluates and saves", replace(spiked, evaluating=(0,)), 0.03),
        Scenario("log-normal steps, sigma 0.5", Job(chance=log_normal(0.5)), 0.03),
        Scenario("log-normal steps, sigma 1", Job(chance=log_normal(1)), 0.03),
        Scenario(
            "log-normal steps, sigma 1, 10 s", Job(chance=log_normal(1), step_s=always(10)), 0.03
        ),
        Scenario(
            "log-normal steps, sigma 0.5, 60 s",
            Job(chance=log_normal(0.5), step_s=always(60)),
            0.03,
        ),
        Scenario("steps grow from 0.05 s to 50 s", Job(step_s=lambda n: 0.05 * 1.003467**n), 0.04),
        Scenario("steps of 1 s become 10 s", Job(step_s=lambda n: 1 if n < 999 else 10), 0.03),
        Scenario(
            "naps of the machine or the supervisor", Job(pause=naps, steps=500), 0.05, dense=True
        ),
        Scenario("never beats", mute, 0.03),
        Scenario("never beats, 60 s a step", replace(mute, step_s=always(60)), 0.02),
        Scenario("never beats, naps", replace(mute, pause=naps), 0.01, dense=True),
        Scenario(
            "never beats, warm-up of 20 min, no rank at work",
            replace(mute, warm_up_s=1200, steps=200, cpu=0.0),
            0.02,
        ),
        Scenario("never beats, never logs", replace(mute, log_every=10**9), 0.01),
        Scenario("all of this at random", Job(), 0.10, drawn=True),
    ]


def drawn(job: Job, rng: random.Random) -> Job:
    """A job drawn at random from all that is healthy."""
    return replace(
        job,
        step_s=always(math.exp(rng.uniform(math.log(0.02), math.log(60)))),
        chance=rng.choice([spikes, log_normal(rng.uniform(0, 0.7))]),
        warm_up_s=rng.choice([5.0, 60.0, 1200.0]),
        evaluate_every=rng.choice([50, 200, 1000]),
        save_every=rng.choice([50, 200, 1000]),
        beats=rng.random() < 0.8,
        phases=rng.random() < 0.7,
        numbers=rng.random() < 0.9,
        beating=rng.choice([None, None, (0,)]),
        evaluating=rng.choice([None, (0,)]),
        log_every=rng.choice([1, 10, 100]),
    )


@dataclass(kw_only=True)
class Tally:
    """What was said of one scenario: of a suspicion once, however long it lasted."""

    steps: int = 0
    looks: int = 0
    suspicions: int = 0
    hung: list[str] = field(default_factory=list)


def watched(scenario: Scenario, steps: int, seed: int) -> Tally:
    """Run jobs of a scenario until they have made so many steps."""
    tally = Tally()
    while tally.steps < steps:
        rng = random.Random(f"{seed} {scenario.name} {tally.steps}")
        job = replace(scenario.job, steps=min(scenario.job.steps, steps - tally.steps))
        if scenario.drawn:
            job = drawn(job, rng)
        policy = HangPolicy(phased=job.beats and job.phases)
        watch = HangState() if scenario.dense else HangState(most_s=math.inf)
        before: Assessment | None = None
        for seen in observations(job, World(), rng, dense=scenario.dense):
            watch = update_state(watch, seen)
            assessment = assess(watch, policy)
            tally.looks += 1
            tally.suspicions += isinstance(assessment, Suspect) and not isinstance(before, Suspect)
            if isinstance(assessment, Hung) and not isinstance(before, Hung):
                tally.hung.append(f"{job}: {assessment.why}")
            before = assessment
        tally.steps += job.steps
    return tally
