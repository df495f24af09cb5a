"""How one rank failed: on its own, or because another had failed before."""

from __future__ import annotations

import re
import signal as signals
from dataclasses import dataclass

from gpuops.core.diagnosis.diagnosis import Kind
from gpuops.core.diagnosis.stderr_tail import StderrTail, parse_stderr
from gpuops.core.diagnosis.torchrun_failure import RankEnd, signal_name
from gpuops.errors import ExitCode

ASKED = {signals.SIGTERM, signals.SIGINT, signals.SIGHUP}
SHOWN_LENGTH = 300


@dataclass(frozen=True, slots=True)
class Symptom:
    """A text that reveals a kind of failure. ``peer``: it appears when another rank has failed.

    ``raised_in``: the file or the line of code that must have raised it, if the text alone can mean
    something else.
    """

    kind: Kind
    pattern: str
    why: str
    advice: str = ""
    peer: bool = False
    raised_in: str = ""

    def explains(self, words: StderrTail) -> bool:
        """Whether it is in the text, raised where it must be."""
        file = words.frames[0].file if words.frames else ""
        place = re.search(self.raised_in, f"{file}\n{words.source}", re.MULTILINE)
        return bool(re.search(self.pattern, words.text) and place)


@dataclass(frozen=True, slots=True, kw_only=True)
class RankFailure:
    """How one rank failed: ``why`` follows its name. ``consequence``: another had failed before."""

    kind: Kind
    why: str
    advice: str = ""
    end: RankEnd
    words: StderrTail
    consequence: bool = False
    sure: bool = True


