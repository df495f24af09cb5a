"""What went wrong, as one value: JSON for programs, a page for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from gpuops.core.diagnosis.culprit import Attribution, Group, HangKind

Kind = Literal[
    HangKind, "gpu lost", "gpu missing", "out of memory (gpu)", "out of memory (host)",
    "shared memory full", "disk full", "file limit", "process limit", "nan", "exception", "signal",
    "port taken",
]  # fmt: skip
KINDS: tuple[Kind, ...] = get_args(Kind)

ADVICE: Mapping[Kind, str] = {
    "rank stopped": "Continue it with `kill -CONT PID`, or find out who stopped it.",
    "stuck in I/O": "Check that what it reads or calls responds: disk, network, program.",
    "python spin": "Look at the loop at that line: it does not end, or takes far too long.",
    "data loader starved": "Check that the data can be read, and that the workers run.",
    "collective mismatch": "All ranks must call the same collectives with the same shapes in the "
    "same order: look for a condition that differs between ranks before that line.",
    "peer died": "Look at the log of the rank that ended first: the others only noticed.",
    "gpu lost": "Leave the GPU out with `--exclude-gpu` until it has been reset or checked.",
    "gpu missing": "Launch it with a profile that has GPUs (`gpuops profiles list`), or let the "
    "script use the CPU if `torch.cuda.is_available()` says no.",
    "out of memory (gpu)": "Halve the micro-batch and double the accumulation, or shorten windows.",
    "out of memory (host)": "Give the job more memory (Docker: `--memory`, Slurm: `--mem`), or "
    "fewer loader workers.",
    "shared memory full": "Give /dev/shm more room (`--shm-size` of a container, else "
    "`sudo mount -o remount,size=16G /dev/shm`), or use fewer loader workers.",
    "file limit": "Type `ulimit -n 65536` before the launch; limits.conf sets the hard limit.",
    "process limit": "Type `ulimit -u 65536` before the launch (limits.conf sets the hard limit; "
    "in a container: `--pids-limit`), or use fewer ranks and loader workers.",
    "nan": "Lower the learning rate, or look at the data of that step; continue from the last "
    "checkpoint with `--resume`.",
    "exception": "Fix what the traceback names, then launch with `--resume`.",
    "disk full": "Free space where the run writes (`df -h` shows how much there is), then launch "
    "with `--resume`.",
    "signal": "Find out who or what sent it; `--resume` continues from the last checkpoint.",
    "port taken": "Another job holds the port: launch again, or choose one with `--master-port`.",
    "unknown": "Look at the logs of all ranks, and at their stacks if there are any.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why a job hangs or has ended. ``rank`` is ``None`` if the cause is not a single rank.

    ``place`` is the line of source, ``advice`` one sentence. If it is not ``sure``, it is a guess,
    and shown as one.
    """

    kind: Kind
    rank: int | None
    pid: int | None = None
    gpu: int | None = None
    place: str | None = None
    why: str
    advice: str
    groups: tuple[Group, ...] = ()
    evidence: tuple[str, ...] = ()
    sure: bool

    @property
    def hopeless(self) -> bool:
        """Whether the job waits for something that can never come, so that it can be ended now."""
        return self.sure and self.kind in {"collective mismatch", "peer died", "gpu lost"}


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedWell:
    """A run that ended with nothing wrong: how, and what was wrong before, if it was restarted."""

    run: str
    why: str
    earlier: Diagnosis | None


def diagnose_hang(
    attribution: Attribution, gpus: Mapping[int, int] | None = None, evidence: Sequence[str] = ()
) -> Diagnosis:
    """Diagnose a hung job. ``gpus``: each rank's GPU index; ``evidence``: further lines of it."""
    culprit = attribution.culprit
    advice = ADVICE[culprit.kind]
    if culprit.pid is not None:
        advice = advice.replace("PID", str(culprit.pid))
    agreed = [f"{culprit.agree} of {culprit.of} other ranks wait for it"]
    agreed = agreed if culprit.rank is not None and culprit.of else []
    return Diagnosis(
        kind=culprit.kind,
        rank=culprit.rank,
        pid=culprit.pid,
        gpu=None if culprit.rank is None else (gpus or {}).get(culprit.rank),
        place=culprit.place,
        why=culprit.why,
        advice=advice,
        groups=attribution.groups,
        evidence=(*agreed, *evidence, *attribution.evidence),
        sure=culprit.sure,
    )


def from_json(fields: Mapping[str, Any]) -> Diagnosis | None:
    """A diagnosis from the fields of a file; ``None`` if they are not one."""
    why, advice = fields.get("why"), fields.get("advice")
    kind = next((kind for kind in KINDS if kind == fields.get("kind")), None)
    if kind is None or not isinstance(why, str) or not isinstance(advice, str):
        return None
    place = fields.get("place")
    return Diagnosis(
        kind=kind,
        rank=_number(fields, "rank"),
        pid=_number(fields, "pid"),
        gpu=_number(fields, "gpu"),
        place=place if isinstance(place, str) else None,
        why=why,
        advice=advice,
        groups=tuple(
            Group(
                frames_key=tuple(map(str, _list(group, "frames_key"))),
                ranks=tuple(rank for rank in _list(group, "ranks") if isinstance(rank, int)),
                place=str(group.get("place", "")),
                waits_for=str(group["waits_for"]) if group.get("waits_for") else None,
            )
            for group in _list(fields, "groups")
            if isinstance(group, dict)
        ),
        evidence=tuple(map(str, _list(fields, "evidence"))),
        sure=fields.get("sure") is True,
    )


def format_page(diagnosis: Diagnosis) -> str:
    """The diagnosis as Markdown: what, why, what to do, and the evidence."""
    why = diagnosis.why[:1].upper() + diagnosis.why[1:]
    lines = [f"# {format_title(diagnosis)}", "", f"{why}."]
    if not diagnosis.sure:
        lines += ["", "This is not sure: the evidence below fits other causes as well."]
    lines += ["", f"What to do: {diagnosis.advice}"]
    if diagnosis.place:
        lines += ["", f"Place: `{diagnosis.place}`"]
    if diagnosis.groups:
        lines += ["", "## Where the ranks are"]
    for group in diagnosis.groups:
        ranks = ", ".join(map(str, group.ranks))
        waits = f", waiting: {group.waits_for}" if group.waits_for else ""
        lines += ["", f"Rank {ranks}{waits}", "", *(f"    {frame}" for frame in group.frames_key)]
    if diagnosis.evidence:
        lines += ["", "## Evidence", "", *(f"    {line}" for line in diagnosis.evidence)]
    return "\n".join(lines) + "\n"


def format_title(diagnosis: Diagnosis) -> str:
    """``Python spin: rank 1 (GPU 1, PID 4715)``, followed by ``, unsure`` if it is a guess."""
    ids = {"GPU": diagnosis.gpu, "PID": diagnosis.pid}
    known = ", ".join(f"{name} {number}" for name, number in ids.items() if number is not None)
    who = "" if diagnosis.rank is None else f": rank {diagnosis.rank}"
    what = diagnosis.kind[0].upper() + diagnosis.kind[1:]
    return what + who + (f" ({known})" if known else "") + ("" if diagnosis.sure else ", unsure")


def _list(fields: Mapping[str, Any], name: str) -> list[Any]:
    value = fields.get(name)
    return list(value) if isinstance(value, (list, tuple)) else []


def _number(fields: Mapping[str, Any], name: str) -> int | None:
    value = fields.get(name)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
