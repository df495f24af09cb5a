"""What a container lets us have, in folders as the kernel shows them."""

from __future__ import annotations

import pytest

from gpuops.system.host import cgroups

GIB = 1024**3


@pytest.fixture(name="group")
def _group(tmp_path):
    """Write the files of a group, and say that we are in ``jobs/mine``."""
    root, own = tmp_path / "fs", tmp_path / "own"
    own.write_text("4:memory:/old\n0::/jobs/mine\n")
    root.mkdir()

    def group(path, **texts):
        folder = root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            (folder / name.replace("_", ".")).write_text(f"{text}\n")
        return root, own

    return group


def test_without_limits_there_are_none(group):
    """Neither where the files say so, nor where there are none."""
    places = group("jobs/mine", memory_max="max", memory_current=GIB, cpu_max="max 100000")

    assert cgroups.memory_limit_bytes(*places) is None
    assert cgroups.memory_left_bytes(*places) is None
    assert cgroups.cores(*places) is None


def test_the_narrowest_group_limits_us(group):
    """Ours or one above it: what is left, with the caches that can be dropped."""
    stat = f"anon 5\ninactive_file {GIB}\nactive_file 7"
    group("jobs/mine", memory_max=32 * GIB, memory_current=4 * GIB, cpu_max="800000 100000")
    places = group(
        "jobs",
        memory_max=16 * GIB,
        memory_current=10 * GIB,
        memory_stat=stat,
        cpu_max="350000 100000",
    )

    assert 16 * GIB == cgroups.memory_limit_bytes(*places)
    assert 7 * GIB == cgroups.memory_left_bytes(*places)
    assert 3 == cgroups.cores(*places)


def test_a_container_shows_its_limits_at_the_top(group):
    """Where our group's own folder is out of sight."""
    places = group("", memory_max=2 * GIB, memory_current=3 * GIB, cpu_max="50000 100000")

    assert 2 * GIB == cgroups.memory_limit_bytes(*places)
    assert 0 == cgroups.memory_left_bytes(*places)
    assert 1 == cgroups.cores(*places)


@pytest.mark.parametrize("text", ["", "many", "-1", "100000", "100000 0"])
def test_files_that_make_no_sense_limit_nothing(group, text):
    """Unknown is not zero."""
    places = group("jobs/mine", memory_max=text, memory_current=text, cpu_max=text)
    if text != "100000":
        assert cgroups.memory_limit_bytes(*places) is None
    assert cgroups.cores(*places) is None


def test_those_whom_the_kernel_ended_are_counted(group):
    """Of a group and all below it; unknown where the kernel does not count."""
    events = "low 0\nhigh 0\nmax 9\noom 3\noom_kill 2\noom_group_kill 0"
    mine = cgroups.own(*group("jobs/mine", memory_events=events))

    assert mine.parts[-2:] == ("jobs", "mine")
    assert cgroups.oom_kills(mine) == 2
    assert cgroups.oom_kills(mine.parent) is None


def test_this_machine_can_be_asked():
    """Whatever it answers, it is a number or nothing."""
    assert (cgroups.cores() or 1) >= 1
    assert (cgroups.memory_limit_bytes() or 1) >= 1
    assert (cgroups.memory_left_bytes() or 0) >= 0


def test_without_control_groups_nothing_is_limited(tmp_path):
    """An old kernel, or a mount that is not there."""
    assert cgroups.cores(tmp_path / "none", tmp_path / "none") is None
