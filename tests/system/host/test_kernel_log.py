"""Xid errors out of the kernel's log, as /dev/kmsg gives it."""

from __future__ import annotations

import os
import time

import pytest

from gpuops.system.host.kernel_log import KMSG, KernelLog, slot

OFF_THE_BUS = "4,812,93000000,-;NVRM: Xid (PCI:0000:c1:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.\n"  # noqa: E501
OTHERS = """\
6,1,0,-;Linux version 6.8.0
4,700,50000000,-;NVRM: loading NVIDIA UNIX x86_64 Kernel Module  580.95.05
 SUBSYSTEM=pci
 DEVICE=+pci:0000:c1:00.0
4,701,60000000,-;NVRM: GPU at PCI:0000:c1:00: GPU-7c0502ba-0a05-42ba-8057-f7b67fb6cc9a
4,702,70000000,c;nvidia 0000:c1:00.0: NVRM: Xid (not a slot): 13, nothing
half a line
"""


@pytest.fixture(name="log")
def _log(tmp_path):
    """A log that is written to, and who reads it."""
    path = tmp_path / "kmsg"
    path.write_text(OTHERS)
    log = KernelLog(path)
    yield path, log
    log.close()


def test_an_xid_is_read_with_its_gpu_its_time_and_its_words(log):
    """The clock of the records counts from boot; we count from the epoch."""
    path, reader = log
    path.write_text(OTHERS + OFF_THE_BUS)
    found = reader.xids()
    (xid,) = found["0000:c1:00.0"]

    assert ["0000:c1:00.0"] == list(found)
    assert xid.code == 79
    assert xid.text == "pid='<unknown>', name=<unknown>, GPU has fallen off the bus."
    assert xid.at_s == pytest.approx(time.time() - time.monotonic() + 93, abs=1)


@pytest.mark.parametrize(
    ("words", "gpu", "code", "text"),
    [
        ("NVRM: Xid (0000:03:00): 43, Ch 00000018", "0000:03:00.0", 43, "Ch 00000018"),
        ("NVRM: Xid (PCI:0000:9B:00 GPU-I:05): 13, pid=7", "0000:9b:00.0", 13, "pid=7"),
        ("NVRM: Xid (PCI:0018:01:00): 145, RLW", "0018:01:00.0", 145, "RLW"),
        ("NVRM: Xid (PCI:10000:e1:00): 62, x", "10000:e1:00.0", 62, "x"),
        ("nvidia 0000:03:00.0: NVRM: Xid (PCI:0000:03:00): 8", "0000:03:00.0", 8, ""),
    ],
)
def test_drivers_spell_it_in_several_ways(log, words, gpu, code, text):
    """Older ones without PCI, those of GPUs in MIG mode with an instance."""
    path, reader = log
    path.write_text(f"4,1,1,-;{words}\n")

    assert [(gpu, [(code, text)])] == [
        (slot, [(xid.code, xid.text) for xid in xids]) for slot, xids in reader.xids().items()
    ]


def test_what_was_read_is_kept_and_what_is_new_added(log):
    """A look costs what was written since the last one; half a record waits for its end."""
    path, reader = log
    with path.open("a") as file:
        file.write(OFF_THE_BUS + OFF_THE_BUS[:30])
        file.flush()
        first = reader.xids()
        file.write(OFF_THE_BUS[30:])
        file.flush()
        second = reader.xids()

    assert [1, 2] == [len(found["0000:c1:00.0"]) for found in (first, second)]
    assert second == reader.xids()


@pytest.mark.parametrize(
    ("words", "pid"),
    [
        ("Out of memory: Killed process 71 (python) total-vm:9kB, UID:7 oom_score_adj:0", 71),
        ("Memory cgroup out of memory: Killed process 72 (pt_data_worker) total-vm:9kB", 72),
        ("Memory cgroup out of memory: Kill process 73 (a b) score 9 or sacrifice child", 73),
        ("Killed process 74 (python) total-vm:9kB, anon-rss:8kB", 74),
        ("oom-kill:constraint=CONSTRAINT_NONE,task_memcg=/a,task=x,pid=1,pid=75,uid=0", 75),
        ("python invoked oom-killer: gfp_mask=0xcc0, order=0, oom_score_adj=0", None),
        ("somebody writes: Out of memory: Killed process 76 (python)", None),
        ("Out of memory and no killable processes...", None),
    ],
)
def test_whom_the_kernel_ended_for_want_of_memory_is_read(log, words, pid):
    """As kernels of several ages put it; one that was made up by a name does not pass."""
    path, reader = log
    path.write_text(f"{OTHERS}3,900,95000000,-;{words}\n")
    found = reader.oom_kills()

    assert [pid] * (pid is not None) == [kill.pid for kill in found]
    assert all(kill.text == words for kill in found)


def test_how_far_back_the_log_reaches_is_known(log):
    """It is a ring, in which the oldest records make room for the newest."""
    path, reader = log
    booted_at_s = time.time() - time.monotonic()
    path.write_text(OFF_THE_BUS)

    assert not reader.reaches(booted_at_s + 80)
    assert reader.reaches(booted_at_s + 100)


def test_a_log_that_is_not_there_is_a_gap(tmp_path):
    """Not: no errors."""
    log = KernelLog(tmp_path / "kmsg")

    assert log.xids() is None
    assert (log.oom_kills(), log.reaches(time.time())) == ((), False)
    assert "the kernel's log cannot be read here" in log.gap


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_log_that_may_not_be_read_is_a_gap(tmp_path):
    """With the way to read it all the same."""
    path = tmp_path / "kmsg"
    path.touch(mode=0)
    log = KernelLog(path)

    assert log.xids() is None
    assert "sudo dmesg" in log.gap


@pytest.mark.skipif(not os.access(KMSG, os.R_OK), reason="the kernel's log is not for us")
def test_the_kernels_own_log_is_read_to_its_end():
    """All records there are, without waiting for another."""
    log = KernelLog()
    found = log.xids()
    log.close()

    assert found is None or isinstance(found, dict)


@pytest.mark.parametrize(
    ("bus_id", "spelt"),
    [
        ("00000000:C1:00.0", "0000:c1:00.0"),
        ("0000:c1:00", "0000:c1:00.0"),
        ("c1:00.0", "0000:c1:00.0"),
        ("00010000:E1:00.0", "10000:e1:00.0"),
        ("nothing", None),
        ("", None),
    ],
)
def test_a_slot_has_one_spelling(bus_id, spelt):
    """That of /sys."""
    assert spelt == slot(bus_id)
