"""One long job with many faults, and the commands that keep it going.

Only what gpuops asks for is typed: `supervise` if the supervisor was killed, `launch --resume`
after 'given up', after a stop, and if `supervise` says so.
"""

from __future__ import annotations

import random
import signal
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from chaos_schedule import Strike
from chaos_waiter import Waiter

from gpuops.core.drill import RANKS
from gpuops.core.run import paths
from gpuops.drill.outside import fill_locks, open_locks, suspend, take_port
from gpuops.drill.scene import POLL_S, Process, Scene, wait_or_kill
from gpuops.errors import ExitCode
from gpuops.system.processes.identity import Identity
from gpuops.system.processes.process import Job
from gpuops.system.runs import events, records, supervisor_lock

SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP, "segv": signal.SIGSEGV}
STUCK_S = 180.0
"""A run without a step, a fault or a command for so long is lost."""
MOST_REFUSALS = 6
MOST_REACTION_S = 2.0
WITHDRAWN_S = 6.0
"""After so long a suspended supervisor is continued, and a closed folder of locks opened."""


@dataclass(slots=True, kw_only=True)
class Typed:
    """A command, how it ended, and what was unexpected about that."""

    words: str
    at_s: float
    code: int | None = None
    wrong: str = ""


class Person:
    """Causes the faults of a schedule, and types what gpuops asks for."""

    def __init__(self, scene: Scene, strikes: Sequence[Strike]) -> None:
        """All that is not typed goes to ``scene.wrong``."""
        self.typed: list[Typed] = []
        self.lost = ""
        self._scene, self._strikes, self._todo = scene, strikes, deque(strikes)
        self._inside = [strike.word for strike in strikes if not strike.outside]
        self._child: Process | None = None
        self._killed = False
        self._stop: Process | None = None
        self._waiter = Waiter(scene)
        self._withdraw: deque[tuple[float, Callable[[], None]]] = deque()
        self._port: tuple[socket.socket, int] | None = None
        self._last: Strike | None = None
        self._due_s: float | None = None
        self._next: tuple[float, str] | None = None
        self._refusals = 0
        self._step, self._size = 0, 0
        self._moved: tuple[int, ...] = ()
        self._moved_s = time.monotonic()

    def see_through(self) -> None:
        """Keep the job going from the launch to its end."""
        self._take(self._scene.launch(self._inside), "launch")
        while not self.lost:
            self._look()
            self._advance()
            self._withdraw_strikes()
            self._waiter.look(going=self._goes_on)
            if self._child is not None and (code := self._child.poll()) is not None:
                self.typed[-1].code = code
                self._child = None
                if self._over(code):
                    break
            if self._next is not None and time.monotonic() >= self._next[0]:
                self._type(self._next[1])
            time.sleep(POLL_S)
        while self._waiter.there:
            self._waiter.look(going=False)
            time.sleep(POLL_S)
        if self._port is not None:
            self._port[0].close()

    # ------------------------------------------------------------------------------------ strikes

    def _advance(self) -> None:
        """Cause the next fault, if its moment has come."""
        while self._todo and self._scene.mark(self._todo[0].word):
            self._last, self._due_s = self._todo.popleft(), None
        plan = self._scene.plan
        if plan is None or not self._todo or not self._todo[0].outside:
            return
        strike = self._todo[0]
        if self._due_s is None and self._has_come(strike, plan["attempt"]):
            self._due_s = time.monotonic() + strike.delay_s
        if self._due_s is not None and time.monotonic() >= self._due_s:
            self._commit(strike, plan["attempt"], plan["master_port"])

    def _has_come(self, strike: Strike, attempt: int) -> bool:
        mark = self._scene.mark(self._last.word) if self._last is not None else None
        match strike.moment:
            case "training":
                return self._step >= strike.step
            case "stopping":
                if self._step < strike.step or self._child is None:
                    return False
                self._stop = self._scene.gpuops("stop", str(self._scene.root))
                return True
            case "together":
                return True
            case "starting":
                struck = int(mark["attempt"].rpartition("-")[2]) if mark else 0
                return attempt > struck
            case "restarting":
                return mark is not None and any(
                    event["event"] in {"restart", "replan", "giveup"}
                    and event["time"] >= mark["time"]
                    for event in events.read(self._root)
                )

    def _commit(self, strike: Strike, attempt: int, port: int) -> None:
        """Cause the fault; later if its target does not exist yet."""
        job = Job(self._root / paths.state(attempt))
        acts: dict[str, Callable[[], bool]] = {
            "supervisor": self._kill_supervisor,
            "suspend": self._suspend_supervisor,
            "port": lambda: self._take_port(port),
            "locks": self._fill_locks,
            "waiter": self._waiter.stand_in_line,
            "agent": lambda: _kill(job.agent),
            "reaper": lambda: _kill(job.reaper),
            "orphans": lambda: _kill(job.reaper, job.agent),
        }
        number = SIGNALS.get(strike.fault.name, signal.SIGKILL)
        act = acts.get(
            strike.fault.name, lambda: _kill(job.ranks().get(strike.rank), number=number)
        )
        if act():
            self._scene.set_mark(strike.word, attempt)

    def _kill_supervisor(self) -> bool:
        if self._child is None or supervisor_lock.holder(self._root) is None:
            return False
        self._child.kill()
        self._killed = True
        return True

    def _suspend_supervisor(self) -> bool:
        child = self._child
        if child is None or supervisor_lock.holder(self._root) is None:
            return False
        suspend(child)
        if self._stop is None:  # else that command has to continue it
            self._withdraw_later(lambda: child.send_signal(signal.SIGCONT))
        return True

    def _take_port(self, port: int) -> bool:
        if (taken := take_port(port)) is None:
            return False
        self._port = (taken, self._step)
        return True

    def _fill_locks(self) -> bool:
        fill_locks(self._scene.locks)
        self._withdraw_later(lambda: open_locks(self._scene.locks))
        return True

    def _withdraw_later(self, act: Callable[[], None]) -> None:
        self._withdraw.append((time.monotonic() + WITHDRAWN_S, act))

    def _withdraw_strikes(self) -> None:
        """End the faults that last for a while."""
        while self._withdraw and time.monotonic() >= self._withdraw[0][0]:
            self._withdraw.popleft()[1]()

    # -------------------------------------------------------------------------------------- words

    def _type(self, words: str) -> None:
        resumes = words == "launch --resume"
        if resumes and self._waiter.there:
            return  # the GPUs go to it first
        scene, self._next = self._scene, None
        child = scene.resume() if resumes else scene.gpuops(words, str(scene.root))
        self._take(child, words)

    def _take(self, child: Process, words: str) -> None:
        self._child, self._killed = child, False
        self.typed.append(Typed(words=words, at_s=time.time()))

    def _over(self, code: int) -> bool:
        """Choose the next command after one has ended; return whether there is none."""
        said, stopped = self.typed[-1], self._stop is not None
        if self._stop is not None:
            wait_or_kill(self._stop)
            self._stop = None
            if self._lives and code != -signal.SIGKILL:
                said.wrong = "it was stopped, and still runs"
        if self._finished:
            if code and not self._killed:
                said.wrong = f"it finished, and `{said.words}` ended with code {code}"
            return True
        refused = code == ExitCode.USAGE and said.words != "launch"
        self._refusals = self._refusals + 1 if refused else 0
        if self._refusals > MOST_REFUSALS or self._scene.root is None:
            self.lost = f"`{said.words}` ended with code {code}: nothing gets it going again"
            return True
        expected = refused or (self._killed and code == -signal.SIGKILL)
        expected |= stopped and code in {128 + signal.SIGTERM, -signal.SIGKILL}
        expected |= code == ExitCode.GAVE_UP and self._may_give_up
        if not expected:
            said.wrong = f"`{said.words}` ended with code {code}"
        unwatched = (self._killed and not stopped) or (refused and said.words != "supervise")
        words = "supervise" if unwatched else "launch --resume"
        reaction_s = random.Random(f"{len(self.typed)} {self._inside}").uniform(0, MOST_REACTION_S)  # noqa: S311
        self._next = (time.monotonic() + reaction_s, words)
        return False

    @property
    def _root(self) -> Path:
        assert self._scene.root is not None
        return self._scene.root

    @property
    def _goes_on(self) -> bool:
        """Whether a command or the job itself lives, or a command that adopts it comes next."""
        adopts = self._next is not None and self._next[1] == "supervise"
        return self._child is not None or adopts or self._lives

    @property
    def _lives(self) -> bool:
        attempts = records.attempts(self._scene.root) if self._scene.root is not None else ()
        return bool(attempts) and attempts[-1].alive

    @property
    def _finished(self) -> bool:
        record = records.load(self._scene.root) if self._scene.root is not None else None
        finished = record is not None and record.status == "finished"
        return finished and len(self._scene.weights()) == RANKS

    @property
    def _may_give_up(self) -> bool:
        """Whether the newest attempt had a fault that no restart can fix."""
        attempt = f"{paths.ATTEMPT}{records.attempts(self._root)[-1].number}"
        marks = [
            self._scene.mark(strike.word)
            for strike in self._strikes
            if strike.fault.then == "given up"
        ]
        return any(mark["attempt"] == attempt for mark in marks if mark)

    def _look(self) -> None:
        """Read the progress; a run that makes none for too long is lost."""
        journal = self._scene.notes / "steps.jsonl"
        size = journal.stat().st_size if journal.exists() else 0
        if size != self._size and (steps := self._scene.steps()):
            self._step, self._size = steps[-1].number, size
        if self._port is not None and self._step != self._port[1]:
            self._port[0].close()  # it was not to be had, and is free again
            self._port = None
        moved = (size, len(self._todo), len(self.typed))
        if moved != self._moved:
            self._moved, self._moved_s = moved, time.monotonic()
        if time.monotonic() - self._moved_s > STUCK_S:
            self.lost = f"for {STUCK_S:.0f} s nothing moved after step {self._step}"


def _kill(*struck: Identity | None, number: int = signal.SIGKILL) -> bool:
    """Signal processes so that none of them sees another one end; later if one is missing."""
    found = [one for one in struck if one is not None and one.alive]
    if len(found) < len(struck):
        return False
    for sent in (signal.SIGSTOP, number) if len(found) > 1 else (number,):
        for one in found:
            one.send(sent)
    return True
