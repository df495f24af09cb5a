"""``gpuops estimate``: whether a training run fits, before there is a GPU to try it on."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from typing import Annotated, Any

import typer

from gpuops.cli import options, output
from gpuops.cli.hints import hint_launch_flags
from gpuops.core.launch.choice import choose, wish_of
from gpuops.core.launch.manifest import Manifest
from gpuops.core.launch.memory import Estimate, assess_fit, beside, gpu, parse, ranks
from gpuops.core.launch.memory import room_bytes as room
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchRequest
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.machine.device import Device
from gpuops.errors import ExitCode, GpuopsError, UsageError
from gpuops.launch.inventory import read_gpus
from gpuops.launch.request import request
from gpuops.system import profiles
from gpuops.system.trainers import manifests, settings
from gpuops.ui import estimates

app = typer.Typer(add_completion=False, rich_markup_mode="markdown")
TIMEOUT_S = 180.0
Trainer = Annotated[
    str | None,
    typer.Argument(
        metavar="TRAINER",
        help="A trainer (rvq); its own flags may follow.",
        autocompletion=lambda incomplete: [
            n for n in manifests.names() if n.startswith(incomplete)
        ],
        show_default=False,
    ),
]
ANY = Profile(name="any", gpus=Gpus(count=1))  # it wishes nothing for any trainer


# The options of a launch that say something of memory; only a trainer can be asked.
OPTIONS = {
    "name": Trainer,
    **{
        name: options.PLANNING[name]
        for name in ("profile", "nproc_per_node", "python", "data", "configs", "simulate")
    },
}


@app.command(
    **options.COMMAND,
    help="Say what a training step takes of a GPU's memory, and what fits. No GPU is needed.\n\n"
    "`gpuops estimate rvq --profile 7x4090 --batch-size 512` · the flags of training just follow",
    rich_help_panel="Jobs",
)
@options.takes(OPTIONS)
def estimate(ctx: typer.Context, typed: LaunchOptions, *, as_json: output.Json = False) -> None:
    """Say what a training step takes of a GPU's memory, and what fits."""
    if typed.name is None or typed.name.startswith("-"):
        raise UsageError("say which trainer.", f"The trainers: {', '.join(manifests.names())}.")
    profile, simulate = typed.profile, typed.simulate
    manifest, asked = request(replace(typed, profile=None, nproc_per_node=None, simulate=None))
    module = _module(manifest, asked)
    hardware = profiles.load(profile) if profile else None
    known = hardware and (hardware.gpus is None or hardware.gpus.memory_gib is not None)
    devices = () if known and simulate is None else read_gpus(simulate).devices
    if hardware is not None and simulate is not None:
        _compare(hardware, devices, simulate)
    on_gpu = hardware is None or hardware.device == "cuda"
    planned = gpu(hardware, devices)
    workers = ranks(hardware, devices, typed.nproc_per_node)
    margin = beside(on_gpu=on_gpu, ranks=workers)
    question = ["--ranks", str(workers), "--device", "cuda" if on_gpu else "cpu"]
    if planned is not None:
        question += ["--room-bytes", str(room(planned, margin))]
    with (
        _working(f"rehearsing a step of {asked.target.name}, without data and GPU"),
        hint_launch_flags(ctx),
    ):
        flags = plan(hardware or ANY, None, asked).program_arguments
        try:
            found = _ask(asked, module, (*question, *flags))
        except UsageError:
            if hardware is not None and manifest is not None:
                settings.insist_on_wishes(
                    profile or "", hardware, manifest, asked.python, asked.working_dir
                )
            raise
    fit = assess_fit(found, planned, margin)
    output.answer(
        {
            "simulated": simulate,
            "estimate": found,
            "gpu": planned,
            "beside": margin,
            "fit": fit,
        },
        lambda: estimates.estimate(asked.target.name, found, planned, margin, fit, simulate),
        as_json=as_json,
    )
    if fit.fits is False:
        raise typer.Exit(int(ExitCode.FAILED))


def _compare(hardware: Profile, devices: Sequence[Device], simulate: str) -> None:
    """Say how a simulated machine differs from the one that the profile is for."""
    if hardware.gpus is None:
        output.note(f"profile {hardware.name} runs on the CPU: {simulate} changes nothing.")
        return
    choice = choose(wish_of(hardware.gpus), devices)
    if choice.short:
        output.note(
            f"{simulate} has {len(choice.devices)} of the {choice.wanted} GPUs that profile "
            f"{hardware.name} wants; the estimate is for the profile's."
        )


def _module(manifest: Manifest | None, asked: LaunchRequest) -> str:
    if manifest is None:
        raise UsageError(
            f"{asked.target.entry} is a {asked.target.kind}: only a trainer can say what it needs.",
            "`gpuops trainers list` shows the trainers.",
        )
    if manifest.answers.estimate is None:
        raise UsageError(
            f"trainer {manifest.name} does not say what it needs.",
            "docs/estimate.md says how a trainer does.",
        )
    return manifest.answers.estimate


def _ask(asked: LaunchRequest, module: str, words: tuple[str, ...]) -> Estimate:
    answer = settings.ask(
        asked.python, module, words, asked.working_dir, what="its memory", timeout_s=TIMEOUT_S
    )
    if answer is None:
        raise GpuopsError(f"{asked.python} cannot be run.", "Give another --python.")
    return parse(answer, module)


def _working(sentence: str) -> AbstractContextManager[Any]:
    screen = output.stderr()
    return screen.status(sentence) if screen.is_terminal else nullcontext()
