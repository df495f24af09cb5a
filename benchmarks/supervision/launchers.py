"""Who keeps a job going: torchrun alone, NVIDIA's ft_launcher, and gpuops, each at its best."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpuops.system.runs import events

COLLECTIVE_S = 10
"""After which a collective raises under torchrun alone; gloo and NCCL wait 30 and 10 minutes."""
QUICK_S = 4
"""A hang for those who can be told so: gpuops drill's --hang-timeout."""
SETTLE_S = 1.0  # in which ft_launcher's monitors, one a rank, have all said what they say

FAILED = re.compile(r"failed \(exitcode: -?\d+\) local_rank: (\d+)")
# 0.4 and 0.6 put the rank at different places.
SILENT = re.compile(
    r"(?:RankMonServer\d+@[^:\]]*:|workload:[^(\]]*\()(\d+)\W.*"
    r"(?:Did not get \w+ heartbeat|out of section for|has been open|Section '\w+')"
)
ENDING = {"AskWorkers", "TerminateAgent", "Kill"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What a launcher says of a fault: the ranks it names, and whether it leaves no doubt."""

    ranks: tuple[int, ...]
    sure: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Launcher:
    """One way to start a job and keep it going. ``options`` go to it, ``words`` to the job."""

    name: str
    command: tuple[str, ...]
    python: str = sys.executable
    options: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)

    def argv(self, script: Path, words: Sequence[str], *, ranks: int, port: int) -> list[str]:
        """What a person would type; ``port`` is a free one for those who do not find their own."""
        head = [self.python, "-m", *(part.format(port=port) for part in self.command)]
        given = [f"--nproc-per-node={ranks}", *self.options]
        if self.name == "gpuops":
            return [*head, str(script), *given, "--", *self.words, *words]
        return [*head, *given, str(script), *self.words, *words]

    def first_word(self, screen: str, events: Sequence[Mapping[str, Any]]) -> Said | None:
        """Whom it blamed first, if it blamed anybody yet."""
        if self.name == "gpuops":
            found = next((event for event in events if event["event"] == "diagnosis"), None)
            if found is None:
                return None
            ranks = () if found["rank"] is None else (found["rank"],)
            return Said(ranks=ranks, sure=found["sure"] is True)
        if self.name == "torchrun":
            failed = FAILED.search(screen)
            return Said(ranks=(int(failed[1]),), sure=True) if failed else None
        # Where the monitors of several ranks each end their own, nobody in particular is blamed.
        ranks = dict.fromkeys(SILENT.findall(screen) or FAILED.findall(screen)[:1])
        return Said(ranks=tuple(map(int, ranks)), sure=len(ranks) == 1) if ranks else None

    def acted(self, screen: str, events: Sequence[Mapping[str, Any]]) -> bool:
        """Whether it has found out that something has to be done."""
        if self.name != "gpuops":
            return self.first_word(screen, events) is not None
        return any(
            event.get("action") in ENDING or event.get("what") == "crashed" for event in events
        )


def events_of(runs: Path) -> list[dict[str, Any]]:
    """What gpuops recorded of the one run of a folder; nothing of what others started."""
    root = next((plan.parent for plan in runs.glob("*/plan.json")), None)
    return events.read(root) if root is not None else []


def gpuops(*options: str) -> Launcher:
    """As it is when nothing is said, but for these options."""
    return Launcher(name="gpuops", command=("gpuops", "launch", "--profile=cpu"), options=options)


def torchrun() -> Launcher:
    """With its own restarts, made to work, and a collective timeout, so that a hang ends."""
    return Launcher(
        name="torchrun",
        command=("torch.distributed.run", "--standalone"),
        options=("--max-restarts=3",),
        words=(f"--collective-timeout={COLLECTIVE_S}",),
        # Without it new ranks read stale addresses, and hang (pytorch#135712). With --master-port
        # they still do.
        environment={"TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
    )


def ft_launcher(python: str, timeout_s: float, *, sections: bool) -> Launcher:
    """With a heartbeat each step, as documented; or with a section around each collective.

    Sections are more work for who writes the script. A rank that waits in one is given twice as
    long as one that is anywhere else, so that who is late is ended, and not who waits for it.
    """
    limits = (
        (
            f"--ft-rank-section-timeouts=step:{2 * timeout_s:g}",
            f"--ft-rank-out-of-section-timeout={timeout_s:g}",
        )
        if sections
        else (
            "--ft-initial-rank-heartbeat-timeout=120",
            f"--ft-rank-heartbeat-timeout={timeout_s:g}",
        )
    )
    return Launcher(
        name=f"ft_launcher {'sections' if sections else 'beats'}",
        command=(
            "nvidia_resiliency_ext.fault_tolerance.launcher",
            "--rdzv-backend=c10d",
            "--rdzv-endpoint=127.0.0.1:{port}",
        ),
        python=python,
        options=("--max-restarts=3", "--ft-workload-check-interval=0.5", *limits),
        words=(f"--tell-ft={'sections' if sections else 'beats'}",),
    )


def ft_defaults(python: str) -> str:
    """What ft_launcher does about a hang where nothing is said, in its own words."""
    program = (
        "import json\nfrom importlib.metadata import version\n"
        "from nvidia_resiliency_ext.fault_tolerance.config import FaultToleranceConfig as C\n"
        "print(json.dumps([version('nvidia-resiliency-ext'), C().rank_heartbeat_timeout]))"
    )
    answer = subprocess.run(
        [python, "-W", "ignore", "-c", program], capture_output=True, text=True, check=False
    )
    if answer.returncode:
        lines = answer.stderr.strip().splitlines()
        raise SystemExit(f"{python} has no ft_launcher that works: {lines[-1] if lines else '?'}")
    version, timeout_s = json.loads(answer.stdout.splitlines()[-1])
    after = "never" if timeout_s is None else f"after {timeout_s:.0f} s"
    return f"nvidia-resiliency-ext {version}, by default a hang ends {after}"
