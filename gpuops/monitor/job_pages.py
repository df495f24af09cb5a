"""The pages of a job on the monitor: its logs, and its diagnosis."""

from __future__ import annotations

from pathlib import Path

from gpuops.core.diagnosis.diagnosis import format_page
from gpuops.core.monitor.rows import JobRow
from gpuops.core.run import paths
from gpuops.diagnose import newest
from gpuops.system import files
from gpuops.system.runs import rank_logs
from gpuops.text import colourless


def logs(job: JobRow) -> list[str]:
    """The end of the logs of each rank and torchrun."""
    if job.run_dir is None and not job.ours:
        return [f"It belongs to {job.user or 'another user'}, who alone may see which run it is."]
    if job.run_dir is None or job.attempt is None:
        return ["It was not launched by gpuops, so there are no logs of it."]
    root = Path(job.run_dir)
    texts = {
        f"rank {rank}, {stream}": files.tail(root / paths.rank_log(job.attempt, rank, stream))
        for rank in rank_logs.ranks_with_output(root, job.attempt)
        for stream in ("stdout", "stderr")
    }
    texts["torchrun"] = files.tail(root / paths.agent_log(job.attempt))
    lines = [
        line
        for name, text in reversed(texts.items())
        if text
        for line in ("", f"── {name} ──", *colourless(text).splitlines())
    ]
    return lines[1:] or ["Its logs are empty."]


def diagnosis(job: JobRow) -> list[str]:
    """The monitor's assessment of a job, and the newest diagnosis of its supervisor."""
    lines = [f"{job.why[:1].upper()}{job.why[1:]}."] if job.why is not None else []
    found = newest(Path(job.run_dir)) if job.run_dir is not None else None
    if found is not None:
        holds = job.diagnosis is not None
        head = (
            [] if holds else ["", "── the last diagnosis; the job has made progress since ──", ""]
        )
        lines = [*lines, *([""] if lines and holds else head), *format_page(found).splitlines()]
    which = job.run_id or next((rank.pid for rank in job.ranks if rank.pid is not None), "PID")
    hint = f"`gpuops diagnose {which}` reads the stacks of its ranks now."
    return [*(lines or ["No problem is known."]), "", hint]