SYMPTOMS = (
    Symptom(
        "out of memory (gpu)",
        r"CUDA out of memory|OutOfMemoryError|CUDA error: out of memory|CUBLAS_STATUS_ALLOC_FAILED",
        "ran out of GPU memory",
    ),
    Symptom(
        "file limit",
        r"Too many open files|\[Errno 2[34]\]|object file: Error 24|received \d+ items of ancdata",
        "ran out of file handles",
    ),
    Symptom(
        "process limit",
        r"can't start new thread|[Tt]hread creation failed|pthread_create failed"
        r"|fork: .*temporarily unavailable|(?:RuntimeError|what\(\)): +Resource temporarily",
        "ran out of processes and threads",
    ),
    Symptom(  # of a socket or a lock, EAGAIN means something else
        "process limit",
        r"Resource temporarily unavailable",
        "ran out of processes and threads",
        raised_in=r"/(?:popen_\w+|subprocess|forkserver|pty)\.py$|\bfork(?:pty)?\(|\bposix_spawnp?\(",
    ),
    Symptom(
        "out of memory (host)",
        r"unable to mmap .*Cannot allocate memory",
        "ran out of host memory, or of mappings",
        "Try `sudo sysctl vm.max_map_count=1048576`, more memory, or fewer loader workers.",
    ),
    Symptom(
        "shared memory full",
        r"worker.* is killed by signal: Bus error|out of shared memory|unable to mmap .*torch_"
        r"|unable to (?:write to|open|resize|stretch) file </?torch_|allocate shared memory\(shm\)"
        r"|/dev/shm.*No space left|No space left.*/dev/shm|(?:extend|memory segment) /dev/shm",
        "ran out of shared memory (/dev/shm)",
    ),
    Symptom(
        "shared memory full",
        r"No space left on device",
        "ran out of shared memory (/dev/shm)",
        raised_in=r"/multiprocessing/(?:synchronize|heap|shared_memory)\.py$",
    ),
    Symptom(
        "out of memory (host)",
        r"\b(?:_Array)?MemoryError\b|DefaultCPUAllocator: |Cannot allocate memory|std::bad_alloc"
        r"|worker.* is killed by signal: Killed",
        "ran out of host memory",
    ),
    Symptom(
        "out of memory (host)",
        r"failed to map segment from shared object(?!: Operation not permitted)",
        "ran out of address space",
        "Type `ulimit -v unlimited` before the launch.",
    ),
    Symptom("disk full", r"No space left on device|StorageFull", "could not write"),
    Symptom(
        "disk full",
        r"Disk quota exceeded",
        "has used up the disk quota",
        "Delete files of yours where the run writes (`quota -s` shows how much), then launch with "
        "`--resume`.",
    ),
    Symptom(
        "disk full",
        r"File too large",
        "met the limit of a file's size",
        "Type `ulimit -f unlimited`, then launch with `--resume`.",
    ),
    Symptom(
        "gpu missing",
        r"No CUDA GPUs are available|not compiled with CUDA|Found no NVIDIA driver"
        r"|no CUDA-capable device|cuda\.is_available\(\) is False|no GPUs found|[Rr]equires a GPU"
        r"|NCCL built.?in|access accelerator device when none|No supported gpu backend"
        r"|torch\._C' has no attribute '_cuda"
        r"|(?i:\bcuda (?:is )?(?:not |un)available|\bcuda is required|used on cuda devices)",
        "asked for a GPU, and the CPU profile gives it none",
    ),
    Symptom(
        "gpu missing",
        r"^AssertionError",
        "asked for a GPU, and the CPU profile gives it none",
        raised_in=r"^assert .*cuda\.is_available\(\)",
    ),
    Symptom(  # by the interpreter, before a program runs: no traceback
        "exception",
        r"(?m)^\S*/\S*: (?:No module named |Error while finding module specification )",
        "could not start",
        "Correct the name after `-m`, or launch from the folder that holds the module.",
    ),
    Symptom(  # the rendezvous is C++, its error has no errno of Python
        "exception",
        r"\[Errno 98\]",
        "opens a port of its own that is taken",
        "Neither two ranks nor two jobs can open one port: let rank 0 alone open it, or let the "
        "system choose one (port 0).",
    ),
    Symptom("port taken", r"EADDRINUSE|[Aa]ddress already in use", "found its port taken"),
    Symptom(
        "gpu lost",
        r"GPU is lost|fallen off the bus|[Uu]ncorrectable ECC error|CUDA error: (?:unknown error"
        r"|hardware stack error|.*NVLink)",
        "lost its GPU",
    ),
    Symptom(
        "exception",
        r"device-side assert triggered|illegal memory access|misaligned address",
        "failed in a GPU kernel, often because of an index out of range",
        "Run it with CUDA_LAUNCH_BLOCKING=1, so that the traceback names the right line.",
    ),
    Symptom(
        "collective mismatch",
        r"collective mismatch|mismatch between collectives|op\.preamble\.length <= op\.nbytes",
        "met a different collective or different shapes on another rank",
    ),
    Symptom(
        "unknown",
        r"Watchdog caught collective operation timeout|[Tt]imed out waiting .*(?:recv|send|gloo)"
        r"|gloo/.*[Tt]imeout|[Tt]imeout at NCCL|monitoredBarrier",
        "waited for the other ranks until the collective's timeout",
        "Launch it with gpuops, which reads the stacks before the timeout and names the rank.",
        peer=True,
    ),
    Symptom(
        "peer died",
        r"gloo/transport|NCCL error|NCCL communicator was aborted|nccl(?:Remote|System)Error"
        r"|DistBackendError|DistStoreError|DistNetworkError|TCPStore|ProcessGroup(?:NCCL|Gloo)",
        "lost its connection to the other ranks",
        peer=True,
    ),
)
NAN = Symptom(
    "nan", r"(?i)\bnot finite\b|\bnon-?finite\b|\bnan\b", "met a value that is not finite"
)
_COLLECTIVES = "/torch/distributed/"
_NATIVE = "Native code crashed: check which package the line calls, and its version."
_MAPPED = "Check that /dev/shm and the disk have room: a mapped file could not be read or written."
_REFUSED = "Correct the command line or the setting that it names."


def classify_end(
    end: RankEnd,
    *,
    host_oom: bool | None,
    shm_full: bool = False,
    threads_refused: bool = False,
) -> RankFailure | None:
    """Classify by its stderr, else by its signal or exit code. ``None``: it did not fail."""
    if end.exitcode == 0:
        return None
    words = parse_stderr(end.stderr_tail)
    if end.killed_by == signals.SIGKILL:  # its stderr did not end it
        return _killed(end, words, host_oom=host_oom)
    return (
        _by_words(end, words)
        or _by_signal(end, words, shm_full=shm_full, threads_refused=threads_refused)
        or _by_code(end, words)
    )


