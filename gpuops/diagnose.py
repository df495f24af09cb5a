"""Why a job makes no progress or how it ended: its evidence, kept in the run folder."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from gpuops.core.diagnosis import diagnosis as diagnoses
from gpuops.core.diagnosis import gpu_loss, power
from gpuops.core.diagnosis import nccl_ras as ras
from gpuops.core.diagnosis.crash import Crash, diagnose_crash
from gpuops.core.diagnosis.culprit import Attribution, find_culprit
from gpuops.core.diagnosis.diagnosis import Diagnosis, EndedWell
from gpuops.core.diagnosis.nccl_ras import RasReport
from gpuops.core.diagnosis.torchrun_failure import parse_rank_ends, signal_name
from gpuops.core.hang.detector import Hung, Suspect
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.machine.device import Device, Xid
from gpuops.core.machine.oom_kills import OomKills
from gpuops.core.preflight.host import least_threads
from gpuops.core.run import paths
from gpuops.core.run.record import Attempt
from gpuops.errors import GpuopsError, UsageError
from gpuops.system import files, owners
from gpuops.system.gpus import nvml
from gpuops.system.gpus.gpu_processes import in_container
from gpuops.system.host import cgroups, host
from gpuops.system.host.kernel_log import KMSG, KernelLog, slot
from gpuops.system.processes import identity, members, nccl_ras, stacks, vitals
from gpuops.system.processes.identity import Identity, local, recorded
from gpuops.system.processes.process import LOST, Job
from gpuops.system.runs import beats as attempt_beats
from gpuops.system.runs import (
    events,
    ownership,
    plan_file,
    rank_logs,
    records,
    supervisor_lock,
    telemetry,
)

BETWEEN_S = 1.0
DUMP_S = 5.0
CLOCKS_DIFFER_S = 5.0
GPUS_S = 5.0
# A GPU fails before its job falls silent; a job ends at most half an hour later.
FORE_S, LATELY_S = 60.0, 1800.0


def find_good_end(root: Path) -> EndedWell | None:
    """How a run ended that finished, or that a person stopped while nothing was wrong with it."""
    run = records.load(root)
    if run is None or run.status not in {"finished", "stopped"}:
        return None
    if supervisor_lock.holder(root) is not None or records.is_running(root):
        return None
    if run.status == "stopped" and newest(root, run.attempts[-1].number) is not None:
        return None
    last = events.last(root, "attempt_ended") or {}
    number = last.get("stop_signal") if last.get("outcome") == "stopped" else None
    how = f" ({signal_name(-number)})" if isinstance(number, int) else ""
    why = "it finished" if run.status == "finished" else f"it was stopped by a person{how}"
    return EndedWell(run=root.name, why=why, earlier=newest(root))


def diagnose_run(root: Path, note: Callable[[str], None]) -> Diagnosis:
    """Diagnose a running run now; of one that failed, return the supervisor's diagnosis.

    If it had no supervisor when it ended, it is diagnosed now. Of another user's run, the diagnosis
    of its supervisor is all that may be seen. ``note`` shows a remark to who asks.

    Raises:
        GpuopsError: nothing is known of how it ended, or it is between two attempts.
        UsageError: it is another user's, or runs on another host.
    """
    records.require_this_host(root)
    found, attempts = newest(root), records.attempts(root)
    last = attempts[-1] if attempts else None
    unwatched = last is not None and _ended_unwatched(root, last)
    if unwatched or (last and last.alive):
        if found is not None and not ownership.may_act(root):
            shown = ownership.as_owner(root, "diagnose")
            note(f"this is what its supervisor found last; `{shown}` diagnoses it now.")
            return found
        ownership.require_may_act(root, "diagnose")
        records.require_proven(root)
        plan = replace(plan_file.load(root), run_dir=str(root))
        job = Job(Path(plan.state_dir))
        deserted = job.poll() is not None and supervisor_lock.holder(root) is None
        if deserted and (left := records.describe_left(root)):
            ends = f"`gpuops stop {root.name}` ends what lives on: {left}"
            note(f"its supervisor and its reaper have gone; {ends}.")
        if not unwatched and (not deserted or job.ranks()):
            return examine(plan, job)
        if unwatched:
            note("no supervisor saw it end: this is what it left behind.")
        rank_logs.link(plan)
        return crashed_unwatched(plan)
    if found is None and supervisor_lock.holder(root) is not None:
        raise GpuopsError(
            f"run {root.name} is between two attempts.", f"`gpuops attach {root.name}` shows it."
        )
    if found is None:
        raise GpuopsError(
            f"run {root.name} has ended, and no diagnosis of it was kept.",
            f"`gpuops runs show {root.name}` tells how it went.",
        )
    return found


def diagnose_process(pid: int) -> Diagnosis:
    """Diagnose the training job of a process, also one that gpuops did not start.

    Raises:
        UsageError: it belongs to no training job, or to another user.
    """
    from gpuops.system.processes import jobs  # noqa: PLC0415 - slow, and a supervisor needs none of it

    for job in jobs.find():
        ranks = {one.rank: jobs.identity(one) for one in job.ranks if one.rank is not None}
        if any(one.pid == pid for one in job.processes) and ranks:
            return diagnose_processes(ranks, None)
    if (uid := identity.user(pid)) not in {None, os.geteuid()}:
        raise UsageError(
            f"process {pid} belongs to {owners.name(uid)}: its stack cannot be read.",
            f"`sudo -u {owners.name(uid)} gpuops diagnose {pid}` reads it.",
        )
    raise UsageError(
        f"process {pid} belongs to no training job that can be seen.",
        "`gpuops kill-hung --dry-run` lists the jobs of this host.",
    )


def inspect(plan: LaunchPlan, job: Job, assessment: Suspect | Hung) -> Diagnosis:
    """Diagnose a hung run; write the diagnosis to its folder and return it."""
    found = examine(plan, job, assessment.idle_s, (assessment.why,))
    _keep(plan, "suspected" if isinstance(assessment, Suspect) else "hung", found)
    return found


def examine(
    plan: LaunchPlan, job: Job, idle_s: float | None = None, evidence: Sequence[str] = ()
) -> Diagnosis:
    """Diagnose a hung run by the stacks of its ranks, and meanwhile by its GPUs and NCCL.

    GPU errors count from shortly before it fell silent, ``idle_s`` seconds ago.
    """
    ranks, gpus = job.ranks(), plan.gpu_of_rank
    pids = {rank: one.pid for rank, one in ranks.items()}
    writers = range(plan.world_size) if plan.target.kind == "trainer" else ()
    logs = {r: Path(plan.run_dir, paths.rank_log(plan.attempt, r, "stderr")) for r in writers}
    since_s = time.time() - (LATELY_S if idle_s is None else idle_s + FORE_S)
    with ThreadPoolExecutor() as side:
        devices, report = side.submit(_gpus, plan, since_s), side.submit(_nccl, plan, ranks)
        attribution = _attribution(ranks, Path(plan.run_dir, paths.beats(plan.attempt)), logs)
        usual_w = _usual_w(plan, time.time() - (idle_s or 0.0))
        drawn = power.describe_power(devices.result(), usual_w)
        attribution = ras.apply_ras(attribution, report.result(), pids)
        found = diagnoses.diagnose_hang(attribution, gpus, (*evidence, *drawn))
        return gpu_loss.apply_gpu_faults(found, devices.result(), pids)


def diagnose_processes(
    ranks: Mapping[int, Identity],
    beats: Path | None,
    *,
    gpus: Mapping[int, int] | None = None,
    logs: Mapping[int, Path] | None = None,
    evidence: Sequence[str] = (),
) -> Diagnosis:
    """Diagnose hung processes by two samples of their stacks, a second apart."""
    return diagnoses.diagnose_hang(_attribution(ranks, beats, logs or {}), gpus, evidence)


def crashed(
    plan: LaunchPlan, returncode: int, kernel_log: Path = KMSG, *, left: str = ""
) -> Diagnosis:
    """Why an attempt crashed, by its logs and the kernel's log; ``left`` names what outlasts it."""
    found = _explained(plan, returncode, kernel_log, left)
    _keep(plan, "crashed", found)
    return found


