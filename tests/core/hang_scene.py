"""A job with a clock that is advanced by hand: what happens to it, and what is said of it."""

from __future__ import annotations

from dataclasses import replace

from hang_jobs import LOOK_S, World

from gpuops.core.hang.detector import HangPolicy, assess
from gpuops.core.hang.observation import HangState, update_state

PHASED, SCRIPT = HangPolicy(phased=True), HangPolicy()
BUSY, QUIET = (1.0,), (0.0,)


class Job:
    """A job of two ranks that is looked at, and what is said of it."""

    def __init__(self, policy=PHASED, ranks=2):
        self.policy = policy
        self.world = World(ranks=ranks)
        self.watch = HangState()
        self.step = 0
        self.sees()

    def sees(self, **changes):
        self.watch = update_state(self.watch, replace(self.world.observed(), **changes))
        return self

    def silent(self, seconds, cpu=BUSY, **changes):
        while seconds > 0:
            look_s = LOOK_S if seconds < 10 else 2 * LOOK_S
            self.world.passes(look_s, cpu)
            self.sees(**changes)
            seconds -= look_s
        return self

    def trains(self, seconds, step_s=0.1, cpu=BUSY, ranks=None):
        """Steps all the while; a beat at the very moment of a look."""
        end_s = self.world.now_s + seconds
        while self.world.now_s < end_s:
            span_s = max(step_s, LOOK_S)
            self.silent(span_s - LOOK_S, cpu)
            self.world.passes(LOOK_S, cpu)
            self.step += round(span_s / step_s)
            self.world.beat(self.step, "train", ranks)
            self.sees()
        return self

    def says(self, phase, ranks=None):
        self.world.beat(self.step, phase, ranks)
        return self.sees()

    def logs(self, seconds, every_s=1.0, cpu=BUSY):
        """Does not beat; logs a line every now and then."""
        for _ in range(round(seconds / every_s)):
            self.silent(every_s - LOOK_S, cpu)
            self.world.passes(LOOK_S, cpu)
            self.world.log_bytes += 60
            self.sees()
        return self

    def states(self, **states):
        """``r0="T"``: the state of a rank's process from now on."""
        self.world.states.update({int(name[1:]): state for name, state in states.items()})
        return self

    @property
    def assessment(self):
        return assess(self.watch, self.policy)

    @property
    def kind(self):
        return type(self.assessment)
