"""``terminal.run`` on a source that a test drives.

Every byte on the descriptor ``argv[1]`` brings a new board, a second later than the one before.
The log of a run is there once ``argv[2]`` can be read from. With ``CRASH`` in the environment the
third board is a defect.
"""

from __future__ import annotations

import fcntl
import os
import sys
import termios

from gpuops.core.monitor.frame import Frame
from gpuops.core.monitor.rows import GpuRow, JobRow, RankRow
from gpuops.ui.monitor import terminal

BEGIN_S = 1_800_000_000.0


class Boards:
    def __init__(self):
        self.made = 0

    def fileno(self):
        return int(sys.argv[1])

    def newest(self):
        self.made += 1
        if self.made == 3 and "CRASH" in os.environ:
            raise RuntimeError("no such board")
        ranks = tuple(RankRow(rank=i, pid=100 + i, step=7) for i in range(40))
        return Frame(
            at_s=BEGIN_S + self.made,
            gpus=tuple(GpuRow(index=i, utilization_pct=10 * i) for i in range(2)),
            jobs=(
                JobRow(name="first", ranks=ranks),
                JobRow(name="second", ranks=ranks[:1]),
            ),
        )


def pages(job, kind):
    if kind == "log":
        os.read(int(sys.argv[2]), 1)
    return [f"the {kind} of {job.name}", *(f"line {i}" for i in range(99))]


if os.getsid(0) == os.getpid():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
print("left with", terminal.run(Boards(), interval_s=1.0, pages=pages))
