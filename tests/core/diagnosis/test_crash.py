"""Why a job crashed, from what ranks and torchrun write when they end."""

from __future__ import annotations

import pytest
from crash_logs import (
    ASKED,
    KILLED,
    MISMATCH,
    NAN,
    NCCL_REMOTE,
    PEER_CLOSED,
    PORT,
    RAISED,
    SPARED,
    WATCHDOG,
    crash,
    end,
    raised,
)

from gpuops.core.diagnosis.crash import diagnose_crash
from gpuops.core.diagnosis.torchrun_failure import RankEnd
from gpuops.core.machine.device import Xid
from gpuops.core.machine.oom_kills import OomKills

OOM = "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 20.00 MiB. GPU 0 has a total"
NOT_PYTHON = "SyntaxError: invalid syntax\n"
CASES = {
    "killed from outside": (
        crash(end(1, code=-9), ASKED, oom=SPARED),
        ("signal", 1, True, "was killed from outside (SIGKILL), and not by the kernel"),
    ),
    "killed by the kernel": (
        crash(end(1, code=-9), ASKED, oom=OomKills(logged=(KILLED,))),
        ("out of memory (host)", 1, True, "killed by the kernel (SIGKILL): out of host memory"),
    ),
    "killed while the kernel ended another process": (
        crash(end(2, code=-9), oom=OomKills(logged=(KILLED,), log_complete=True, counted=1)),
        ("signal", 2, True, "and not by the kernel"),
    ),
    "killed while the kernel ended one of its group": (
        crash(end(2, code=-9), oom=OomKills(counted=1)),
        ("signal", 2, False, "perhaps by the kernel for lack of memory"),
    ),
    "killed while the kernel ended none of its group": (
        crash(end(2, code=-9), oom=OomKills(counted=0)),
        ("signal", 2, True, "and not by the kernel"),
    ),
    "killed, and the log no longer tells of so long ago": (
        crash(end(2, code=-9), oom=OomKills(logged=(KILLED,))),
        ("signal", 2, False, "which is not visible here"),
    ),
    "killed, by whom nobody knows": (
        crash(end(1, code=-9), ASKED),
        ("signal", 1, False, "perhaps by the kernel for lack of memory"),
    ),
    "killed, after it had logged an error": (
        crash(end(1, raised("ValueError: ill; tried again"), code=-9), oom=SPARED),
        ("signal", 1, True, "killed from outside (SIGKILL)"),
    ),
    "a crash of native code": (
        crash(end(1, code=-11), ASKED),
        ("signal", 1, True, "rank 1 crashed with SIGSEGV"),
    ),
    "a bus error": (crash(end(1, code=-7)), ("signal", 1, True, "crashed with SIGBUS")),
    "a signal given apart": (
        crash(RankEnd(rank=0, exitcode=-11)),
        ("signal", 0, True, "crashed with SIGSEGV"),
    ),
    "an exception": (
        crash(end(1, RAISED), ASKED),
        ("exception", 1, True, "rank 1 raised ValueError: frame 3 of take-7.bvh has 62 joints"),
    ),
    "an exception, the peer's error seen before": (
        crash(end(0, PEER_CLOSED, at=99.0), end(1, RAISED, code=-15)),
        ("exception", 1, True, "ValueError: frame 3"),
    ),
    "an exception of the earliest": (
        crash(end(0, raised("KeyError: 'b'"), at=101.0), end(1, raised("KeyError: 'a'"))),
        ("exception", 1, True, "rank 1 raised KeyError: 'a' at step (train.py:31)"),
    ),
    "an exception, torn down badly": (
        crash(
            end(
                0,
                raised("ValueError: ill")
                + "\nDuring handling of the above exception, another exception occurred:\n\n"
                + PEER_CLOSED,
            )
        ),
        ("exception", 0, True, "raised ValueError: ill"),
    ),
    "an exception, said better by another": (
        crash(
            end(
                0,
                raised("KeyError: 'w'")
                + "\nThe above exception was the direct cause of the following exception:\n\n"
                + raised("ValueError: the model has no weight 'w'"),
            )
        ),
        ("exception", 0, True, "raised ValueError: the model has no weight 'w'"),
    ),
    "an exception of a loader's worker": (
        crash(
            end(
                0,
                raised("ValueError: Caught ValueError in DataLoader worker process 0.")
                + "Original "
                + RAISED.replace("[rank1]: ", ""),
            )
        ),
        ("exception", 0, True, "frame 3 of take-7.bvh has 62 joints, not 63 at load (train.py:6)"),
    ),
    "out of GPU memory": (
        crash(end(1, raised(OOM)), ASKED),
        ("out of memory (gpu)", 1, True, "ran out of GPU memory: torch.OutOfMemoryError"),
    ),
    "out of shared memory": (
        crash(
            end(
                0,
                raised(
                    "RuntimeError: DataLoader worker (pid 9) is killed by signal: Bus error. It is "
                    "possible that dataloader's workers are out of shared memory."
                ),
            )
        ),
        ("shared memory full", 0, True, "ran out of shared memory (/dev/shm)"),
    ),
    "a loader's worker killed": (
        crash(
            end(0, raised("RuntimeError: DataLoader worker (pid 9) is killed by signal: Killed."))
        ),
        ("out of memory (host)", 0, True, "ran out of host memory"),
    ),
    "an array too large": (
        crash(
            end(0, raised("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 9 TiB"))
        ),
        ("out of memory (host)", 0, True, "ran out of host memory"),
    ),
    "nan": (crash(end(0, NAN), end(1, NAN)), ("nan", 1, True, "recon, commit are not finite")),
    "nan of a script": (
        crash(end(0, raised("ValueError: loss is nan at step 3"))),
        ("nan", 0, True, "loss is nan"),
    ),
    "nan in a log only": (
        crash(end(0, "step 3 loss nan\nstep 4 loss nan\n", code=3)),
        ("unknown", 0, False, "ended with exit code 3"),
    ),
    "disk full": (
        crash(end(0, raised("OSError: [Errno 28] No space left on device: '/data/ckpt.pt'"))),
        ("disk full", 0, True, "could not write: OSError: [Errno 28]"),
    ),
    "disk full, in a sentence": (
        crash(
            end(0, "error: /data/run cannot be written: No space left on device\nhint: make room")
        ),
        ("disk full", 0, True, "/data/run cannot be written"),
    ),
    "port taken": (
        crash(agent_tail=PORT),
        ("port taken", None, True, "torchrun found its port taken: torch.distributed.DistNetwork"),
    ),
    "port taken, says a rank": (
        crash(end(0, "error: rank 0 of 2 cannot reach the other ranks: EADDRINUSE")),
        ("port taken", 0, True, "cannot reach the other ranks"),
    ),
    "gpu lost": (
        crash(
            end(0, WATCHDOG, code=-6, gpu=2),
            end(1, raised("RuntimeError: CUDA error: unspecified launch failure"), gpu=5),
            xids={5: (Xid(code=79, at_s=1.0, text="pid=4701, GPU has fallen off the bus."),)},
        ),
        ("gpu lost", 1, True, "GPU 5 failed: Xid 79, it fell off the bus"),
    ),
    "another's gpu lost": (
        crash(end(1, RAISED, gpu=0), xids={5: (Xid(code=79, at_s=1.0, text=""),)}),
        ("exception", 1, True, "ValueError"),
    ),
    "a program's own Xid": (
        crash(
            end(0, raised("RuntimeError: CUDA error: device-side assert triggered"), gpu=0),
            xids={0: (Xid(code=13, at_s=1.0, text=""), Xid(code=4711, at_s=1.0, text=""))},
        ),
        ("exception", 0, True, "failed in a GPU kernel, often because of an index out of range"),
    ),
    "collectives that do not match": (
        crash(end(0, MISMATCH, code=-6), end(1, PEER_CLOSED)),
        ("collective mismatch", 0, False, "met a different collective or different shapes"),
    ),
    "refused settings": (
        crash(end(0, "usage: train.py\ntrain.py: error: unrecognized arguments: --foo\n", code=2)),
        ("exception", 0, True, "exit code 2: unrecognized arguments: --foo"),
    ),
    "refused without a word": (crash(end(0, code=2)), ("exception", 0, True, "exit code 2")),
    "a sentence of the program": (
        crash(end(1, "error (rank 1): the data is empty.\nhint: Give another --data.\n")),
        ("exception", 1, True, "the data is empty"),
    ),
    "left without a word": (
        crash(end(1, code=7), ASKED),
        ("unknown", 1, False, "ended with exit code 7"),
    ),
    "torchrun killed": (
        crash(end(0, PEER_CLOSED, code=None), end(1, code=-15), returncode=-9, oom=SPARED),
        ("signal", None, True, "torchrun itself was ended by SIGKILL, and its ranks after it"),
    ),
    "torchrun killed, and a rank that stays": (
        crash(end(1, code=-15), returncode=-9, oom=SPARED, left="rank 0 (pid 12)"),
        ("signal", None, True, "ended by SIGKILL, and rank 0 (pid 12) cannot be ended"),
    ),
    "the reaper killed": (
        crash(end(0, code=-15), end(1, code=-15), returncode=-9, oom=SPARED, reaper_killed=True),
        ("signal", None, True, "reaper above torchrun was ended by SIGKILL, and the rest of the"),
    ),
    "torchrun killed by the kernel": (
        crash(returncode=-9, agent_pid=4701, oom=OomKills(logged=(KILLED,))),
        ("out of memory (host)", None, True, "torchrun itself was killed by the kernel"),
    ),
    "torchrun asked to end": (
        crash(end(0, code=-15), end(1, code=-15)),
        ("signal", None, True, "the job was asked to end by SIGTERM from outside"),
    ),
    "a Ctrl-C": (
        crash(end(0, raised("KeyboardInterrupt"))),
        ("signal", None, True, "the job was asked to end by SIGINT from outside"),
    ),
    "torchrun's own defect": (
        crash(agent_tail=raised("ModuleNotFoundError: No module named 'torch'")),
        ("exception", None, True, "torchrun raised ModuleNotFoundError"),
    ),
    "torchrun's command line refused": (
        crash(agent_tail="torchrun: error: unrecognized arguments: --rdzv-id=x\n", returncode=2),
        ("exception", None, True, "torchrun ended with exit code 2: unrecognized arguments"),
    ),
    "no torchrun": (
        crash(agent_tail="/no/python cannot be run: No such file or directory\n", returncode=127),
        ("exception", None, True, "exit code 127: /no/python cannot be run: No such file"),
    ),
    "a script that is not Python": (
        crash(end(0, '  File "/home/ada/train.py", line 3\n    def\n       ^\n' + NOT_PYTHON)),
        ("exception", 0, True, "rank 0 ended with exit code 1: SyntaxError: invalid syntax"),
    ),
    "a module that is not there": (
        crash(end(0, "/venv/bin/python3.11: No module named my.train\n")),
        ("exception", 0, True, "No module named my.train"),
    ),
    "a collective's timeout": (
        crash(end(0, WATCHDOG, code=-6), end(1, code=-15), end(2, WATCHDOG, code=-6)),
        ("unknown", 1, False, "rank 0 waited for the other ranks until the collective's timeout"),
    ),
    "peers that lost each other": (
        crash(end(0, PEER_CLOSED), end(1, NCCL_REMOTE)),
        ("peer died", None, False, "rank 0 lost its connection to the other ranks"),
    ),
    "a peer that says nothing": (
        crash(end(0, PEER_CLOSED), end(1, code=None)),
        ("peer died", 1, False, "; rank 1 did not report this"),
    ),
    "nobody says anything": (crash(), ("unknown", None, False, "torchrun ended with code 1")),
    "all ended well": (
        crash(end(0, PEER_CLOSED, code=0)),
        ("unknown", None, False, "no rank reported why"),
    ),
}


