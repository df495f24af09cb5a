"""Stacks of ranks that hang, recorded from real jobs, and what is concluded from them."""

from __future__ import annotations

from gpuops.core.diagnosis.culprit import find_culprit
from gpuops.core.diagnosis.stack import Frame, Stack, ThreadStack
from gpuops.core.hang.observation import RankVitals
from gpuops.heartbeat import Beat

TORCH = "/venv/lib/python3.11/site-packages/torch"
PYTHON = "/usr/lib/python3.11"
# Main threads as py-spy 0.4.3 dumped them of jobs of two ranks over gloo (torch 2.13, Python
# 3.11), the innermost call first; paths shortened, frames around the job's own left out. What was
# done to rank 1 stands above each; rank 0 was left alone.
BACKWARD = f"""
_engine_run_backward {TORCH}/autograd/graph.py 979
backward {TORCH}/autograd/__init__.py 395
Tensor.backward {TORCH}/_tensor.py 623
train /home/ada/train.py 52 loss.backward()
<module> /home/ada/train.py 80 train()
"""
ALL_REDUCE = f"""
all_reduce {TORCH}/distributed/distributed_c10d.py 3252
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
average /home/ada/train.py 29 dist.all_reduce(loss)
train /home/ada/train.py 59 average(loss.detach())
<module> /home/ada/train.py 80 train()
"""
BARRIER = f"""
barrier {TORCH}/distributed/distributed_c10d.py 5356
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
train /home/ada/train.py 64 dist.barrier()
<module> /home/ada/train.py 80 train()
"""
# all_gather where rank 0 reduces
ALL_GATHER = f"""
all_gather {TORCH}/distributed/distributed_c10d.py 4287
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
gather /home/ada/train.py 34 dist.all_gather(out, loss)
train /home/ada/train.py 57 gather(loss.detach())
<module> /home/ada/train.py 80 train()
"""
# a broadcast in which no other rank takes part
BROADCAST = f"""
broadcast {TORCH}/distributed/distributed_c10d.py 3151
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
broadcast_object_list {TORCH}/distributed/distributed_c10d.py 4026
_exception_logger.<locals>.wrapper {TORCH}/distributed/c10d_logger.py 83
train /home/ada/train.py 71 dist.broadcast_object_list([None], 0)
<module> /home/ada/train.py 80 train()
"""
# SIGSTOP to itself
STOPPED = """
train /home/ada/train.py 66 os.kill(os.getpid(), 19)
<module> /home/ada/train.py 80 train()
"""
# an endless loop in Python; the second look finds it at the loop's other line
SPIN = """
spin /home/ada/train.py 26 n += 1
train /home/ada/train.py 47 spin()
<module> /home/ada/train.py 80 train()
"""
SPIN_AGAIN = SPIN.replace("26 n += 1", "25 while True:")
# time.sleep, and the same in C
ASLEEP = """
train /home/ada/train.py 49 time.sleep(1000)
<module> /home/ada/train.py 80 train()
"""
ASLEEP_IN_C = ASLEEP.replace("49 time.sleep(1000)", "69 ctypes.CDLL(None).sleep(1000)")
# time.sleep in the data set, without loader workers
DATA = f"""
Frames.__getitem__ /home/ada/train.py 17 time.sleep(1000)
_MapDatasetFetcher.fetch.<locals>.<listcomp> {TORCH}/utils/data/_utils/fetch.py 54
_MapDatasetFetcher.fetch {TORCH}/utils/data/_utils/fetch.py 54
_SingleProcessDataLoaderIter._next_data {TORCH}/utils/data/dataloader.py 785
_BaseDataLoaderIter.__next__ {TORCH}/utils/data/dataloader.py 725
train /home/ada/train.py 45 for step, batch in enumerate(loader):
<module> /home/ada/train.py 80 train()
"""
# time.sleep in the data set, in the loader's worker process
WORKER = f"""
_PollLikeSelector.select {PYTHON}/selectors.py 415
wait {PYTHON}/multiprocessing/connection.py 947
Connection._poll {PYTHON}/multiprocessing/connection.py 440
_ConnectionBase.poll {PYTHON}/multiprocessing/connection.py 257
Queue.get {PYTHON}/multiprocessing/queues.py 113
_MultiProcessingDataLoaderIter._try_get_data {TORCH}/utils/data/dataloader.py 1291
_MultiProcessingDataLoaderIter._get_data {TORCH}/utils/data/dataloader.py 1464
_MultiProcessingDataLoaderIter._next_data {TORCH}/utils/data/dataloader.py 1505
_BaseDataLoaderIter.__next__ {TORCH}/utils/data/dataloader.py 725
train /home/ada/train.py 45 for step, batch in enumerate(loader):
<module> /home/ada/train.py 80 train()
"""
# Written by hand, for what no machine without a GPU shows: a wait for the GPU has no frame.
ITEM = """
train /home/ada/train.py 55 total += loss.item()
<module> /home/ada/train.py 80 train()
"""
DOWNLOAD = f"""
SSLSocket.read {PYTHON}/ssl.py 1140
HTTPResponse._read_status {PYTHON}/http/client.py 286
log {TORCH.removesuffix("torch")}/wandb/sdk.py 120
train /home/ada/train.py 61 log(loss)
<module> /home/ada/train.py 80 train()
"""


def frames(text):
    found = []
    for line in text.strip().splitlines():
        function, file, number, *source = line.split(" ", 3)
        found.append(
            Frame(function=function, file=file, line=int(number), text="".join(source).strip())
        )
    return tuple(found)


def stack(rank, text, *, active=False, gil=False, gap=None):
    threads = (
        ThreadStack(name="QueueFeederThread", frames=(), is_main=False, active=False),
        ThreadStack(
            name="MainThread", frames=frames(text), is_main=True, active=active, has_gil=gil
        ),
    )
    return Stack(rank=rank, pid=4700 + rank, host="host", threads=threads if text else (), gap=gap)


def vitals(rank, state="S", cpu_s=10.0):
    return RankVitals(rank=rank, pid=4700 + rank, state=state, cpu_s=cpu_s, io_bytes=None)


def beat(rank, step):
    return Beat(4700 + rank, rank, step, 100, None, None, 1.0, "train")


def assessment(*texts, again=None, states=(), computing=(), gil=None, steps=()):
    """The accusation over ranks that stand like this; ``again``: at the second look."""
    gil = computing if gil is None else gil
    looks = [
        [
            stack(rank, text, active=rank in computing, gil=rank in gil)
            for rank, text in enumerate(look)
        ]
        for look in (texts, again or texts)
    ]
    states = states or ["S"] * len(texts)
    felt = [
        [
            vitals(rank, state, 10.0 + look * (rank in computing))
            for rank, state in enumerate(states)
        ]
        for look in range(2)
    ]
    return find_culprit(*looks, *felt, [beat(rank, step) for rank, step in enumerate(steps)])
