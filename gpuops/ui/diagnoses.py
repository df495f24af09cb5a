"""A diagnosis on the screen."""

from __future__ import annotations

from rich.console import Group, RenderableType
from rich.text import Text

from gpuops.core.diagnosis.diagnosis import Diagnosis, EndedWell, format_title
from gpuops.ui import words
from gpuops.ui.monitor.grid import clean


def diagnosis(found: Diagnosis) -> RenderableType:
    """What, why, where, what to do, and the evidence."""
    rows: list[RenderableType] = [
        Text(format_title(found), style="bold red" if found.sure else "bold yellow"),
        Text(f"  {clean(words.sentence(found.why))}"),
    ]
    if found.place:
        rows.append(Text(f"  at {clean(found.place)}", style="cyan"))
    rows.append(Text(f"  → {clean(found.advice)}", style="cyan"))
    for group in found.groups:
        ranks = f"rank {', '.join(map(str, group.ranks))}"
        waits = f" waits: {group.waits_for}" if group.waits_for else ""
        rows.append(Text.assemble(("  " + ranks, "bold"), clean(f" at {group.place}{waits}")))
    rows += [Text(f"  {clean(line.expandtabs(4))}", style="dim") for line in found.evidence]
    return Group(*rows)


def ended_well(ended: EndedWell) -> RenderableType:
    """How it ended, and what was wrong with it before."""
    rows: list[RenderableType] = [
        Text("Nothing is wrong with it", style="bold green"),
        Text(f"  {clean(words.sentence(ended.why))}"),
    ]
    if (earlier := ended.earlier) is not None:
        why = f"{format_title(earlier)}: {words.sentence(earlier.why)}"
        rows.append(Text(f"  Before, it had a problem: {clean(why)}", style="dim"))
    rows.append(Text(f"  → `gpuops runs show {clean(ended.run)}` tells how it went.", style="cyan"))
    return Group(*rows)