@pytest.mark.parametrize(("what", "expected"), CASES.values(), ids=CASES)
def test_the_root_cause_is_named(what, expected):
    """The kind, the rank, how sure, and a sentence; always with advice."""
    found = diagnose_crash(what)
    kind, rank, sure, why = expected

    assert (kind, rank, sure) == (found.kind, found.rank, found.sure)
    assert why in found.why
    assert found.advice.rstrip().endswith((".", "data", "room"))


def test_a_diagnosis_leads_to_the_line():
    """The person's own code, not torch's; who it was, on which GPU; and what it said."""
    found = diagnose_crash(crash(end(1, RAISED, gpu=3), ASKED))

    assert "/home/ada/train.py:6 in load" == found.place
    assert (4701, 3) == (found.pid, found.gpu)
    assert "[rank1]: ValueError: frame 3 of take-7.bvh has 62 joints, not 63" in found.evidence
    assert found.evidence[-1].startswith("rank 0 lost its connection to the other ranks: ")
    assert found.evidence[-1].endswith("(a consequence)")


def test_what_the_kernel_says_is_evidence():
    """Of the process that it ended, and of the GPU that it ran on."""
    xid = Xid(code=31, at_s=90.0, text="MMU fault")
    found = diagnose_crash(
        crash(end(1, code=-9, gpu=3), oom=OomKills(logged=(KILLED,)), xids={3: (xid,)})
    )

    assert (
        "kernel: Out of memory: Killed process 4701 (python)",
        "Xid 31, a program accessed memory outside its own: MMU fault",
    ) == found.evidence


