"""Runs of other users: what may be seen is shown, nothing of theirs is run, signalled or believed.

Root is one user, ANN and BOB are others, as the kernel knows them.
"""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
from run_folders import record_process
from runs_of_users import ANN, BOB, place_of_users

from gpuops import reaper, report
from gpuops.errors import UsageError
from gpuops.system.runs import ownership

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
READING = (
    ("runs", "list"), ("runs", "show"), ("report",), ("logs",), ("diagnose",),
    ("monitor", "--once", "--run"),
)  # fmt: skip


@pytest.fixture(name="place")
def _place(gpuops):
    with place_of_users(gpuops) as place:
        yield place


def name_as_its_processes(root, uid, victim):
    """Forge a record: the processes of a run are one that has nothing to do with it."""
    named = reaper.identity(victim.pid)
    record_process(root, agent=named, reaper=named)
    os.chown(root / "state" / "attempt-1" / "process.json", uid, uid)


ACTING = ("stop", "supervise", "evaluate", "describe", "launch --resume", "kill-hung --yes --run")


@pytest.mark.parametrize("command", ACTING)
def test_nobody_acts_on_another_users_run(place, command):
    """Nothing of its plan is run, nothing that it names is signalled; its owner is named."""
    root = place.make(BOB)
    victim = place.start(ANN, "sleep", "600")
    name_as_its_processes(root, BOB, victim)
    code, said = place.gpuops(*command.split(), root.name)

    assert code == 2
    assert f"run {root.name} belongs to {BOB}" in said
    words = command.replace(" --yes", "")
    assert f"sudo -u {BOB} gpuops {words} {root.name}`" in said
    assert victim.poll() is None
    assert not place.run_by_plan.exists()


def test_reading_runs_nothing_and_signals_nobody(place):
    """Whatever another user has written there."""
    root = place.make(BOB)
    victim = place.start(ANN, "sleep", "600")
    name_as_its_processes(root, BOB, victim)
    for words in READING:
        named = [] if words[-1] == "list" else [root.name]
        code, said = place.gpuops(*words, *named)
        assert code in {0, 1, 2}
        assert str(BOB) in said

    assert victim.poll() is None
    assert not place.run_by_plan.exists()


def test_last_is_ones_own_last(place):
    """The newest run may be another user's bait."""
    mine = place.make(ANN, "20260101-000000-mine")
    place.make(BOB, "99991231-235959-bait")
    shown = place.json("runs", "show", "last")

    assert (shown["run"]["run_id"], shown["run"]["ours"]) == (mine.name, True)
    code, said = place.gpuops("stop", "last", user=0)
    assert (code, "no run here is yours" in said) == (2, True)


def test_without_a_run_of_ones_own_last_names_the_owner(place):
    """With the command that would stop it."""
    root = place.make(0)
    for command in ("logs", "stop"):
        code, said = place.gpuops(command, "last")
        assert (code, f"{root.name}, belongs to root" in said) == (2, True)
        assert f"sudo -u root gpuops {command} {root.name}" in said


def test_the_list_names_owners_and_what_may_not_be_read(place):
    """A run made under a strict umask is there, and counted."""
    place.make(ANN, "20260101-000000-mine")
    place.make(0, "20260102-000000-seen")
    hidden = place.make(0, "20260103-000000-shut")
    hidden.chmod(0o700)
    code, said = place.gpuops("runs", "list")

    assert (code, "1 run of root that you may not read" in said) == (0, True)
    assert "owner" in said
    assert ["root", str(ANN)] == [run["owner"] for run in place.json("runs", "list")]
    code, said = place.gpuops("stop", hidden.name)
    assert (code, "belongs to root, and you may not read it" in said) == (2, True)


def test_alone_a_run_that_may_not_be_read_is_not_no_run(place):
    """It is not said that there are none."""
    place.make(0, "20260103-000000-shut").chmod(0o700)
    code, said = place.gpuops("runs", "list")

    assert (code, "no runs" in said) == (0, False)
    assert "1 run of root that you may not read" in said
    assert "belongs to root" in place.gpuops("runs", "show", "last")[1]


def test_a_folder_of_runs_that_may_not_be_read_names_its_owner(place):
    """Exit code 3."""
    place.runs.chmod(0o700)
    code, said = place.gpuops("runs", "list")

    assert (code, "of root cannot be read" in said) == (3, True), said


def test_parts_that_may_not_be_read_are_named(place):
    """The rest is shown; what is not known is not guessed."""
    root = place.make(0)
    (root / "state").chmod(0o700)
    (root / "events.jsonl").touch(0o600)
    code, said = place.gpuops("runs", "show", root.name)

    assert (code, "you may not read: events.jsonl, state" in said) == (0, True)
    assert place.json("runs", "list")[0]["status"] == "hidden"


def test_logs_that_may_not_be_read_name_their_owner(place):
    """The folders that torchrun makes are its user's alone."""
    root = place.make(0)
    logs = root / "logs" / "attempt-1"
    (logs / "shut").mkdir(0o700)
    (logs / "shut" / "stdout.log").write_text("x")
    (logs / "rank-0").symlink_to("shut")
    code, said = place.gpuops("logs", root.name)

    assert (code, "belong to root, and you may not read them" in said) == (1, True)


