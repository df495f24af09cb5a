"""Whether a job gets the GPUs that it wants."""

from __future__ import annotations

import pytest
from machines import CPU, CUDA, GIB, gpu, inventory, needs, snapshot

from gpuops.core.launch.choice import Wish, choose
from gpuops.core.machine.device import GpuInventory, GpuProcess
from gpuops.core.preflight.gpus import check_gpus

SOMEBODY = GpuProcess(pid=4711, user="alice", command="python", memory_bytes=GIB)
NOBODY_KNOWN = GpuProcess(pid=4712, user=None, command=None, memory_bytes=None)


def found(*gpus, profile=CUDA, **wish):
    """What is said of a job that wants two of these GPUs."""
    choice = choose(Wish(count=2, **wish), gpus)
    return check_gpus(snapshot(inventory=inventory(*gpus)), profile, needs(choice=choice))


def test_a_cpu_job_does_not_look_at_gpus():
    """There is nothing to say."""
    assert found(gpu(0), gpu(1), profile=CPU) is None
    assert check_gpus(snapshot(), CUDA, needs(choice=None)) is None


def test_free_gpus_are_fine():
    """The GPUs that the job takes are named, whatever happens on the others."""
    said = found(gpu(0), gpu(1), gpu(2), gpu(3, processes=(SOMEBODY,)))

    assert "ok" == said.severity
    assert "0, 1 of 4" in said.summary


@pytest.mark.parametrize(("who", "words"), [(SOMEBODY, "alice"), (NOBODY_KNOWN, "unknown user")])
def test_a_shared_gpu_is_a_warning_that_names_its_user(who, words):
    """Who computes on it, with what, as far as it is known."""
    said = found(gpu(0), gpu(1, processes=(who,)), share=True)

    assert "warning" == said.severity
    assert words in said.summary
    assert str(who.pid) in said.summary


def test_too_few_gpus_are_an_error_that_names_who_holds_them():
    """Both figures, and a way out."""
    said = found(gpu(0), gpu(1, processes=(SOMEBODY,)))

    assert "error" == said.severity
    assert "alice" in said.summary
    assert (1, 2) == (said.measured, said.wanted)
    assert "--wait" in said.hint


def test_force_is_offered_only_where_it_helps():
    """A GPU in use can be shared; one that is lost nobody can bring."""
    lost = gpu(1, fault="it is lost", state="lost")
    used = gpu(0, processes=(SOMEBODY,))
    mended, hopeless = found(gpu(0), gpu(1, processes=(SOMEBODY,))), found(used, lost)

    assert (mended.forcible, hopeless.forcible) == (True, False)
    assert "--force gpus" in mended.hint
    assert "--force" not in hopeless.hint
    assert ("error", False) == ((said := found(used, lost, share=True)).severity, said.forcible)


def test_a_gpu_whose_users_are_hidden_is_not_called_free():
    """Unknown is not free."""
    said = found(gpu(0), gpu(1, processes=None))

    assert "warning" == said.severity
    assert "free" not in said.summary


def test_gpus_that_cannot_be_read_are_an_error():
    """A blind look does not look healthy."""
    blind = snapshot(inventory=GpuInventory(gaps={"gpus": "no driver answers"}))

    said = check_gpus(blind, CUDA, needs(choice=choose(Wish(count=2), ())))

    assert "error" == said.severity
    assert "no driver answers" in said.summary
