"""Profiles, trainers and data sets as tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.snapshot import DataCount
from gpuops.errors import GpuopsError
from gpuops.ui.runs import columns

SHOWN = 10


def profiles(found: Sequence[tuple[str, Profile, Sequence[str]]]) -> RenderableType:
    """One row per profile: its name, its summary, its file and the files that it hides."""
    table = columns("profile", "ranks", "on", "about", "file", breaks="about")
    for name, profile, (file, *hidden) in found:
        gpus = profile.gpus
        on = "CPU" if gpus is None else f"{gpus.model or 'any GPU'}"
        where = Text(file)
        for other in hidden:
            where.append(f"\nhides {other}", style="dim")
        ranks = str(profile.nproc_per_node)
        table.add_row(Text(name, style="bold"), ranks, on, profile.summary, where)
    return table


def validated(results: Mapping[str, tuple[GpuopsError | None, Sequence[str]]]) -> RenderableType:
    """One row per profile: valid, or what is wrong; and a row for each warning."""
    table = Table.grid(padding=(0, 1, 0, 1))
    for name, (problem, warnings) in results.items():
        for warning in warnings:
            table.add_row(Text("!", style="bold yellow"), Text(name, style="bold"), warning)
        if problem is None:
            table.add_row(Text("✓", style="bold green"), Text(name, style="bold"), "valid")
            continue
        words = Text(problem.message)
        words.append(f"\n{problem.hint}" if problem.hint else "", style="dim")
        table.add_row(Text("✗", style="bold red"), Text(name, style="bold"), words)
    return table


def text_file(text: str, kind: str) -> RenderableType:
    """The text of a file, with syntax colours."""
    return Syntax(text, kind, theme="ansi_dark", background_color="default", word_wrap=True)


def trainers(manifests: Sequence[Manifest]) -> RenderableType:
    """One row per trainer, and below one row per verb and importer."""
    table = columns("trainer", "about", "module", breaks="about")
    verbs = columns("verb", "of", "does", "trainer", breaks="does")
    for manifest in manifests:
        table.add_row(Text(manifest.name, style="bold"), manifest.summary, manifest.train)
        for name, verb in manifest.verbs.items():
            verbs.add_row(Text(name, style="bold"), " or ".join(verb.of), verb.does, manifest.name)
        for kind in manifest.importers:
            does = f"convert {kind} files into a data set"
            verbs.add_row(Text(f"data import {kind}", style="bold"), "files", does, manifest.name)
    return Group(table, "", verbs) if verbs.rows else table


def data_count(count: DataCount) -> RenderableType:
    """The number of samples per split, and the unusable samples."""
    table = columns("split", "samples")
    for split, samples in count.samples.items():
        table.add_row(split, str(samples))
    rows: list[RenderableType] = [Text(count.root, style="bold"), table]
    for problem, named in (("incomplete", count.incomplete), ("unreadable", count.unreadable)):
        if named:
            more = f"\n  and {len(named) - SHOWN:,} more (`--json` lists all)"
            listed = "".join(f"\n  {name}" for name in named[:SHOWN])
            text = f"{problem}: {len(named):,}{listed}{more if len(named) > SHOWN else ''}"
            rows.append(Text(text, style="yellow"))
    return Group(*rows)