def find_symptom(words: StderrTail, *, has_gpu: bool = True) -> Symptom | None:
    """The first symptom in a text; ``NAN`` only if it ended the program, since logs contain it.

    A GPU that was given and cannot be used is not ``gpu missing``: the GPU or the script is wrong.
    """
    ended = words.type is not None or words.sentence
    found = [symptom for symptom in SYMPTOMS if symptom.explains(words)]
    found += [NAN] if ended and NAN.explains(words) else []
    return next((one for one in found if one.kind != "gpu missing" or not has_gpu), None)


def _by_words(end: RankEnd, words: StderrTail) -> RankFailure | None:
    if words.type == "KeyboardInterrupt":
        return _asked_to_end(end, words, signals.SIGINT)
    if (symptom := find_symptom(words, has_gpu=end.gpu is not None)) is not None:
        # Without any of these the text is just the last lines of a log.
        explains = words.type is not None or words.sentence or end.killed_by is not None
        return RankFailure(  # if two collectives do not match, either may be the wrong one
            kind=symptom.kind,
            why=f"{symptom.why}: {shorten(words.message)}",
            advice=words.hint or symptom.advice,
            end=end,
            words=words,
            consequence=symptom.peer,
            sure=explains and symptom.kind != "collective mismatch",
        )
    if words.type is None:
        return None
    peer = bool(words.frames) and _COLLECTIVES in words.frames[0].file
    return RankFailure(
        kind="peer died" if peer else "exception",
        why=f"raised {shorten(words.message)}",
        end=end,
        words=words,
        consequence=peer,
    )


def _by_signal(
    end: RankEnd, words: StderrTail, *, shm_full: bool, threads_refused: bool
) -> RankFailure | None:
    if end.killed_by is None:
        return None
    if end.killed_by in ASKED:
        return _asked_to_end(end, words, end.killed_by)
    if end.killed_by == signals.SIGBUS and shm_full:
        why = "ran out of shared memory: it crashed with SIGBUS, and /dev/shm is full"
        return RankFailure(kind="shared memory full", why=why, end=end, words=words)
    if end.killed_by == signals.SIGABRT and threads_refused:  # C++ does not say what it lacked
        why = "ran out of processes and threads: it crashed with SIGABRT, and the limit is too low"
        return RankFailure(kind="process limit", why=why, end=end, words=words)
    why = f"crashed with {signal_name(-end.killed_by)}"
    advice = _MAPPED if end.killed_by == signals.SIGBUS else _NATIVE
    return RankFailure(kind="signal", why=why, advice=advice, end=end, words=words)


def _by_code(end: RankEnd, words: StderrTail) -> RankFailure | None:
    if end.exitcode is None:
        return None
    why = f"ended with exit code {end.exitcode}"
    if words.sentence:
        why += f": {shorten(words.message)}"
    refused = end.exitcode == ExitCode.USAGE
    known = words.sentence or refused
    return RankFailure(
        kind="exception" if known else "unknown",
        why=why,
        advice=words.hint or (_REFUSED if refused else ""),
        end=end,
        words=words,
        sure=known,
    )


def _asked_to_end(end: RankEnd, words: StderrTail, number: int) -> RankFailure:
    why = f"was asked to end by {signal_name(-number)}"
    return RankFailure(kind="signal", why=why, end=end, words=words, consequence=True)


def _killed(end: RankEnd, words: StderrTail, *, host_oom: bool | None) -> RankFailure:
    if host_oom:
        why = "was killed by the kernel (SIGKILL): out of host memory"
        return RankFailure(kind="out of memory (host)", why=why, end=end, words=words)
    by = "and not by the kernel for lack of memory"
    if host_oom is None:
        by = "perhaps by the kernel for lack of memory, which is not visible here"
    why = f"was killed from outside (SIGKILL), {by}"
    return RankFailure(kind="signal", why=why, end=end, words=words, sure=host_oom is False)


def shorten(text: str) -> str:
    """The text, cut to fit into a sentence."""
    return text if len(text) <= SHOWN_LENGTH else text[: SHOWN_LENGTH - 1] + "…"
