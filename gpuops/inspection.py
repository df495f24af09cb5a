"""The evidence of an attempt that hangs or has crashed: in the run folder, before anything ends."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpuops import heartbeat
from gpuops.core import diagnosis as diagnoses
from gpuops.core.crash import Crash, ends, explain
from gpuops.core.culprit import accuse
from gpuops.core.diagnosis import Diagnosis
from gpuops.core.hang import Hung, Suspect
from gpuops.core.plan import LaunchPlan
from gpuops.errors import GpuopsError
from gpuops.system import files, run_dir, stacks, vitals
from gpuops.system.identity import Identity
from gpuops.system.process import Job

BETWEEN_S = 1.0
DUMP_S = 5.0
TAIL_BYTES = 64_000


def inspect(plan: LaunchPlan, job: Job, verdict: Suspect | Hung) -> Diagnosis:
    """Look twice at the stacks of all ranks; what they say is written down and given back."""
    found = look(
        job.ranks(),
        Path(plan.state_dir, "beats"),
        gpus=dict(enumerate(plan.gpu_indices)),
        logs=_stderr_logs(plan) if plan.target.kind == "trainer" else {},
        evidence=(verdict.why,),
    )
    _keep(plan, "suspected" if isinstance(verdict, Suspect) else "hung", found)
    return found


def look(
    ranks: Mapping[int, Identity],
    beats: Path | None,
    *,
    gpus: Mapping[int, int] | None = None,
    logs: Mapping[int, Path] | None = None,
    evidence: Sequence[str] = (),
) -> Diagnosis:
    """What holds some processes up, from two looks at them, a second apart."""
    targets = sorted(ranks.items())
    before = (stacks.dump(targets, DUMP_S, logs), vitals.read(targets))
    time.sleep(BETWEEN_S)  # what moves is elsewhere by then
    after = (stacks.dump(targets, DUMP_S, logs), vitals.read(targets))
    said = heartbeat.read_all(beats) if beats is not None else ()
    accusation = accuse(before[0], after[0], before[1], after[1], said)
    return diagnoses.of_hang(accusation, gpus, evidence)


def crashed(plan: LaunchPlan, returncode: int) -> Diagnosis:
    """Why an attempt ended by itself, from what it left behind."""
    root = Path(plan.run_dir)
    agent = _tail(Path(plan.log_dir, "agent.log"))
    said = {
        rank: _tail(run_dir.rank_log(root, plan.attempt, rank, "stderr"))
        for rank in run_dir.ranks_with_logs(root, plan.attempt)
    }
    ended = ends(agent, said, dict(enumerate(plan.gpu_indices)))
    found = explain(Crash(returncode=returncode, ranks=ended, agent_tail=agent))
    _keep(plan, "crashed", found)
    return found


def newest(root: Path) -> Diagnosis | None:
    """What was last found out about a run."""
    for event in reversed(run_dir.events(root)):
        name = f"attempt-{event.get('attempt')}-{event.get('what')}.json"
        if event.get("event") == "diagnosis":
            return diagnoses.from_json(files.read_json(root / "diagnosis" / name) or {})
    return None


def _keep(plan: LaunchPlan, what: str, found: Diagnosis) -> None:
    """As JSON and as a page; a disk that is full must not keep a hung job from being ended."""
    folder = Path(plan.run_dir, "diagnosis")
    name = f"attempt-{plan.attempt}-{what}"
    try:
        folder.mkdir(exist_ok=True)
        files.write_json(folder / f"{name}.json", diagnoses.to_json(found))
        files.write_text(folder / f"{name}.md", diagnoses.page(found))
    except (OSError, GpuopsError):
        pass
    run_dir.record(
        Path(plan.run_dir),
        "diagnosis",
        attempt=plan.attempt,
        what=what,
        kind=found.kind,
        rank=found.rank,
        sure=found.sure,
        why=found.why,
    )


def _stderr_logs(plan: LaunchPlan) -> dict[int, Path]:
    root = Path(plan.run_dir)
    ranks = range(plan.nproc_per_node)
    return {rank: run_dir.rank_log(root, plan.attempt, rank, "stderr") for rank in ranks}


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - TAIL_BYTES))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