def crashed_unwatched(plan: LaunchPlan) -> Diagnosis:
    """Why an attempt ended that had no supervisor: without a record of its end, by what is left."""
    state = Path(plan.state_dir)
    code, began = Job(state).recorded_exit, recorded(state, "reaper")
    if code is not None:
        return crashed(plan, code)
    if began is not None and began.here:
        return crashed(plan, LOST)
    why = "its launch was ended before it began"
    if began is not None:
        why = f"host {began.host} was restarted while it ran"
    found = Diagnosis(
        kind="unknown",
        rank=None,
        why=why,
        advice="Nothing has to be fixed: `--resume` continues from the last checkpoint.",
        sure=True,
    )
    _keep(plan, "crashed", found)
    return found


def why_gone(plan: LaunchPlan, returncode: int, evidence: Diagnosis) -> Diagnosis:
    """Why the rank ended that the others waited for; ``evidence`` if that is not known."""
    found = _explained(plan, returncode)
    if found.rank != evidence.rank or found.kind in {"peer died", "unknown"}:
        return evidence
    _keep(plan, "crashed", found)
    return found


def _ended_unwatched(root: Path, last: Attempt) -> bool:
    """Whether an attempt failed, or vanished without a record of its end, and was not watched."""
    if not last.returncode and (last.returncode == 0 or last.alive):
        return False
    watched = events.was_watched(root, last.number) or supervisor_lock.holder(root) is not None
    return not watched and not last.hidden


