"""The machine around the GPUs."""

from __future__ import annotations

import pytest
from machines import CPU, CUDA, GIB, needs, snapshot

from gpuops.core.launch.profile import Gpus, Profile
from gpuops.core.machine.device import GpuInventory
from gpuops.core.machine.snapshot import ProcessLimit
from gpuops.core.preflight import host

UNLIMITED = float("inf")


def finding(check, machine=None, *, profile=CPU, **job):
    """What one check finds."""
    return getattr(host, f"check_{check}")(machine or snapshot(), profile, needs(**job))


def test_more_workers_than_the_memory_holds_are_an_error():
    """The offer is a number that does fit."""
    found = finding("memory", snapshot(memory_available_bytes=5 * GIB), workers=6)

    assert "error" == found.severity
    assert ("5.0 GiB", "6.0 GiB") == (found.measured, found.wanted)
    assert "--nproc-per-node 5" in found.hint
    again = finding("memory", snapshot(memory_available_bytes=5 * GIB), workers=5)
    assert "ok" == again.severity


def test_a_limit_of_address_space_must_hold_a_rank():
    """Whatever memory there is; without a limit it is not looked at."""
    found = finding("memory", snapshot(address_space_bytes=GIB // 2))

    assert ("error", "0.5 GiB") == (found.severity, found.measured)
    assert "ulimit -v" in found.hint
    for enough in (GIB, UNLIMITED, None):
        assert "ok" == finding("memory", snapshot(address_space_bytes=enough)).severity


def test_the_offer_is_one_that_the_cores_can_take_too():
    """On a CPU host; ranks on GPUs are not counted by cores."""
    machine = snapshot(memory_available_bytes=5 * GIB, cpu_cores=3)

    assert "--nproc-per-node 3" in finding("memory", machine, workers=6).hint
    assert "--nproc-per-node 5" in finding("memory", machine, workers=6, profile=CUDA).hint


def test_where_not_one_worker_fits_none_is_offered():
    """A hint that cannot help is no hint."""
    found = finding("memory", snapshot(memory_available_bytes=GIB // 2), workers=1)

    assert "error" == found.severity
    assert "--nproc-per-node" not in found.hint


@pytest.mark.parametrize("gap", ["memory_total_bytes", "memory_available_bytes"])
def test_unknown_memory_is_a_warning(gap):
    """It is shown for the record, or said to be unknown."""
    assert "32.0 of 64.0 GiB available, about 2.0 GiB needed" == finding("memory").summary
    assert "warning" == finding("memory", snapshot(**{gap: None})).severity


@pytest.mark.parametrize(
    ("workers", "severity"), [(1, "ok"), (8, "ok"), (9, "warning"), (32, "warning"), (33, "error")]
)
def test_more_cpu_workers_than_cores_are_slow(workers, severity):
    """Sharing a core is a warning, crowding it an error."""
    found = finding("cores", workers=workers)

    assert severity == found.severity
    assert (8, workers) == (found.measured, found.wanted)


def test_ranks_on_gpus_keep_a_core_busy_too():
    """Few cores make the GPUs wait; they are never an error."""
    found = finding("cores", snapshot(cpu_cores=1), profile=CUDA, workers=8)

    assert "warning" == found.severity
    assert "8 workers share 1 core" == found.summary
    assert "as fast" not in found.hint


@pytest.mark.parametrize("profile", [CPU, CUDA])
def test_cores_here_are_not_those_of_a_simulated_machine(profile):
    """Never more than a warning, and it says whose they are."""
    machine = snapshot(cpu_cores=1, inventory=GpuInventory(simulated="8x4090"))

    found = finding("cores", machine, profile=profile, workers=8)

    assert "warning" == found.severity
    assert "1 core of this host, not of 8x4090" in found.summary


@pytest.mark.parametrize(
    ("cores", "hint"), [(10, ""), (9, "`--num-workers 3`"), (2, "`--num-workers 0`")]
)
def test_processes_that_read_data_want_a_core_each(cores, hint):
    """Two ranks with four of them each; the offer fits."""
    found = finding("cores", snapshot(cpu_cores=cores), profile=CUDA, loader_workers=4)

    assert hint in found.hint
    assert bool(hint) == (found.severity == "warning")
    assert (cores, 10) == (found.measured, found.wanted)


def test_an_unknown_number_of_cores_is_not_judged():
    """None is not zero cores."""
    assert finding("cores", snapshot(cpu_cores=None), workers=100) is None


@pytest.mark.parametrize(
    ("free", "severity"),
    [(8 * GIB, "ok"), (GIB // 4, "ok"), (GIB // 4 - 1, "warning"), (0, "warning")],
)
def test_little_shared_memory_is_a_warning(free, severity):
    """Containers have 64 MB by default."""
    assert severity == finding("shm", snapshot(shm_free_bytes=free)).severity


@pytest.mark.parametrize(
    ("limit", "loaders", "severity"),
    [
        (1024, 0, "ok"),
        (1024, 16, "ok"),
        (1024, 32, "warning"),
        (256, 0, "warning"),
        (UNLIMITED, 1000, "ok"),
    ],
)
def test_a_low_limit_of_open_files_is_a_warning(limit, loaders, severity):
    """The usual 1024 are enough for most jobs."""
    found = finding("open_files", snapshot(open_files=limit), loader_workers=loaders)

    assert severity == found.severity
    assert 256 + 2 * 16 + 32 * loaders == found.wanted
    assert severity == "ok" or "ulimit -n" in found.hint
    assert "inf" not in str(found.measured)


NO_IB = Profile(name="no-ib", gpus=Gpus(count=2), environment={"NCCL_IB_DISABLE": "1"})


@pytest.mark.parametrize(
    ("machine", "profile", "severity"),
    [
        ({"infiniband": ("mlx5_0",), "memlock_bytes": 8 * 1024**2}, CUDA, "warning"),
        ({"infiniband": ("mlx5_0",), "memlock_bytes": UNLIMITED}, CUDA, "ok"),
        ({"infiniband": ("mlx5_0",), "memlock_bytes": None}, CUDA, None),
        ({"infiniband": (), "memlock_bytes": 0}, CUDA, None),
        ({"infiniband": ("mlx5_0",), "memlock_bytes": 0}, NO_IB, None),
        ({"infiniband": ("mlx5_0",), "memlock_bytes": 0}, CPU, None),
        (
            {
                "infiniband": ("mlx5_0",),
                "memlock_bytes": 0,
                "environment": {"NCCL_IB_DISABLE": "1"},
            },
            CUDA,
            None,
        ),
    ],
)
def test_locked_memory_matters_where_infiniband_is_used(machine, profile, severity):
    """Nowhere else."""
    found = finding("memlock", snapshot(**machine), profile=profile)

    assert severity == (found.severity if found else None)
    assert severity != "warning" or ("8 MiB", "no limit") == (found.measured, found.wanted)


def test_a_run_folder_that_cannot_be_written_is_an_error():
    """With the reason, as the system gave it."""
    machine = snapshot(output_writable=False, gaps={"output": "Read-only file system"})

    found = finding("output", machine)

    assert "error" == found.severity
    assert "runs/r cannot be written: Read-only file system" in found.summary


def test_too_little_disk_for_the_checkpoints_is_an_error():
    """Before the first step, not at the first checkpoint."""
    found = finding("output", snapshot(disk_free_bytes=GIB - 1))

    assert "error" == found.severity
    assert "ok" == finding("output", snapshot(disk_free_bytes=GIB)).severity


def test_unknown_disk_space_is_a_warning():
    """None is not zero bytes, and not enough either."""
    assert "warning" == finding("output", snapshot(disk_free_bytes=None)).severity


@pytest.mark.parametrize(
    ("skew_s", "said"),
    [
        (0.0, None),
        (-2.0, None),
        (7.25, "7.2 s ahead of the host's clock"),
        (-3600.0, "3600.0 s behind the host's clock"),
    ],
)
def test_a_disk_with_another_clock_is_a_warning(skew_s, said):
    """Either way."""
    found = finding("clock", snapshot(clock_skew_s=skew_s))

    assert ("ok" if said is None else "warning") == found.severity
    assert said is None or said in found.summary
    assert f"{skew_s:+.1f} s" == found.measured


@pytest.mark.parametrize(("synchronised", "said"), [(True, False), (None, False), (False, True)])
def test_a_clock_that_nobody_keeps_is_mentioned(synchronised, said):
    """It warns of nothing by itself."""
    found = finding("clock", snapshot(clock_synchronised=synchronised))

    assert "ok" == found.severity
    assert said == ("not synchronised" in found.summary)


def test_an_unknown_clock_says_nothing():
    """Where nothing could be written, another check says so."""
    assert finding("clock", snapshot(clock_skew_s=None)) is None


@pytest.mark.parametrize(("free", "offered"), [(29502, True), (None, False)])
def test_a_port_in_use_is_an_error_with_another(free, offered):
    """A port is only offered where one was found."""
    found = finding("port", snapshot(port_free=False, next_free_port=free))

    assert "error" == found.severity
    assert "port 29501 is in use" in found.summary
    assert offered == ("--master-port 29502" in found.hint)
    assert "None" not in found.hint


def test_a_port_that_is_not_allowed_is_not_called_in_use():
    """The sentence says what is wrong."""
    machine = snapshot(port_free=False, gaps={"port": "not allowed for this user"})

    assert "port 29501 is not allowed for this user" in finding("port", machine).summary


def test_another_port_than_the_usual_one_is_said():
    """Where the usual one is taken, a launch takes the next."""
    assert "port 29501 is free" in finding("port", usual_port=29501).summary
    assert "not" not in finding("port", usual_port=29501).summary
    assert "(29400 is not)" in finding("port", usual_port=29400).summary


def limits(left, of="user", **changes):
    return snapshot(process_limits=(ProcessLimit(of=of, limit=1000, used=1000 - left, **changes),))


@pytest.mark.parametrize(
    ("left", "severity"), [(500, "ok"), (30, "warning"), (9, "error"), (0, "error"), (-5, "error")]
)
def test_processes_and_threads_must_fit_their_limit(left, severity):
    """Those of two ranks and torchrun are an error, those of libraries a warning."""
    found = finding("processes", limits(left))

    assert severity == found.severity
    assert max(0, left) == found.measured
    assert f"{max(0, left)} more processes and threads of 1000 are allowed" in found.summary


@pytest.mark.parametrize(("of", "mend"), [("user", "ulimit -u "), ("group", "--pids-limit")])
def test_each_limit_of_processes_has_its_own_command(of, mend):
    """The number that it offers is enough."""
    found = finding("processes", limits(10, of))

    assert mend in found.hint
    if of == "user":
        offered = int(found.hint.partition("ulimit -u ")[2].partition("`")[0])
        assert offered >= 990 + found.wanted


def test_the_limit_with_the_fewest_left_counts():
    """Of the user's and the group's; and it is said if more may count that we cannot see."""
    both = (
        ProcessLimit(of="user", limit=90, used=10, unseen=True),
        ProcessLimit(of="group", limit=5000, used=4999),
    )
    found = finding("processes", snapshot(process_limits=both))

    assert (1, False) == (found.measured, "outside" in found.summary)
    assert "outside" in finding("processes", snapshot(process_limits=both[:1])).summary
    assert finding("processes", snapshot()) is None


def test_processes_that_read_data_count_too():
    """Each is a process with threads."""
    few, many = (finding("processes", limits(500), loader_workers=n).wanted for n in (0, 8))

    assert many > few + 2 * 8


def test_too_few_files_for_torchrun_are_an_error():
    """It could not even start."""
    assert "error" == finding("open_files", snapshot(open_files=16)).severity
    assert "ulimit -n" in finding("open_files", snapshot(open_files=16)).hint
