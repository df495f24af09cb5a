"""Profiles, trainers and data sets as tables."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.syntax import Syntax
from rich.text import Text

from gpuops.core.node import DataCount
from gpuops.core.profile import Profile
from gpuops.core.trainer import Manifest
from gpuops.ui.runs import columns


def profiles(found: Sequence[tuple[Profile, str]]) -> RenderableType:
    """One row a profile."""
    table = columns("profile", "ranks", "on", "about", "file")
    for profile, path in found:
        gpus = profile.gpus
        on = "CPU" if gpus is None else f"{gpus.model or 'any GPU'}"
        table.add_row(
            Text(profile.name, style="bold"),
            str(profile.nproc_per_node),
            on,
            profile.summary,
            path,
        )
    return table


def text_file(text: str, kind: str) -> RenderableType:
    """A file's text, in colours."""
    return Syntax(text, kind, theme="ansi_dark", background_color="default", word_wrap=True)


def trainers(manifests: Sequence[Manifest]) -> RenderableType:
    """One row a trainer."""
    table = columns("trainer", "about", "module")
    for manifest in manifests:
        table.add_row(Text(manifest.name, style="bold"), manifest.summary, manifest.train)
    return table


def data_count(count: DataCount) -> RenderableType:
    """Samples by split."""
    table = columns("split", "samples")
    for split, samples in count.samples.items():
        table.add_row(split, str(samples))
    rows: list[RenderableType] = [Text(count.root, style="bold"), table]
    if count.incomplete:
        rows.append(Text(f"incomplete: {', '.join(count.incomplete)}", style="yellow"))
    return Group(*rows)