def test_a_running_run_of_another_user_is_running(place):
    """Not 'no process is alive'."""
    root = place.make(0)
    place.start_job(root, 0)

    assert place.json("runs", "show", root.name)["run"]["status"] == "running"
    code, said = place.gpuops("kill-hung", "--run", root.name, "--yes")
    assert (code, "belongs to root" in said) == (2, True)
    code, said = place.gpuops("monitor", "--once", "--run", root.name)
    assert (code, "is running; only its owner, root," in said) == (0, True)
    code, said = place.gpuops("diagnose", root.name)
    assert (code, "sudo -u root gpuops diagnose" in said) == (2, True)


def test_root_stops_a_users_run_by_its_name(place):
    """Who writes nothing there, and asks no trainer."""
    root = place.make(ANN, stop_save_s=0.5)
    job = place.start_job(root, ANN)
    code, said = place.gpuops("stop", root.name, user=0)

    assert (code, "has stopped" in said) == (0, True), said
    assert job.wait(20) is not None
    assert not place.run_by_plan.exists()
    assert {path.stat().st_uid for path in root.rglob("*")} == {ANN}


def test_ones_own_run_is_stopped_and_shown_without_its_interpreter(place):
    """It may be gone, or not be the one that it was."""
    root = place.make(ANN, stop_save_s=0.5)
    assert place.json("runs", "list")  # from here on an answer takes no time
    place.start_job(root, ANN, "3")
    code, said = place.gpuops("attach", root.name)
    assert (code, f"{root.name} finished" in said) == (0, True), said
    (root / "state" / "attempt-1" / "exit.json").unlink()
    (root / "state" / "attempt-1" / "process.json").unlink()
    place.start_job(root, ANN)
    code, said = place.gpuops("stop", root.name)

    assert code == 128 + signal.SIGTERM, said
    assert not place.run_by_plan.exists()


def test_a_checkpoint_that_another_user_put_among_ours_is_refused(place):
    """The run was left open to all, and it may be the newest."""
    root = place.make(ANN)
    planted = root / "checkpoints" / "step-9"
    planted.mkdir(parents=True)
    os.chown(planted, BOB, BOB)
    for command in ("launch --resume", "evaluate"):
        code, said = place.gpuops(*command.split(), root.name)
        assert (code, f"{planted} belongs to {BOB}" in said) == (2, True), said


@pytest.mark.parametrize("user", [0, ANN])
def test_a_folder_that_lies_about_a_process_signals_nobody(place, user):
    """Neither its owner's processes, nor those of root, who stops it."""
    root = place.make(ANN)
    victim = place.start(user, "sleep", "600")
    name_as_its_processes(root, ANN, victim)
    for command in ("stop", "supervise", "diagnose"):
        if command != "supervise" or user == ANN:
            code, said = place.gpuops(command, root.name, user=user)
            assert code == 2
            assert f"this folder names pid {victim.pid}, which is not a process of run" in said

    assert victim.poll() is None


def test_a_copy_of_a_running_run_is_not_the_run(place):
    """Its record names true processes, of another folder."""
    root = place.make(ANN)
    job = place.start_job(root, ANN)
    copy = place.runs / "20260101-000001-copy"
    shutil.copytree(root, copy)
    place.give(copy, ANN)
    code, said = place.gpuops("stop", copy.name)

    assert (code, f"this folder names pid {job.pid}, which" in said) == (2, True)
    assert job.poll() is None


def test_a_checkpoint_of_another_user_is_not_resumed(place):
    """A copy is."""
    root = place.make(BOB)
    checkpoint = root / "checkpoints" / "step-1"
    checkpoint.mkdir(parents=True)
    code, said = place.gpuops("launch", "rvq", "--profile", "cpu", "--resume", checkpoint)

    assert (code, f"belongs to {BOB}" in said) == (2, True)
    ownership.require_trusted_checkpoint(Path(shutil.copytree(checkpoint, place.folder / "copy")))


def test_a_run_that_cannot_be_written_is_not_forced(place):
    """`--force output` would not help."""
    root = place.make(ANN)
    root.chmod(0o555)
    code, said = place.gpuops("launch", "--resume", root.name)

    assert (code, "cannot be written" in said, "--force" in said) == (2, True, False)


def test_a_link_is_not_a_way_around(place):
    """Neither another user's link to our run, nor our link to theirs."""
    ours, theirs = place.make(0), place.make(BOB, "20260102-000000-toy")
    for name, target, maker in (("link-a", ours, BOB), ("link-b", theirs, 0)):
        link = place.runs / name
        link.symlink_to(target)
        os.chown(link, maker, maker, follow_symlinks=False)
        with pytest.raises(UsageError, match=f"belongs to {BOB}"):
            ownership.require_ours(link, "stop")


def test_a_plan_that_another_user_put_there_is_theirs(place):
    """Though the folder is ours: it was left open to all."""
    root = place.make(0)
    os.chown(root / "plan.json", BOB, BOB)

    assert ownership.owner(root) == BOB


def test_a_page_holds_no_file_that_another_users_run_only_links_to(place):
    """It would be sent to others."""
    private = place.folder / "private"
    private.write_text("width: 8")
    root = place.make(ANN)
    (root / "config_used.yaml").symlink_to(private)
    assert "config_used.yaml" not in report.read(root).configuration
    os.chown(private, ANN, ANN)  # where a trainer writes elsewhere, its own file is linked to
    assert report.read(root).configuration["config_used.yaml"] == "width: 8"
