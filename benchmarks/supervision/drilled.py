"""The drill's job under any launcher: the same steps, data, faults and checkpoints.

Steps of 0.1 s. Under gpuops it runs as it is; what the others need of a script is added here.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch.distributed as dist

from gpuops import heartbeat
from gpuops.drill import worker

SECTION = "step"
"""Around a collective. Until one of this name was entered, 0.6 lets a rank be anywhere for ever."""


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--home", type=Path)
    parser.add_argument("--collective-timeout", type=float)
    parser.add_argument("--tell-ft", choices=("beats", "sections"))
    options, sys.argv[1:] = parser.parse_known_args()
    attempt = f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}"
    beats = options.home / "attempts" / attempt / "beats"
    os.environ.setdefault(heartbeat.BEAT_DIR_VARIABLE, str(beats))
    if options.collective_timeout:
        limit = timedelta(seconds=options.collective_timeout)
        dist.init_process_group = functools.partial(dist.init_process_group, timeout=limit)
    if options.tell_ft:
        _tell_ft(sections=options.tell_ft == "sections")
    worker.STEP_S = 0.1
    worker.main()


def _tell_ft(*, sections: bool) -> None:
    """Say to ft_launcher's monitor where this rank is."""
    from nvidia_resiliency_ext.fault_tolerance import RankMonitorClient

    client = RankMonitorClient()
    client.init_workload_monitoring()

    def in_section(collective: Callable[..., Any]) -> Callable[..., Any]:
        def called(*words: Any, **named: Any) -> Any:
            client.start_section(SECTION)
            try:
                return collective(*words, **named)
            finally:
                client.end_section(SECTION)

        return called

    def beating(beat: Callable[..., None]) -> Callable[..., None]:
        def called(*words: Any, **named: Any) -> None:
            beat(*words, **named)
            client.send_heartbeat()

        return called

    if sections:
        dist.all_reduce, dist.barrier = in_section(dist.all_reduce), in_section(dist.barrier)
    else:
        heartbeat.beat = beating(heartbeat.beat)


if __name__ == "__main__":
    main()
