"""The page with the results of a campaign."""

from __future__ import annotations

import os
import platform
import statistics
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from importlib.metadata import version

from chaos_account import Account, Fate
from chaos_schedule import Moment
from chaos_waiter import IN_LINE_S

from gpuops.core.drill import FAULTS
from gpuops.drill.scene import Site

WHEN: dict[Moment, str] = {
    "training": "while it trains",
    "starting": "while it starts, or is started again",
    "restarting": "between two attempts",
    "stopping": "as a user stops it",
    "together": "together with another fault",
}

PAGE = """\
# What do many faults do to a job?

{answer}

The job and the faults are those of `gpuops drill` ([docs/drill.md](drill.md)): two ranks over gloo,
steps of 0.05 s, a checkpoint every 5. There each fault has a run of its own. Here {runs} runs of
{steps} steps are struck {each} times each, one fault after the other: the kind, the rank,
the step and the moment are random. The job causes some itself; the others come from outside.

| it strikes | faults |
|---|---|
{moments}

The runs claim two simulated GPUs each, by locks of their own; the job trains on the CPU. A launch
that waits for these GPUs (`waiter`) stays in line for {line:.0f} s of the run, or until the run has
let them go.

When a command ends, the script types only what gpuops itself asks a user to type: `gpuops
supervise` if gpuops was killed; `gpuops launch --resume RUN` after 'given up' (`oom`, `disk`),
after a stop, and if the job had ended before it could be adopted. All options have their defaults,
except `--hang-timeout {hang:g}s`.

| fault | times | found as | culprit | to new step | steps lost |
|---|---|---|---|---|---|
{faults}

- **found as**: the diagnosis of the attempt with the fault. *The other one*: the diagnosis is of a
  second fault at the same time. *Unseen*: gpuops was killed too, the run was being stopped, or a
  port was taken so early that another one was chosen.
- **culprit**: whether it names a rank with a fault. A wrong name that is only a guess is `unsure`.
- **to new step**, **steps lost**: medians, and the maximum in brackets, of faults that were alone
  in their attempt. They include a user's reaction time of up to 2 s.

Total: {attempts} attempts, {took:.0f} min. Typed: {typed}.

{wrong}

Campaigns and drills found these defects of gpuops, which are fixed:

- A job that hung right after a few quick steps, or before its new supervisor had seen it train,
  counted as starting: it hung for half an hour, whatever `--hang-timeout` was.
- If a rank failed while another was stopped, the diagnosis named no reason, and the job was started
  again though a restart could not help.
- If reaper and torchrun were killed together, the supervisor could take torchrun for alive for a
  moment more: its ranks were not asked to end, and trained on for a minute.

```bash
python benchmarks/chaos.py {command} --report docs/chaos.md
```

The same seed gives the same steps and delays. The state of the job at that moment varies a little
between runs; the result must not.

Measured on {date}: gpuops {gpuops}, Python {python}, torch {torch}, Linux {linux}, {cores} cores
with other work on them; a cold start takes {cold:.1f} s.
"""


def page(accounts: Sequence[Account], site: Site, cold_s: float | None, begun_s: float) -> str:
    """The page, as Markdown."""
    fates = [fate for one in accounts for fate in one.fates]
    wrong = [said for one in accounts for said in one.wrong]
    moments = Counter(fate.strike.moment for fate in fates)
    typed = Counter(words for one in accounts for words in one.typed)
    each = len(fates) // len(accounts)
    return PAGE.format(
        answer=_answer(len(fates), len(accounts), wrong),
        runs=len(accounts),
        steps=site.steps,
        each=each,
        moments=_rows((said, moments[moment]) for moment, said in WHEN.items()),
        hang=site.hang_timeout_s,
        line=IN_LINE_S,
        faults=_rows(
            _fault(name, [fate for fate in fates if fate.strike.fault.name == name])
            for name in FAULTS
        ),
        attempts=sum(one.attempts for one in accounts),
        took=sum(one.took_s for one in accounts) / 60,
        typed=", ".join(f"`{words}` {count}" for words, count in typed.most_common()),
        wrong="\n".join(f"- {said}" for said in wrong) or "Nothing went wrong.",
        command=f"--runs {len(accounts)} --faults {each} --seed {site.seed}",
        date=time.strftime("%Y-%m-%d", time.localtime(begun_s)),
        gpuops=version("gpuops"),
        python=platform.python_version(),
        torch=version("torch"),
        linux=platform.release().partition("-")[0],
        cores=os.cpu_count(),
        cold=cold_s or 0.0,
    )


def _answer(faults: int, runs: int, wrong: Sequence[str]) -> str:
    if wrong:
        return f"Of {faults} faults on {runs} runs, {len(wrong)} went wrong."
    return (
        "They cost time, and nothing else. "
        f"After {faults} faults on {runs} runs, every run had come to\nits end, with final weights "
        "equal bit for bit to those of the undisturbed run; no process, no\nclaim on a port and no "
        "temporary file was left behind."
    )


def _fault(name: str, fates: Sequence[Fate]) -> tuple[object, ...]:
    kinds = [_kind(fate) for fate in fates if fate.strike.fault.then != "goes on"]
    blamed = [fate.culprit for fate in fates if fate.culprit is not None]
    new = [fate.recovered_s for fate in fates if fate.recovered_s is not None]
    lost = [float(fate.steps_lost) for fate in fates if fate.steps_lost is not None]
    return (
        f"`{name}`", len(fates), _counted(kinds), _counted(blamed), _middle(new, "{:.1f} s"),
        _middle(lost, "{:g}"),
    )  # fmt: skip


def _kind(fate: Fate) -> str:
    if fate.kind is None:
        return "unseen"
    return fate.kind if fate.kind in fate.strike.fault.kinds else "the other one"


def _counted(said: Iterable[str]) -> str:
    counts = Counter(said).most_common()
    return ", ".join(f"{word} {count}" for word, count in counts) or "—"


def _middle(values: Sequence[float], form: str) -> str:
    if not values:
        return "—"
    return f"{form} ({form})".format(statistics.median(values), max(values))


def _rows(rows: Iterable[Sequence[object]]) -> str:
    return "\n".join(f"| {' | '.join(map(str, row))} |" for row in rows)
