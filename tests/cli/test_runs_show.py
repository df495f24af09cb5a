"""What `gpuops runs show` says of a run's checkpoints."""

from __future__ import annotations

import json

from gpuops.cli.runs import _checkpoints


def test_a_checkpoint_that_is_of_no_use_is_marked(tmp_path):
    """Damaged ones with the reason, those that were left aside; a whole one has its links alone."""
    for name, size in (("step-00000010", 4), ("step-00000020", 3), ("aside-step-00000030", 4)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "model.bin").write_bytes(b"x" * size)
        (folder / "checkpoint.json").write_text(json.dumps({"files": {"model.bin": {"bytes": 4}}}))
    (tmp_path / "best").symlink_to("step-00000010")
    (tmp_path / "last").symlink_to("step-00000020")

    assert [
        ("aside-step-00000030", "left aside"),
        ("step-00000010", "best"),
        ("step-00000020", "last, damaged: model.bin has 3 of 4 bytes"),
    ] == _checkpoints(tmp_path)
