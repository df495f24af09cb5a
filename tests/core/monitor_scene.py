"""A host that is watched, with a clock that is advanced by hand."""

from __future__ import annotations

from dataclasses import replace

from job_processes import RUN, rank, torchrun
from machines import gpu, inventory

from gpuops.core.hang.observation import Observation, RankVitals
from gpuops.core.machine.device import GpuProcess
from gpuops.core.monitor.frame import current_frame
from gpuops.core.monitor.jobs import TrainingJob
from gpuops.core.monitor.monitor import Monitor, update_monitor
from gpuops.core.monitor.sample import JobSample, RunFacts, Sample
from gpuops.heartbeat import Beat

DAY_S = 1_800_000_000.0
RUN_DIR = "/runs/20261121-061230-rvq"
BOB = GpuProcess(pid=99, user="bob", command="python x.py", memory_bytes=1, started_at_s=DAY_S)


class Scene:
    """A job of some ranks, a GPU each, that takes a step a look; and what is seen of it all."""

    def __init__(self, ranks=2, interval_s=2.0, **facts):
        self.clock_s, self.interval_s = 1000.0, interval_s
        self.monitor = Monitor(interval_s=interval_s)
        self.facts = RunFacts(target="rvq", profile="7x4090", **facts)
        self.steps = dict.fromkeys(range(ranks), 0)
        self.beats, self.state, self.attempt = {}, "S", 1
        self.gpus = {index: self.held(index) for index in range(ranks)}
        self.jobs, self.events, self.gaps, self.ended = [0], (), {}, {}
        self.changes, self.supervised, self.between, self.log_bytes = {}, True, (), None

    def held(self, index, **changes):
        """A GPU at work for a rank."""
        used = {"utilization_pct": 97, "power_w": 290.0, "memory_used_bytes": 64 * 1024**3}
        pid = GpuProcess(pid=20 + index, user="mei", memory_bytes=64 * 1024**3)
        return gpu(index, **{**used, "processes": (pid,), **changes})

    def beat(self, *ranks, step=None, phase="train", **said):
        """Some ranks say where they are."""
        for number in ranks or self.steps:
            self.steps[number] = self.steps[number] + 1 if step is None else step
            self.beats[number] = Beat(
                pid=20 + number,
                rank=number,
                step=self.steps[number],
                total_steps=1000,
                loss=said.get("loss", 0.5),
                data_wait=said.get("data_wait"),
                monotonic_s=self.clock_s,
                phase=phase,
            )

    def look(self, after_s=None):
        """A look, some time after the last one."""
        self.clock_s += self.interval_s if after_s is None else after_s
        self.monitor = update_monitor(self.monitor, self.sample())
        self.events, self.ended = (), {}
        return current_frame(self.monitor)

    def starts(self, ago_s):
        """The job's torchrun was started some time ago."""
        self.changes = {"agent": torchrun(started_at_s=DAY_S + self.clock_s - ago_s)}

    def trains(self, looks=8, **said):
        for _ in range(looks):
            self.clock_s += self.interval_s
            self.beat(**said)
            seen = self.look(0.0)
        return seen

    def sample(self):
        vitals = tuple(
            RankVitals(
                rank=number,
                pid=20 + number,
                state=self.state,
                cpu_s=self.clock_s,
                io_bytes=0,
            )
            for number in self.steps
        )
        ranks = tuple(
            rank(20 + number, 10, number, environment=RUN, gpus=(number,) * (number in self.gpus))
            for number in self.steps
        )
        job = TrainingJob(
            user="mei", ours=True, launcher="torchrun", ranks=ranks, agent=torchrun(),
            run_id="20261121-061230-rvq", run_dir=RUN_DIR, attempt=self.attempt,
        )  # fmt: skip
        seen = Observation(
            now_s=self.clock_s,
            beats=tuple(self.beats.values()),
            vitals=vitals,
            log_bytes=self.log_bytes,
        )
        one = JobSample(
            job=replace(job, **self.changes),
            observation=seen,
            facts=self.facts,
            supervised=self.supervised,
            events=self.events,
        )
        gpus = self.gpus.values() if self.jobs else map(gpu, self.gpus)
        return Sample(
            at_s=DAY_S + self.clock_s,
            clock_s=self.clock_s,
            inventory=replace(inventory(*gpus), gaps=self.gaps),
            jobs=tuple(one for _ in self.jobs),
            between=frozenset(self.between),
            ended=self.ended,
            events={RUN_DIR: self.events},
        )

    def notes(self, event, **fields):
        self.events = (*self.events, {"time": DAY_S + self.clock_s, "event": event, **fields})


def words(seen):
    return [change.words for change in seen.changes]


def states(seen):
    return [gpu.state for gpu in seen.gpus]
