"""Profiles, manifests and shell scripts that are shipped."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin

import pytest
from pydantic import BaseModel
from typer.testing import CliRunner

from gpuops.cli import COMMANDS, app
from gpuops.core.launch import profile
from gpuops.core.launch.manifest import Manifest, flag
from gpuops.core.launch.torchrun import environment
from gpuops.system import profiles
from gpuops.system.trainers import datasets, manifests, modules

ROOT = Path(__file__).parents[2]
PROFILES = sorted((ROOT / "profiles").glob("*.yaml"))
TRAINERS = sorted(path.parent.name for path in (ROOT / "trainers").glob("*/trainer.yaml"))
VERBS = [(name, verb) for name in TRAINERS for verb in manifests.load(name).verbs]
SCRIPTS = sorted([*(ROOT / "shell").iterdir(), *(ROOT / ".ci").iterdir()])


def names(paths):
    """Paths as test names."""
    return [path.name for path in paths]


def run(*words, **changes):
    """A Python with some words."""
    return subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, check=False, **changes
    )


@pytest.mark.parametrize("path", PROFILES, ids=names(PROFILES))
def test_a_shipped_profile_is_valid(path):
    """It parses, is named as its file, and says what it is."""
    found = profiles.load(str(path))

    assert path.stem == found.name
    assert found.summary


def test_the_folder_of_profiles_holds_nothing_else():
    """Profiles, and the schema by which an editor completes them."""
    others = {path.name for path in (ROOT / "profiles").iterdir()} - set(names(PROFILES))

    assert {profile.SCHEMA_FILE} == others
    assert PROFILES


def test_the_schema_is_the_one_that_is_enforced():
    """`gpuops profiles schema > profiles/profile.schema.json` after a change."""
    assert profile.schema() == json.loads((ROOT / "profiles" / profile.SCHEMA_FILE).read_text())


@pytest.mark.parametrize("path", PROFILES, ids=names(PROFILES))
def test_an_editor_completes_a_shipped_profile(path):
    """Its first line names the schema beside it."""
    first = path.read_text().splitlines()[0]

    assert f"# yaml-language-server: $schema=./{profile.SCHEMA_FILE}" == first


def test_every_key_of_a_profile_is_documented():
    """The table of docs/profiles.md has a row for each, in their order, and none besides."""
    text = (ROOT / "docs" / "profiles.md").read_text()

    assert list(profile.keys()) == re.findall(r"^\| `([\w.]+)` \|", text, re.MULTILINE)


def keys(model, path=""):
    """The dotted keys of a section of the manifest, in their order."""
    for name, field in model.model_fields.items():
        kinds = [field.annotation, *get_args(field.annotation)]
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        below = f"{path}{name}.{'NAME.' if get_origin(field.annotation) is dict else ''}"
        yield from keys(inner[0], below) if inner else [f"{path}{name}"]


def test_every_key_of_a_manifest_is_documented():
    """The table of docs/trainers.md has a row for each, and none besides."""
    text = (ROOT / "docs" / "trainers.md").read_text()
    table = text.partition("## The manifest")[2].partition("\n## ")[0]

    assert sorted(keys(Manifest)) == sorted(re.findall(r"^\| `([\w.]+)` \|", table, re.MULTILINE))


def test_every_verb_is_documented():
    """The table of docs/trainers.md says of each what the manifest says, and none besides."""
    text = (ROOT / "docs" / "trainers.md").read_text()
    table = text.partition("Verbs of the trainers that are shipped:")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(.+)` \| (.+) \| (.+) \| (.+) \|$", table, re.MULTILINE)

    assert rows == [
        (verb, name, " or ".join(about.of), about.does)
        for name in TRAINERS
        for verb, about in manifests.load(name).verbs.items()
    ]


def test_what_a_count_prints_is_documented():
    """The table of docs/trainers.md has a row for each key; the example is a count."""
    text = (ROOT / "docs" / "trainers.md").read_text().partition("### The trainer counts")[2]
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)

    assert list(datasets.Answer.model_fields) == re.findall(r"^\| `(\w+)` \|", text, re.MULTILINE)
    assert datasets.Answer.model_validate_json(example)


def test_the_shipped_profiles_are_listed(tmp_path, monkeypatch):
    """From any folder."""
    monkeypatch.chdir(tmp_path)

    assert {path.stem for path in PROFILES} <= set(profiles.available())


@pytest.mark.parametrize("path", PROFILES, ids=names(PROFILES))
def test_a_profile_does_not_set_what_is_gpuops_own(path):
    """GPUs and heartbeats are decided at launch; torchrun sets the ranks."""
    taken = set(environment.__code__.co_consts) | {"RANK", "LOCAL_RANK", "WORLD_SIZE"}

    assert set() == taken & set(profiles.load(str(path)).environment)


@pytest.mark.parametrize("path", PROFILES, ids=names(PROFILES))
def test_a_profiles_wishes_are_settings_of_a_trainer(path):
    """The trainer is there, and takes them."""
    for name, wishes in profiles.load(str(path)).trainers.items():
        manifest = manifests.load(name)
        wished = [f"{key}={value}" for key, value in wishes.items()]
        ran = run("-m", manifest.answers.config, "--defaults", *wished)

        assert 0 == ran.returncode, ran.stderr


def test_every_trainer_is_installed():
    """A folder with a manifest has an entry point, and the other way round."""
    assert TRAINERS == [name for name in manifests.names() if name in TRAINERS]
    assert TRAINERS


@pytest.mark.parametrize("name", TRAINERS)
def test_a_manifests_modules_are_there(name):
    """Each can be found, and finding it loads no torch."""
    manifest = manifests.load(name)
    modules = [manifest.train, *filter(None, manifest.answers.model_dump().values())]
    modules += [verb.module for verb in manifest.verbs.values()]
    modules += [*manifest.importers.values(), *([manifest.synthetic] if manifest.synthetic else [])]
    code = (
        "import importlib.util, sys; "
        "print([name for name in sys.argv[1:] if importlib.util.find_spec(name) is None], "
        "'torch' in sys.modules)"
    )

    assert "[] False\n" == run("-c", code, *modules).stdout
    assert name == manifest.name


@pytest.mark.parametrize("name", TRAINERS)
def test_a_manifests_settings_are_settings_of_the_trainer(name):
    """Data set, folder and resume can be set by the names that the manifest gives."""
    manifest = manifests.load(name)
    ran = run("-m", manifest.answers.config, f"{flag(manifest.out_dir_setting)}=somewhere")
    leaves = re.findall(r'"(\w+)":', ran.stdout)

    assert 0 == ran.returncode, ran.stderr
    assert json.loads(ran.stdout)
    assert {manifest.out_dir_setting, manifest.resume_setting} <= set(leaves)
    assert manifest.data is None or manifest.data.setting in leaves
    batch = manifest.batch.model_dump().values() if manifest.batch else ()
    assert set(filter(None, batch)) <= set(leaves)
    assert "somewhere" in ran.stdout


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainers_check_runs_without_torch(name):
    """It takes the flags of a training, and finds nothing where there is nothing."""
    manifest = manifests.load(name)
    code = (
        "import runpy, sys; sys.argv = ['check']\n"
        "try: runpy.run_module(%r, run_name='__main__')\n"
        "finally: print('torch' in sys.modules)"
    )

    check = manifest.answers.check
    assert check is None or "[]\nFalse\n" == run("-c", code % check).stdout


@pytest.mark.parametrize(("name", "verb"), VERBS)
def test_a_verb_has_help(monkeypatch, name, verb):
    """Its own, below a line of gpuops; and no command of gpuops has its name."""

    def in_this_process(_python, module, words, **_options):
        try:
            return importlib.import_module(module).main(words)
        except SystemExit as ended:
            return ended.code

    monkeypatch.setattr(modules, "hand_over", in_this_process)
    ran = CliRunner().invoke(app, [verb, "--trainer", name, "--help"])

    assert 0 == ran.exit_code, ran.output
    assert ran.stdout.startswith(f"Usage: gpuops {verb} ")
    assert len(ran.stdout.splitlines()) > 3
    assert verb not in COMMANDS


@pytest.mark.parametrize("name", TRAINERS)
def test_a_trainer_says_what_it_is(name):
    """It has a README, a summary, and a config that needs no torch."""
    assert (ROOT / "trainers" / name / "README.md").is_file()
    assert manifests.load(name).summary
    code = f"import sys, trainers.{name}.config; print('torch' in sys.modules)"
    assert "False\n" == run("-c", code).stdout


@pytest.mark.parametrize("path", SCRIPTS, ids=names(SCRIPTS))
def test_a_shell_script_is_sound(path):
    """bash can read it, it says at its top that no error is passed over, and it can be run."""
    lines = path.read_text().splitlines()
    code = [line for line in lines if line.strip() and not line.startswith("#")]

    assert "#!/usr/bin/env bash" == lines[0]
    assert "set -euo pipefail" == code[0]
    assert os.access(path, os.X_OK)
    assert 0 == subprocess.run(["bash", "-n", str(path)], check=False).returncode
