"""A launch with what its trainer makes of it: all that watching a run needs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.plan import LaunchPlan
from gpuops.core.launch.profile import Profile
from gpuops.errors import GpuopsError, UsageError
from gpuops.system.trainers import manifests, settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the training program writes; a script is expected to write into the run's folder."""

    out_dir: Path
    checkpoints: Path
    metrics_file: Path | None
    """Where a trainer logs its figures; ``None`` for a script."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Launch:
    """A plan, and the manifest and the resolved settings of its trainer, if it is a trainer's."""

    plan: LaunchPlan
    manifest: Manifest | None
    settings: Mapping[str, Any]

    @property
    def places(self) -> Places:
        """Where the training program writes."""
        manifest = self.manifest
        given = self.settings.get(manifest.out_dir_setting) if manifest else None
        out_dir = Path(self.plan.working_dir, given) if given else Path(self.plan.run_dir)
        return Places(
            out_dir=out_dir,
            checkpoints=out_dir / (manifest.checkpoints if manifest else "checkpoints"),
            metrics_file=out_dir / manifest.metrics_file if manifest else None,
        )


def recall(plan: LaunchPlan) -> Launch:
    """The launch of a run that was started before. Nothing is run to know it.

    Its folder leads to what its trainer writes; the manifest is missing if the trainer is.
    """
    manifest = None
    if plan.target.kind == "trainer":
        with suppress(GpuopsError):
            manifest = manifests.load(plan.target.name)
    return Launch(plan=plan, manifest=manifest, settings={})


def resolve_settings(plan: LaunchPlan, manifest: Manifest | None) -> Mapping[str, Any]:
    """The trainer's settings under a plan, flat by name; none for a script.

    Raises:
        UsageError: the trainer refuses a flag or a file.
        GpuopsError: the trainer does not answer, or lacks a setting that its manifest names.
    """
    if manifest is None:
        return {}
    arguments = plan.program_arguments
    found = settings.resolve(plan.python, manifest.answers.config, arguments, plan.working_dir)
    if found is None:
        return {}
    if unknown := manifest.unknown_setting(found):
        raise GpuopsError(
            f"the manifest of {manifest.name} does not fit its settings: {unknown}",
            "Correct its trainer.yaml; docs/trainers.md describes every key.",
        )
    return found


@contextmanager
def name_the_wish(plan: LaunchPlan, profile: Profile, manifest: Manifest) -> Iterator[None]:
    """If a trainer refuses something that the profile wished for, say so: the user did not type it.

    Raises:
        UsageError: the trainer refuses it.
    """
    try:
        yield
    except UsageError:
        if wrong := settings.refused_wishes(profile, manifest, plan.python, plan.working_dir):
            raise UsageError(
                f"profile {plan.profile}: {'; '.join(wrong)}.",
                f"`gpuops trainers show {manifest.name}` lists its settings.",
            ) from None
        raise