def test_a_crash_of_native_code_leads_to_the_line_too():
    """Where Python wrote its stacks while it crashed."""
    said = (
        "Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n"
        '  File "/usr/lib/python3.11/ctypes/__init__.py", line 519 in string_at\n'
        '  File "/home/ada/train.py", line 9 in load\n\nExtension modules: numpy (total: 1)\n'
    )

    assert "/home/ada/train.py:9 in load" == diagnose_crash(crash(end(1, said, code=-11))).place


@pytest.mark.parametrize(
    ("case", "advice"),
    [
        ("nan", "nothing was saved since the last checkpoint; try a lower --lr"),
        ("out of shared memory", "--shm-size"),
        ("gpu lost", "--exclude-gpu 5"),
        ("port taken", "--master-port"),
        ("refused settings", "Correct the command line"),
        ("a sentence of the program", "Give another --data."),
        ("a program's own Xid", "CUDA_LAUNCH_BLOCKING=1"),
        ("out of GPU memory", "micro-batch"),
    ],
)
def test_advice_fits_the_case(case, advice):
    """The program's own hint first; else what is known of the kind."""
    assert advice in diagnose_crash(CASES[case][0]).advice


def test_a_logged_error_that_was_survived_is_no_cause():
    """Many lines after a traceback the job was still at work."""
    said = raised("ValueError: ill; tried again") + "step 4\n" * 60

    assert "exit code 5" in diagnose_crash(crash(end(0, said, code=5))).why
