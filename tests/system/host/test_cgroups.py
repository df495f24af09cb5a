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


def test_refused_forks_are_counted_with_those_above(group):
    """Which group counts them depends on the kernel."""
    mine = cgroups.pids_group(*group("jobs/mine", pids_events="max 2"))
    (mine.parent / "pids.events").write_text("max 3\n")

    assert 5 == cgroups.refused_forks(mine)
    assert cgroups.refused_forks(mine.parent.parent) is None


def test_this_machine_can_be_asked():
    """Whatever it answers, it is a number or nothing."""
    assert (cgroups.cores() or 1) >= 1
    assert (cgroups.memory_limit_bytes() or 1) >= 1
    assert (cgroups.memory_left_bytes() or 0) >= 0


def test_without_control_groups_nothing_is_limited(tmp_path):
    """An old kernel, or a mount that is not there."""
    assert cgroups.cores(tmp_path / "none", tmp_path / "none") is None


@pytest.fixture(name="v1")
def _v1(tmp_path):
    """Write the files of a group of one controller, and say that we are in ``/job``."""
    root, own = tmp_path / "fs", tmp_path / "own"
    trees = ("9:name=systemd:/", "4:memory:/job", "3:cpuset:/job", "2:cpu,cpuacct:/job")
    own.write_text("\n".join((*trees, "1:pids:/job", "0::/user.slice")))

    def v1(path, **texts):
        folder = root / path
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in texts.items():
            controller, _, rest = name.partition("__")
            (folder / f"{controller}.{rest}").write_text(f"{text}\n")
        return root, own

    return v1


def test_limits_of_v1_count_like_those_of_v2(v1):
    """Memory, quota, set of CPUs and processes; each from the tree of its controller."""
    v1(
        "memory/job",
        memory__limit_in_bytes=3 * GIB,
        memory__usage_in_bytes=2 * GIB,
        memory__stat=f"inactive_file 5\ntotal_inactive_file {GIB}",
    )
    v1("cpu,cpuacct/job", cpu__cfs_quota_us=250_000, cpu__cfs_period_us=100_000)
    places = v1("pids/job", pids__max=100, pids__current=60)

    assert 3 * GIB == cgroups.memory_limit_bytes(*places)
    assert 2 * GIB == cgroups.memory_left_bytes(*places)
    assert 2 == cgroups.cores(*places)
    assert (100, 60) == cgroups.processes(*places)
    v1("cpuset/job", cpuset__cpus="0,4-5")
    assert 2 == cgroups.cores(*places)
    v1("cpuset/job", cpuset__effective_cpus="5")
    assert 1 == cgroups.cores(*places)


def test_no_limit_of_v1_is_none(v1):
    """It writes the largest number of pages, and -1."""
    v1("memory", memory__limit_in_bytes=0x7FFFFFFFFFFFF000, memory__usage_in_bytes=GIB)
    v1("cpu", cpu__cfs_quota_us=-1, cpu__cfs_period_us=100_000)
    places = v1("pids", pids__max="max", pids__current=60)

    assert cgroups.memory_limit_bytes(*places) is None
    assert cgroups.memory_left_bytes(*places) is None
    assert cgroups.cores(*places) is None
    assert cgroups.processes(*places) is None


def test_the_smallest_of_nested_groups_of_v1_counts(v1):
    """Also that of a group above which a container does not show."""
    v1("memory", memory__limit_in_bytes=4 * GIB, memory__usage_in_bytes=GIB)
    v1("memory/job", memory__limit_in_bytes=8 * GIB, memory__usage_in_bytes=GIB)
    v1("cpu", cpu__cfs_quota_us=50_000, cpu__cfs_period_us=100_000)
    v1("cpu/job", cpu__cfs_quota_us=400_000, cpu__cfs_period_us=100_000)
    v1("pids", pids__max=100, pids__current=99)
    places = v1("pids/job", pids__max=50, pids__current=10)

    assert 4 * GIB == cgroups.memory_limit_bytes(*places)
    assert 3 * GIB == cgroups.memory_left_bytes(*places)
    assert 1 == cgroups.cores(*places)
    assert (100, 99) == cgroups.processes(*places)
    v1("memory/job", memory__stat=f"hierarchical_memory_limit {GIB}")
    assert GIB == cgroups.memory_limit_bytes(*places)


def test_a_job_that_is_slowed_down_above_a_limit_counts_it(group):
    """``memory.high`` of v2."""
    places = group("jobs", memory_max="max", memory_high=2 * GIB, memory_current=GIB)

    assert 2 * GIB == cgroups.memory_limit_bytes(*places)
    assert GIB == cgroups.memory_left_bytes(*places)


def test_v1_counts_those_whom_the_kernel_ended_too(v1):
    """Under another name, in the group whose memory we use."""
    mine = cgroups.own(*v1("memory/job", memory__oom_control="under_oom 0\noom_kill 2"))

    assert mine.parts[-2:] == ("memory", "job")
    assert cgroups.oom_kills(mine) == 2


@pytest.mark.parametrize(
    ("cpus", "cores"),
    [("0-3,8", 5), ("7", 1), ("", None), ("a-b", None), ("1-", None), ("3-1", None)],
)
def test_a_set_of_cpus_is_a_list_of_ranges(group, cpus, cores):
    """What makes no sense limits nothing."""
    assert cores == cgroups.cores(*group("jobs/mine", cpuset_cpus_effective=cpus))
