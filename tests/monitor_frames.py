"""Frames of the monitor with all that it can show."""

from __future__ import annotations

from dataclasses import replace

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import Advice, Change, GpuRow, JobRow, RankRow, StrangerRow

NOW_S = 1_795_230_765.0
GIB = 1024**3
WAVE = (0, 40, 97, 100, None, 88, 12, 96, 97, 97)
WHY = (
    "rank 3: step 812 unchanged 214 s, median step 1.9 s; "
    "ranks 0-2, 4-7 wait in all_reduce at average (train.py:29)"
)
FOUND = "rank stopped: rank 3 (PID 41233) is in state T"


def gpu(index, **changes):
    known = {
        "name": "NVIDIA GeForce RTX 4090",
        "utilization_pct": 97,
        "memory_used_bytes": int(21.5 * GIB),
        "memory_total_bytes": 24 * GIB,
        "temperature_c": 61,
        "power_w": 411.2,
        "power_limit_w": 450.0,
        "clock_mhz": 2520,
        "clock_max_mhz": 2790,
        "history": WAVE,
        "holder": "rvq-1121-0312",
    }
    return GpuRow(index=index, **(known | changes))


def idle(index):
    return gpu(index, utilization_pct=0, memory_used_bytes=0, history=(0,) * 9, holder=None)


def gone(index, state, fault, **changes):
    return GpuRow(index=index, state=state, fault=fault, **changes)


def rank(number, **changes):
    known = {
        "pid": 41230 + number,
        "gpus": (number,),
        "process": "S",
        "phase": "train",
        "step": 812,
        "total_steps": 20000,
        "steps_per_s": 1.86,
        "usual_steps_per_s": 1.9,
        "loss": 0.3123,
        "eta_s": 10_100.0,
        "data_wait": 0.04,
        "progress_age_s": 0.4,
        "beat_age_s": 0.2,
    }
    return RankRow(rank=number, **(known | changes))


def job(*ranks, **changes):
    known = {
        "name": "rvq-1121-0312",
        "target": "rvq",
        "profile": "8x4090",
        "user": "mei",
        "attempt": 2,
        "started_at_s": NOW_S - 7_500,
    }
    return JobRow(ranks=ranks, **(known | changes))


def hanging(count, culprit):
    still = {"steps_per_s": None, "eta_s": None, "progress_age_s": 214.0}
    stopped = still | {"process": "T", "step": 811, "beat_age_s": 214.0, "culprit": True}
    return [rank(i, **(stopped if i == culprit else still), gpus=(i % 16,)) for i in range(count)]


def frame(**changes):
    return Frame(at_s=NOW_S, driver="550.54.14", cuda=(12, 4), **changes)


STATES = (
    idle(0),
    gpu(1),
    gpu(2, slow=("thermal",), temperature_c=88),
    gpu(3, state="busy-other", holder="张伟: python"),
    gpu(4, state="excluded", utilization_pct=None, holder=None),
    gone(5, "no permission", "of another container"),
    gone(6, "lost", "fell off the bus (Xid 79)", history=(97, 97, *(None,) * 8)),
    gone(7, "stuck", "the driver does not answer", state_age_s=12.4),
)
HUNG = frame(
    health="hung",
    gpus=STATES,
    jobs=(job(*hanging(8, 3), health="suspect", why=WHY, diagnosis=FOUND),),
    strangers=(
        StrangerRow(
            gpu=3,
            pid=50112,
            user="张伟",
            command="python train.py --config 配置/大模型.yaml --lr 3e-4",
            memory_bytes=int(18.2 * GIB),
            started_at_s=NOW_S - 9_000,
        ),
        StrangerRow(gpu=3, pid=50113, whose="hidden"),
    ),
    changes=(
        Change(at_s=NOW_S - 214, words="rank 3 of rvq-1121-0312 stands still", level="warning"),
        Change(at_s=NOW_S - 40, words="GPU 6 is lost", level="bad"),
    ),
    advice=(Advice(about="batch", words="14 of 24 GiB are used: 48 windows would fit"),),
    gaps={"kernel log": "may not be read by this user"},
)
WIDE = frame(
    gpus=(gpu(0, state="busy-other", holder="张伟: 训练大模型的程序在这里运行着呢"),),
    jobs=(
        job(rank(0, phase="评估"), name="王小明的任务", user="王小明", ours=False),
        job(rank(0), name="second", health="left alone"),
    ),
    strangers=HUNG.strangers[:1],
)
CPU_ONLY = Frame(
    at_s=NOW_S,
    health="no driver",
    jobs=(job(rank(0, gpus=()), rank(1, gpus=()), profile="cpu", attempt=1),),
    gaps={"gpus": "no NVIDIA driver is installed"},
)
MANY = frame(
    health="hung",
    gpus=tuple(
        gone(i, "lost", "fell off the bus") if i == 14 else idle(i) if i == 15 else gpu(i)
        for i in range(16)
    ),
    jobs=(job(*hanging(64, 37), health="hung", why="rank 37: step 811 unchanged 214 s"),),
    changes=HUNG.changes,
)
TWO = replace(HUNG, jobs=(*HUNG.jobs, job(*map(rank, range(4)), name="float-1120")))
BOARDS = (HUNG, WIDE, CPU_ONLY, MANY, TWO, frame())
