"""Whether a job that ended is started again: as it was, differently, or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from signal import SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV

from gpuops.core.diagnosis.diagnosis import Diagnosis, Kind
from gpuops.core.diagnosis.traceback_key import REFUSED
from gpuops.errors import ExitCode

# Failures of the code or its data: they happen again at the same place.
OF_THE_CODE: set[Kind] = {"exception", "nan", "collective mismatch", "python spin"}
OF_THE_CODE |= {"signal", "unknown"}  # some of them
OWN_SIGNALS = {-number for number in (SIGSEGV, SIGABRT, SIGBUS, SIGFPE, SIGILL)}
# What a second start does not fix.
NEVER: set[Kind] = {"out of memory (host)", "shared memory full", "disk full"}
NEVER |= {"file limit", "process limit", "gpu missing"}
# What is raised while a network or a file system is away for some time.
OUTSIDE = {
    "OSError", "TimeoutError", "ConnectionError", "ConnectionRefusedError", "ConnectionResetError",
    "ConnectionAbortedError", "BrokenPipeError", "URLError", "gaierror",
    "DistNetworkError", "DistStoreError", "DistBackendError",
    "RendezvousConnectionError", "RendezvousTimeoutError", "RendezvousClosedError",
}  # fmt: skip
NO_LIBRARY = "cannot open shared object file"  # an OSError, but no file system is away
MAY_HAVE_TRAINED_S = 600.0
"""An attempt that reported no step and lived for so long may have trained all the same."""
UNLOADABLE = {"ImportError", "ModuleNotFoundError", "SyntaxError", "IndentationError", "TabError"}


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """An attempt that has ended without finishing. Times are those of any one clock.

    ``duration_s``: for how long it ran.
    ``first_step`` and ``last_step`` are those that its ranks reported, ``None`` if there are none;
    ``checkpoint_step`` is the newest checkpoint that validates now; ``exitcode`` is that of the
    rank which failed first. ``stopped``: a person asked for the end. ``held_gpus`` are GPUs on
    which a process sits that could not be killed; ``left`` names the processes that outlast it.
    """

    number: int
    ended_s: float
    duration_s: float
    first_step: int | None
    last_step: int | None
    diagnosis: Diagnosis
    traceback_key: str | None
    checkpoint_step: int | None = None
    exitcode: int | None = None
    stopped: bool = False
    held_gpus: tuple[int, ...] = ()
    left: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartPolicy:
    """How often a job is started again that leaves no newer checkpoint behind.

    ``max_restarts`` within ``window_s`` (0: never), ``max_fruitless`` in a row however far apart;
    a newer checkpoint clears both counts. ``backoff_s`` are the pauses, the last for all after it.
    ``max_halvings``: how often the batch is halved when GPU memory runs out.
    """

    max_restarts: int = 5
    window_s: float = 3600.0
    backoff_s: tuple[float, ...] = (1.0, 2.0, 5.0, 15.0, 60.0)
    max_fruitless: int = 20
    max_halvings: int = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart:
    """Start the same plan again, ``after_s`` seconds from now."""

    after_s: float
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Replan:
    """Plan again for the machine as it is then, ``after_s`` seconds from now.

    ``without_gpus`` are all the GPUs to leave alone from now on, as ``--exclude-gpu`` takes them.
    ``halve_batch``: halve the micro-batch of the plan that has just failed, double its passes.
    """

    after_s: float
    why: str
    without_gpus: tuple[str, ...] = ()
    halve_batch: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GiveUp:
    """Do not start it again: ``advice`` is what a user can do."""

    why: str
    advice: str


def decide(
    attempts: Sequence[FailedAttempt], policy: RestartPolicy, now_s: float
) -> Restart | Replan | GiveUp:
    """What follows the last of ``attempts``: all that ended since a person launched the run."""
    last = attempts[-1]
    fruitless = _fruitless(attempts)
    recent = [attempt for attempt in fruitless if now_s - attempt.ended_s <= policy.window_s]
    over = _hopeless(attempts) or _no_restarts_left(
        last, policy, recent=len(recent), all_=len(fruitless)
    )
    if over is not None:
        return over
    pause_s = _pause(policy, len(recent), waited_s=now_s - last.ended_s)
    how = _count(last, policy, len(recent))
    gpus = tuple(dict.fromkeys(_lost(attempts)))
    halvings = sum(attempt.diagnosis.kind == "out of memory (gpu)" for attempt in attempts)
    match last.diagnosis.kind:
        case "out of memory (gpu)" if halvings <= policy.max_halvings:
            why = f"with half the micro-batch; {how}"
            return Replan(after_s=pause_s, why=why, without_gpus=gpus, halve_batch=True)
        case "out of memory (gpu)" if fruitless:
            return GiveUp(
                why=f"even with the micro-batch halved {halvings - 1} times it does not fit: "
                f"{last.diagnosis.why}",
                advice="Take a smaller model or shorter samples, or GPUs with more memory.",
            )
        case kind if kind == "gpu lost" or last.held_gpus:
            where = f"without GPU {', '.join(gpus)}" if gpus else "on the GPUs that answer"
            return Replan(after_s=pause_s, why=f"{where}; {how}", without_gpus=gpus)
        case "port taken":
            why = f"on another port; {how}"
            return Replan(after_s=pause_s, why=why, without_gpus=gpus)
        case _:
            return Restart(after_s=pause_s, why=how)


def _fruitless(attempts: Sequence[FailedAttempt]) -> list[FailedAttempt]:
    """The attempts since one last left a checkpoint that is newer than all before it.

    What was there before the first of them is not known: its own are newer than its first step.
    """
    newest = attempts[0].first_step
    since: list[FailedAttempt] = []
    for attempt in attempts:
        kept = attempt.checkpoint_step
        progressed = kept is not None and newest is not None and kept > newest
        since = [] if progressed else [*since, attempt]
        newest = max(-1 if newest is None else newest, -1 if kept is None else kept)
    return since


def _hopeless(attempts: Sequence[FailedAttempt]) -> GiveUp | None:
    """Whether another attempt makes no sense, however few there were."""
    last = attempts[-1]
    cause = last.diagnosis
    if last.left:
        return GiveUp(
            why=f"{last.left} of attempt {last.number} cannot be ended: two attempts would write "
            "the same run",
            advice="See what they wait for (`ps -o pid,stat,wchan,cmd`); once they have ended, "
            "`gpuops launch --resume RUN` continues it.",
        )
    if any(attempt.stopped for attempt in attempts):
        return GiveUp(
            why="a person stopped it", advice="`gpuops launch --resume RUN` continues it."
        )
    if cause.kind in NEVER:
        return GiveUp(why=cause.why, advice=cause.advice)
    if _refused(attempts):
        return GiveUp(why=f"it cannot start: {cause.why}", advice=cause.advice)
    if (earlier := _same_failure(attempts)) is not None:
        where = "before its first step" if last.last_step is None else f"at step {last.last_step}"
        return GiveUp(
            why=f"the same failure {where} in attempts {earlier.number} and {last.number}: it "
            f"would come back every time: {cause.why}",
            advice=cause.advice,
        )
    return None


def _refused(attempts: Sequence[FailedAttempt]) -> bool:
    """Whether the program will not even load, or does not take its settings.

    torchrun has no data and no settings of its own: what it raises itself it raises every time.
    """
    last = attempts[-1]
    cause, raised = last.diagnosis, _raised(last.traceback_key or "")
    unloadable = raised in {*UNLOADABLE, REFUSED} or NO_LIBRARY in cause.why
    starting = cause.rank is None or _imports(last.traceback_key or "")
    unable = cause.kind == "exception" and starting and raised not in OUTSIDE
    trained = any(attempt.last_step not in {None, attempt.first_step} for attempt in attempts)
    return (unloadable or unable or last.exitcode == ExitCode.USAGE) and not trained


def _imports(key: str) -> bool:
    """Whether a module that another one imports raised it itself, and no function that it calls."""
    frames = key.split(" ")[-2:]
    return len(frames) == 2 and all(frame.endswith(":<module>") for frame in frames)


def _same_failure(attempts: Sequence[FailedAttempt]) -> FailedAttempt | None:
    """An earlier attempt that failed in the same way, with none between them that got further."""
    *others, last = attempts
    if (key := _defect_key(last)) is not None:
        for earlier in reversed(others):
            if _defect_key(earlier) == key:
                return earlier
            if _reached(earlier) > _reached(last):
                break
    return None


def _defect_key(attempt: FailedAttempt) -> tuple[str, int] | None:
    """The key of a defect, equal for two ends of it; ``None`` if chance may be the cause."""
    kind, key, code = attempt.diagnosis.kind, attempt.traceback_key, attempt.exitcode or 0
    if kind not in OF_THE_CODE or (kind == "signal" and code not in OWN_SIGNALS):
        return None
    if key is not None:
        return None if _raised(key) in OUTSIDE else (key, _reached(attempt))
    if kind == "signal":  # of its own: at the start, what it loads crashes every time
        unclear = attempt.last_step is None and attempt.duration_s > MAY_HAVE_TRAINED_S
        return None if unclear else (f"signal {-code}", _reached(attempt))
    unclear = attempt.last_step is None or (kind == "unknown" and code <= 0)
    return None if unclear else (kind, _reached(attempt))


def _raised(key: str) -> str:
    return key.partition(" ")[0].rpartition(".")[2]


def _reached(attempt: FailedAttempt) -> int:
    return -1 if attempt.last_step is None else attempt.last_step


def _no_restarts_left(
    last: FailedAttempt, policy: RestartPolicy, *, recent: int, all_: int
) -> GiveUp | None:
    cause = last.diagnosis
    if not policy.max_restarts:
        why = f"restarts are switched off: {cause.why}"
    elif recent > policy.max_restarts:
        span = f"{policy.window_s / 60:.0f} min"
        why = f"it ended {recent} times within {span} without a newer checkpoint: {cause.why}"
    elif all_ > max(policy.max_fruitless, policy.max_restarts):
        why = f"it ended {all_} times in a row without a newer checkpoint: {cause.why}"
    else:
        return None
    return GiveUp(why=why, advice=cause.advice)


def _pause(policy: RestartPolicy, tries: int, *, waited_s: float) -> float:
    """No pause after an attempt that made progress; else longer with each that did not."""
    if not tries or not policy.backoff_s:
        return 0.0
    pause_s = policy.backoff_s[min(tries, len(policy.backoff_s)) - 1]
    return min(pause_s, max(0.0, pause_s - waited_s))


def _count(last: FailedAttempt, policy: RestartPolicy, tries: int) -> str:
    if not tries and last.checkpoint_step is not None:
        return f"from the checkpoint of step {last.checkpoint_step}"
    return f"restart {max(1, tries)} of {policy.max_restarts} without a newer checkpoint"


def _lost(attempts: Sequence[FailedAttempt]) -> Iterator[str]:
    for attempt in attempts:
        if attempt.diagnosis.kind == "gpu lost" and attempt.diagnosis.gpu is not None:
            yield str(attempt.diagnosis.gpu)
        yield from (str(gpu) for gpu in attempt.held_gpus)