def _explained(
    plan: LaunchPlan, returncode: int, kernel_log: Path = KMSG, left: str = ""
) -> Diagnosis:
    root = Path(plan.run_dir)
    agent = files.tail(root / paths.agent_log(plan.attempt))
    stderr = {
        rank: files.tail(root / paths.rank_log(plan.attempt, rank, "stderr"))
        for rank in rank_logs.ranks(root, plan.attempt)
    }
    ranks = parse_rank_ends(agent, stderr, plan.gpu_of_rank)
    torchrun = local(Path(plan.state_dir), "agent")
    ended_s = _ended_s(plan)
    with closing(KernelLog(kernel_log)) as log:
        crash = Crash(
            returncode=returncode,
            ranks=ranks,
            xids=_xids(plan, log, ended_s - LATELY_S, ended_s + CLOCKS_DIFFER_S),
            oom=_oom_kills(plan, log),
            agent_pid=torchrun.pid if torchrun else None,
            agent_tail=agent,
            shm_free_bytes=host.free_bytes(host.SHM),
            threads_refused=_threads_refused(plan),
            reaper_killed=members.read_exit(Path(plan.state_dir)) is None,
            left=left,
        )
    return diagnose_crash(crash)


def newest(root: Path, attempt: int | None = None) -> Diagnosis | None:
    """The newest diagnosis of a run, or of one of its attempts."""
    for event in reversed(events.read(root)):
        if event.get("event") == "diagnosis" and attempt in {None, event.get("attempt")}:
            name = Path(paths.diagnosis(event.get("attempt"), event.get("what"))).name
            if paths.parse_diagnosis(name) is None:
                return None
            return diagnoses.from_json(files.read_json(root / paths.DIAGNOSES / name) or {})
    return None


def _keep(plan: LaunchPlan, what: str, found: Diagnosis) -> None:
    """Write it as JSON and as a page; a full disk must not prevent that a hung job is ended.

    Root writes nothing into the folder of a user, whose links may lead anywhere.
    """
    if owners.owner(Path(plan.run_dir)) != os.geteuid():
        return
    path = Path(plan.run_dir, paths.diagnosis(plan.attempt, what))
    with suppress(OSError, GpuopsError):
        path.parent.mkdir(exist_ok=True)
        files.write_json(path, asdict(found))
        files.write_text(path.with_suffix(".md"), diagnoses.format_page(found))
    facts = {"kind": found.kind, "rank": found.rank, "sure": found.sure, "why": found.why}
    events.record(Path(plan.run_dir), "diagnosis", attempt=plan.attempt, what=what, **facts)


