"""What is secret of a launch: in one file that its owner alone can read, masked everywhere else."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from run_folders import a_plan

from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.secrets import mask_words
from gpuops.errors import GpuopsError
from gpuops.system.runs import events, plan_file, run_dir

OTHER = 60001
SECRET = "hidden-word"  # noqa: S105 - what must not be found
ARGUMENTS = (f"--hf-token={SECRET}", "--api_key", SECRET, "--data", f"https://me:{SECRET}@host/x")
OPTIONS = LaunchOptions(on_exit=f"notify {SECRET}", on_hang=f"notify {SECRET}", arguments=ARGUMENTS)


@pytest.fixture(name="root")
def _root():
    """A run that was made under a lax umask, in a folder that all can read."""
    folder = Path(tempfile.mkdtemp(prefix="gpuops-secrets-"))
    folder.chmod(0o755)
    plan = replace(
        a_plan(folder),
        arguments=ARGUMENTS,
        options=OPTIONS,
        profile_environment={"PLAIN": SECRET},
        defaults={"wandb_key": SECRET, "lr": 0.1},
    )
    before = os.umask(0)
    try:
        run_dir.create(plan)
    finally:
        os.umask(before)
    root = Path(plan.run_dir)
    events.record(root, "attempt_started", attempt=1, command=mask_words(ARGUMENTS))
    yield root
    shutil.rmtree(folder)


def test_the_owner_alone_can_read_them(root):
    """Whatever the umask; the rest of the folder follows it."""
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in root.iterdir()}

    assert (modes["secrets.json"], modes["plan.json"]) == (0o600, 0o666)
    holding = {
        path.name for path in root.iterdir() if path.is_file() and SECRET in path.read_text()
    }
    assert holding == {"secrets.json"}


def test_the_plan_comes_back_whole(root):
    """A run that is started again gets its tokens again."""
    plan = plan_file.load_whole(root)

    assert plan == plan_file.load(root)
    assert plan.arguments == ARGUMENTS
    assert plan.options == OPTIONS
    assert plan.profile_environment == {"PLAIN": SECRET}
    assert plan.defaults == {"wandb_key": SECRET, "lr": 0.1}


def test_without_them_a_run_is_not_started_again(root):
    """A job that gets asterisks for its token would fail much later."""
    (root / "secrets.json").unlink()

    assert plan_file.load(root).profile_environment == {"PLAIN": "***"}
    with pytest.raises(GpuopsError, match=r"secrets\.json cannot be read"):
        plan_file.load_whole(root)


def test_a_plan_without_secrets_needs_none(root):
    """As older runs have it."""
    plan = replace(plan_file.load(root), arguments=(), options=LaunchOptions(), defaults={})
    plan = replace(plan, attempt=2, profile_environment={})
    run_dir.create(plan)
    (root / "secrets.json").unlink()

    assert plan_file.load_whole(root) == plan


@pytest.mark.parametrize("user", [None, OTHER])
def test_nothing_that_is_shown_holds_them(root, gpuops, user):
    """Neither to the owner, who may send it to others, nor to another user."""
    if user is not None and os.geteuid() != 0:
        pytest.skip("only root can be another user")
    (root / "config_used.yaml").write_text(f"lr: 1\nhf_token: {SECRET} more\n")
    gpuops.folder = root.parent
    page = Path(tempfile.mkdtemp()) / "page.html"
    page.parent.chmod(0o777)
    for words in (
        ("runs", "show", root.name),
        ("runs", "show", root.name, "--json"),
        ("report", root.name, "--json"),
        ("report", root.name, "--html", page),
    ):
        done = gpuops(*words, "--runs-dir", root.parent, user=user)
        assert (done.returncode, SECRET in done.stdout + done.stderr) == (0, False), done.stderr

    assert (SECRET in page.read_text(), "--hf-token=***" in page.read_text()) == (False, True)
    shutil.rmtree(page.parent)


def test_events_of_older_runs_are_masked_when_they_are_read(root):
    """They hold whole commands."""
    events.record(root, "attempt_started", attempt=2, command=list(ARGUMENTS))

    assert SECRET not in json.dumps(events.read(root))


def test_a_dry_run_is_masked(gpuops, own_port, tmp_path):  # noqa: ARG001 - ./profiles/cpu.yaml
    """Its command is pasted into tickets; what was typed is known to who typed it."""
    profile = tmp_path / "profiles" / "cpu.yaml"
    added = f"environment:\n  HF_TOKEN: {SECRET}\n  PLAIN: seen\n"
    profile.write_text(profile.read_text().replace("environment:\n", added))
    (tmp_path / "train.py").touch()
    words = ("plan", "./train.py", "--profile", "cpu", "--force", "torch", *ARGUMENTS)
    for flags in ((), ("--json",)):
        done = gpuops(*words, *flags)
        assert (done.returncode, SECRET in done.stdout + done.stderr) == (0, False), done.stderr
        assert "PLAIN" in done.stdout
