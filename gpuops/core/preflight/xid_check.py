"""Recent Xid errors of the chosen GPUs, in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from gpuops.core.finding import Finding, ok, warning
from gpuops.core.machine.device import Device, Xid
from gpuops.core.machine.xids import MEANINGS, REMEDIES, UNKNOWN, Remedy

DAY_S = 86_400.0
# A program's own error says little about the GPU, and less every day.
RECENT_S: dict[Remedy, float] = {"none": DAY_S, "look": 7 * DAY_S}


def check_xid(gpus: Sequence[Device], now_s: float | None) -> Finding | None:
    """Recent errors of the chosen GPUs; programs' own errors are reported without a warning."""
    recent = {gpu.index: found for gpu in gpus if (found := _recent(gpu, now_s))}
    if not recent:
        return None
    summary = "; ".join(f"GPU {gpu}: {_format_xids(xids, now_s)}" for gpu, xids in recent.items())
    codes = sorted({xid.code for xids in recent.values() for xid in xids})
    measured = ", ".join(f"Xid {code}" for code in codes)
    worst = max(map(_remedy, codes), key=REMEDIES.index)
    if worst == "none":
        return ok("xid", summary, measured=measured)
    sick = [str(gpu) for gpu, xids in recent.items() if worst in {_remedy(x.code) for x in xids}]
    return warning("xid", summary, _hint(worst, ",".join(sick)), measured=measured, wanted="none")


def _hint(worst: Remedy, gpus: str) -> str:
    until = f"Until then: `--exclude-gpu {gpus}`."
    if worst == "restart":
        again = "if it falls off again, reseat or replace it"
        return f"Switch the host off and on before you use it; {again}. {until}"
    if worst == "reset":
        reset = f"`sudo nvidia-smi --gpu-reset -i {gpus}`, with nothing running on it"
        return f"Reset it before you use it: {reset}. {until}"
    return f"`nvidia-smi -q -d ECC,ROW_REMAPPER -i {gpus}` shows the state of its memory."


def _format_xids(recent: Sequence[Xid], now_s: float | None) -> str:
    """Each code once: how often, its meaning, and when it last came."""
    times = Counter(xid.code for xid in recent)
    return ", ".join(
        f"Xid {code}{f' ({count} times)' if count > 1 else ''}, "
        f"{MEANINGS.get(code, UNKNOWN)[0]}{_ago(recent, code, now_s)}"
        for code, count in times.items()
    )


def _recent(gpu: Device, now_s: float | None) -> list[Xid]:
    return [
        xid
        for xid in gpu.xids or ()
        if now_s is None or now_s - xid.at_s <= RECENT_S.get(_remedy(xid.code), RECENT_S["look"])
    ]


def _remedy(code: int) -> Remedy:
    return MEANINGS.get(code, UNKNOWN)[1]


def _ago(xids: Iterable[Xid], code: int, now_s: float | None) -> str:
    if now_s is None:
        return ""
    passed = max(0.0, now_s - max(xid.at_s for xid in xids if xid.code == code))
    for unit, seconds in (("d", DAY_S), ("h", 3600.0), ("min", 60.0)):
        if passed >= seconds:
            return f" ({passed // seconds:.0f} {unit} ago)"
    return " (just now)"
