"""Logs of ranks have names to find."""

from __future__ import annotations

from pathlib import Path

from run_folders import a_plan

from gpuops.core.run import paths
from gpuops.system.runs import rank_logs, run_dir


def test_rank_logs_have_names_to_find(tmp_path):
    """torchrun's own folders have a random part; ours do not."""
    launch = a_plan(tmp_path)
    run_dir.create(launch)
    logs = Path(launch.log_dir)
    for rank in ("0", "1", "error.json"):
        (logs / "none_abc123" / "attempt_0" / rank).mkdir(parents=True)
    (logs / "none_abc123" / "attempt_0" / "1" / "stderr.log").write_text("oh")
    for _ in range(2):
        rank_logs.link(launch)

    root = Path(launch.run_dir)
    assert "oh" == (root / paths.rank_log(1, 1, "stderr")).read_text()
    assert [0, 1] == rank_logs.ranks(root, 1)


def test_a_disk_that_takes_no_link_does_not_end_the_supervision(tmp_path):
    """Names to find are a comfort; a job under way matters more."""
    launch = a_plan(tmp_path)
    run_dir.create(launch)
    nested = Path(launch.log_dir, f"none_{'x' * 200}", "attempt_0", "9" * 251)
    nested.mkdir(parents=True)  # rank-999... is longer than a name may be

    rank_logs.link(launch)
