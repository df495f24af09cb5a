"""What ranks and torchrun leave in their logs when they crash."""

from __future__ import annotations

from gpuops.core.diagnosis.crash import Crash
from gpuops.core.diagnosis.torchrun_failure import RankEnd
from gpuops.core.machine.oom_kills import OomKill, OomKills

TORCH = "/venv/lib/python3.11/site-packages/torch"
# Written by torch 2.13 in jobs of two ranks over gloo: rank 1 raised, and rank 0 was in a
# collective. torchrun ended rank 0 before it could exit.
RAISED = """\
[rank1]: Traceback (most recent call last):
[rank1]:   File "/home/ada/train.py", line 13, in <module>
[rank1]:     x = load(step)
[rank1]:         ^^^^^^^^^^
[rank1]:   File "/home/ada/train.py", line 6, in load
[rank1]:     raise ValueError(f"frame {step} of take-7.bvh has 62 joints, not 63")
[rank1]: ValueError: frame 3 of take-7.bvh has 62 joints, not 63
"""
PEER_CLOSED = f"""\
[rank0]: Traceback (most recent call last):
[rank0]:   File "/home/ada/train.py", line 14, in <module>
[rank0]:     dist.all_reduce(x)
[rank0]:   File "{TORCH}/distributed/c10d_logger.py", line 83, in wrapper
[rank0]:     return func(*args, **kwargs)
[rank0]:            ^^^^^^^^^^^^^^^^^^^^^
[rank0]:   File "{TORCH}/distributed/distributed_c10d.py", line 3252, in all_reduce
[rank0]:     work.wait()
[rank0]: RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:553] Connection \
closed by peer [127.0.0.1]:19096. This is typically caused by a remote worker crashing. Check the \
logs of the remote worker before reporting an error. GLHF! \U0001f3d6\ufe0f
"""
REPORT = """\
W1121 10:09:02.195000 27046 torch/distributed/elastic/multiprocessing/api.py:1028] Sending process \
27048 closing signal SIGTERM
E1121 10:09:02.381000 27046 torch/distributed/elastic/multiprocessing/api.py:1002] failed \
(exitcode: 1) local_rank: 1 (pid: 27049) of binary: /venv/bin/python
Traceback (most recent call last):
  File "/venv/torch/distributed/launcher/api.py", line 383, in launch_agent
    raise ChildFailedError(
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------
Failures:
[1]:
  time      : 2026-11-21_10:09:02
  host      : localhost
  rank      : 0 (local_rank: 0)
  exitcode  : -15 (pid: 27048)  (SIGTERM)
  error_file: <N/A>
  traceback : Signal 15 (SIGTERM) received by PID 27048
------------------------------------------------------------
Root Cause (first observed failure):
[0]:
  time      : 2026-11-21_10:09:02
  host      : localhost
  rank      : 1 (local_rank: 1)
  exitcode  : 1 (pid: 27049)
  error_file: <N/A>
  traceback : To enable traceback see: https://pytorch.org/docs/stable/elastic/errors.html
============================================================
"""
MISMATCH = """\
terminate called after throwing an instance of 'gloo::EnforceNotMet'
  what():  [enforce fail at /pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:456] \
op.preamble.length <= op.nbytes. 668 vs 4. Received data size doesn't match expected size. Is \
there a distributed collective mismatch in your code?
"""
PORT = f"""\
Traceback (most recent call last):
  File "{TORCH}/distributed/elastic/rendezvous/static_tcp.py", line 67, in next_rendezvous
    self._store = TCPStore(  # type: ignore[call-arg]
                  ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
torch.distributed.DistNetworkError: The server socket has failed to listen on any local network \
address. port: 29878, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use
"""
# As ProcessGroupNCCL.cpp of torch 2.x words it; nothing here has run on GPUs.
WATCHDOG = """\
[rank0]:[E1121 06:22:01.123 ProcessGroupNCCL.cpp:685] [Rank 0] Watchdog caught collective \
operation timeout: WorkNCCL(SeqNum=42, OpType=ALLREDUCE, NumelIn=9, Timeout(ms)=600000) ran for \
600029 milliseconds before timing out.
terminate called after throwing an instance of 'c10::DistBackendError'
  what():  NCCL operation ALLREDUCE timed out in ProcessGroupNCCL
"""
NCCL_REMOTE = f"""\
Traceback (most recent call last):
  File "/home/ada/train.py", line 14, in <module>
    dist.all_reduce(x)
  File "{TORCH}/distributed/distributed_c10d.py", line 3252, in all_reduce
    work = group.allreduce([tensor], opts)
torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:2051, remote process \
exited or there was a network error, NCCL version 2.27.5
ncclRemoteError: A call failed possibly due to a network error or a remote process exiting.
"""
NAN = """\
error (rank 0): step 812: recon, commit are not finite on rank 1
hint: nothing was saved since the last checkpoint; try a lower --lr, or look at the data
"""


def raised(line):
    """A traceback of the person's own code that ends in a line."""
    return (
        'Traceback (most recent call last):\n  File "/home/ada/train.py", line 31, in step\n'
        f"    x = y()\n        ^^^\n{line}\n"
    )


def end(rank, said="", *, code=1, at=100.0, gpu=None):
    return RankEnd(
        rank=rank, exitcode=code, stderr_tail=said, ended_at=at, pid=4700 + rank, gpu=gpu
    )


def crash(*ranks, returncode=1, **known):
    return Crash(returncode=returncode, ranks=ranks, **known)


ASKED = end(0, PEER_CLOSED, code=-15)
KILLED = OomKill(pid=4701, at_s=90.0, text="Out of memory: Killed process 4701 (python)")
SPARED = OomKills(log_complete=True)
