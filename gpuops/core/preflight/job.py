"""Checks of the job itself: the interpreter, its driver, the data, the checkpoint."""

from __future__ import annotations

import re

from gpuops.core.finding import Finding, error, ok, warning
from gpuops.core.launch.profile import Profile
from gpuops.core.machine.snapshot import DataCount, HostSnapshot
from gpuops.core.preflight.requirements import Requirements

NAMED = 3
# The oldest Linux driver for any CUDA of a major version: the release notes of the CUDA toolkit.
LEAST_DRIVER = {11: "450.80.02", 12: "525.60.13", 13: "580.65.06"}


def check_torch(snapshot: HostSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """The interpreter that trains needs torch, with CUDA if the profile uses GPUs."""
    found = snapshot.interpreter
    if found is None or found.python is None:
        path = found.path if found else "the interpreter"
        summary = f"{path} does not run as a Python interpreter"
        return error("torch", summary, "Choose another with `--python PATH`.", wanted="torch")
    if found.torch is None:
        summary = f"torch is not installed in {found.path}"
        install = f"Install it there (`{found.path} -m pip install torch`)"
        hint = f"{install}, or choose an interpreter that has it with `--python PATH`."
        python = f"Python {found.python}"
        return error("torch", summary, hint, measured=python, wanted="torch")
    versions = f"Python {found.python}, torch {found.torch}"
    if profile.device == "cuda" and found.cuda is None:
        summary = f"{versions} of {found.path} is built without CUDA"
        hint, want = "Install a CUDA build of torch, or use `--profile cpu`.", "a CUDA build"
        if snapshot.inventory.simulated is None:
            return error("torch", summary, hint, measured=found.torch, wanted=want)
        summary += f": that is the torch of this host, not of {snapshot.inventory.simulated}"
        hint = "The job will need a CUDA build of torch there."
        return warning("torch", summary, hint, measured=found.torch, wanted=want)
    versions += f", CUDA {found.cuda}" if found.cuda else ""
    versions += f", NCCL {found.nccl}" if found.nccl else ""
    return ok("torch", versions, measured=found.torch)


def check_imports(
    snapshot: HostSnapshot, _profile: Profile, _needs: Requirements
) -> Finding | None:
    """A module to run must be there; none beside it may stand in for one of Python or of torch."""
    if (missing := snapshot.missing_module) is not None:
        summary = f"the interpreter finds no module {missing}"
        hint = "Correct the name after `-m`, or launch from the folder that holds the module."
        return error("imports", summary, hint, measured="none", wanted=missing)
    found, installed = dict(snapshot.hidden), snapshot.interpreter
    torch = found.get("torch")
    if torch is not None and installed is not None and installed.torch_folder is not None:
        own = torch.startswith(f"{installed.torch_folder}/")  # a checkout that is installed itself
        torch = found.pop("torch") if own else torch
    if not found:
        return None
    files, names = ", ".join(found.values()), ", ".join(found)
    summary = f"the ranks would import {files} in place of the real {names}"
    hint = "Rename it, or move the script to another folder."
    if "torch" in found:
        return error("imports", summary, hint, measured=files, wanted="none")
    return warning("imports", summary, hint, measured=files, wanted="none")


def check_driver(snapshot: HostSnapshot, profile: Profile, _needs: Requirements) -> Finding | None:
    """A driver runs every CUDA of its own major version and of older ones."""
    driver, cuda = snapshot.inventory.driver, snapshot.inventory.cuda
    if profile.device == "cpu" or driver is None:
        return None
    runs = f"NVIDIA driver {driver}" + (f" (CUDA {cuda[0]}.{cuda[1]})" if cuda else "")
    built = snapshot.interpreter.cuda if snapshot.interpreter else None
    wants = _numbers(built or "")[:2]
    if not wants:
        return ok("driver", runs, measured=driver)
    least = LEAST_DRIVER.get(wants[0])
    wanted = f">= {least}" if least else f"one for CUDA {wants[0]}"
    if _too_old(driver, cuda, wants[0]):
        newest = f"CUDA {cuda[0]}" if cuda else "an older CUDA"
        need = f"{least} or newer" if least else wanted
        summary = f"{runs} does not run torch's CUDA {built}: {need} is needed"
        hint = f"Update the driver, or install a torch that is built for {newest}."
        return error("driver", summary, hint, measured=driver, wanted=wanted)
    bridged = cuda is not None and wants[0] == cuda[0] and wants > cuda
    how = ", by CUDA's minor version compatibility" if bridged else ""
    return ok("driver", f"{runs} runs torch's CUDA {built}{how}", measured=driver, wanted=wanted)


def check_data(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """The data set must exist, with every split that training reads."""
    if needs.data_built_in is not None:
        return ok("data", f"built-in data ({needs.data_built_in})")
    if needs.data_root is None:
        return None
    found = snapshot.data
    if found is None:
        summary = snapshot.gaps.get("data", f"{needs.data_root} is not a data set")
        return error("data", summary, _other_data(needs))
    whole = f"{sum(found.samples.values())} samples"
    for split in needs.data_splits or found.samples:
        if not found.samples.get(split):
            there = f"it holds: {', '.join(found.folders) or 'nothing'}"
            faults = _faults(found, below=f"{found.places.get(split, split)}/")
            summary = f"there is no folder {split}/ in {found.root} ({there})"
            if split in found.samples:
                summary = f"{found.root} has no samples in its {split} split ({faults or there})"
            hint = f"The layout: {needs.data_about}"
            if needs.data_splits:
                hint = f"Samples belong in {found.root}/{split}/<sample>/."
            want = f"samples in {', '.join(needs.data_splits or found.samples)}"
            return error("data", summary, hint, measured=whole, wanted=want)
    counts = ", ".join(f"{count} {split}" for split, count in found.samples.items())
    if found.incomplete or found.unreadable:
        summary = f"{found.root}: {counts}; {_faults(found)}"
        effect = "A sample that lacks a file is left out"
        effect = "Training stops at an unreadable sample" if found.unreadable else effect
        hint = f"{effect}: repair it, or move its folder away."
        broken = f"{len(found.incomplete) + len(found.unreadable)} broken samples"
        return warning("data", summary, hint, measured=broken, wanted="none")
    opened = f" (by name and size; {found.opened} opened)" if found.opened else ""
    return ok("data", f"{found.root}: {counts}{opened}", measured=whole)


def check_resume(snapshot: HostSnapshot, _profile: Profile, needs: Requirements) -> Finding | None:
    """Whether there is a checkpoint to resume from, unless the trainer itself has checked."""
    looked = any(found.check == "checkpoint" for found in snapshot.trainer_findings)
    if needs.resume is None or looked:
        return None
    if needs.resume_checkpoint is None:
        summary = f"{needs.resume} has no checkpoint: it starts from the beginning"
        hint = "`gpuops runs show RUN` lists what a run keeps."
        return warning("resume", summary, hint, measured="none", wanted="a checkpoint")
    summary = f"continues from {needs.resume_checkpoint}"
    return ok("resume", summary, measured=needs.resume_checkpoint)


def _too_old(driver: str, cuda: tuple[int, int] | None, major: int) -> bool:
    """Whether a driver cannot run any CUDA of a major version; unknown is not too old."""
    if cuda is not None:
        return major > cuda[0]
    least = LEAST_DRIVER.get(major)
    return least is not None and _numbers(driver) < _numbers(least)


def _other_data(needs: Requirements) -> str:
    """What this trainer offers in place of a data set that is not there."""
    ways = [f"`--data {name}` trains without files" for name in needs.data_built_ins[:1]]
    ways += ["`gpuops data import --help` imports yours"] if needs.data_imports else []
    return "; ".join(ways) + "." if ways else f"The layout: {needs.data_about}"


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


def _faults(found: DataCount, below: str = "") -> str:
    """``incomplete: train/a; unreadable: train/b: pose.npy is empty``, below a folder or all."""
    parts: list[str] = []
    for fault, every in (("incomplete", found.incomplete), ("unreadable", found.unreadable)):
        if names := [name for name in every if name.startswith(below)]:
            more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
            parts.append(f"{fault}: {', '.join(names[:NAMED])}{more}")
    return "; ".join(parts)