def _attribution(
    ranks: Mapping[int, Identity], beats: Path | None, logs: Mapping[int, Path]
) -> Attribution:
    targets = sorted(ranks.items())
    stacks_before, vitals_before = stacks.dump(targets, DUMP_S, logs), vitals.read(targets)
    time.sleep(BETWEEN_S)  # ranks that move are elsewhere by then
    stacks_after, vitals_after = stacks.dump(targets, DUMP_S, logs), vitals.read(targets)
    newest_beats = attempt_beats.read(beats) if beats is not None else ()
    return find_culprit(stacks_before, stacks_after, vitals_before, vitals_after, newest_beats)


def _nccl(plan: LaunchPlan, ranks: Mapping[int, Identity]) -> RasReport:
    """NCCL's report on the job, if its ranks use it and it answers within some seconds."""
    found = map(nccl_ras.address, ranks.values()) if plan.device == "cuda" else ()
    where = next(filter(None, found), None)
    return ras.parse_report(nccl_ras.ask(where) or "") if where is not None else RasReport()


def _gpus(plan: LaunchPlan, since_s: float) -> dict[int, Device]:
    """Each rank's GPU now; waits some seconds for a driver that does not answer."""
    if plan.device == "cpu":
        return {}
    with nvml.Reader(start_timeout_s=GPUS_S) as reader, closing(KernelLog()) as log:
        return gpu_loss.gpus_of_ranks(plan.device_of_rank, reader.read(), _xids(plan, log, since_s))


def _usual_w(plan: LaunchPlan, until_s: float) -> dict[int, float]:
    """The usual power of the attempt's GPUs before it fell silent, from the telemetry."""
    if plan.device == "cpu":
        return {}
    samples = telemetry.read(Path(plan.run_dir)).samples
    return power.usual_watts(s for s in samples if s.attempt == plan.attempt and s.at_s < until_s)


def _xids(
    plan: LaunchPlan, log: KernelLog, since_s: float, until_s: float = math.inf
) -> dict[int, tuple[Xid, ...]]:
    """The errors of the run's GPUs since then, but not those of earlier attempts."""
    found, since_s = log.xids() or {}, max(since_s, _began_s(plan))
    theirs = {gpu.index: found.get(slot(gpu.bus_id or "") or "", ()) for gpu in plan.devices}
    return {
        index: tuple(x for x in xids if since_s <= x.at_s <= until_s)
        for index, xids in theirs.items()
    }


def _oom_kills(plan: LaunchPlan, log: KernelLog) -> OomKills:
    """The processes that the kernel killed since then, or at least their number."""
    since_s, begun = _began_s(plan), _attempt_started(plan)
    group, before = begun.get("memory_group"), begun.get("oom_kills")
    now = cgroups.oom_kills(Path(group)) if isinstance(group, str) else None
    counted = now - before if now is not None and isinstance(before, int) else None
    if in_container():  # the log has the host's pids
        return OomKills(counted=counted)
    logged = tuple(kill for kill in log.oom_kills() if kill.at_s >= since_s)
    return OomKills(logged=logged, log_complete=log.reaches(since_s), counted=counted)


def _threads_refused(plan: LaunchPlan) -> bool:
    """Whether a limit refused processes or threads since it began, or is too low for its ranks."""
    begun = _attempt_started(plan)
    group, before = begun.get("pids_group"), begun.get("refused_forks")
    now = cgroups.refused_forks(Path(group)) if isinstance(group, str) else None
    if now is not None and isinstance(before, int) and now > before:
        return True
    least = least_threads(plan.world_size)
    return any(limit.left < least for limit in host.process_limits())


def _began_s(plan: LaunchPlan) -> float:
    """When the attempt began, with a margin for the kernel log's clock."""
    begun_s = _attempt_started(plan).get("time")
    return begun_s - CLOCKS_DIFFER_S if isinstance(begun_s, (int, float)) else math.inf


def _ended_s(plan: LaunchPlan) -> float:
    """When the attempt ended: later GPU errors belong to other jobs."""
    ended_s = (members.read_exit(Path(plan.state_dir)) or {}).get("ended_at")
    return ended_s if isinstance(ended_s, (int, float)) else time.time()


def _attempt_started(plan: LaunchPlan) -> dict[str, Any]:
    found = events.read(Path(plan.run_dir))
    wanted = ("attempt_started", plan.attempt)
    return next((e for e in reversed(found) if (e.get("event"), e.get("attempt")) == wanted), {})
