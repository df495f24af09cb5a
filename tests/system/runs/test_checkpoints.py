"""Checkpoints: listed, found damaged, the newest whole one."""

from __future__ import annotations

import json

import pytest

from gpuops.system.runs import checkpoints
from gpuops.system.runs.checkpoints import damage


@pytest.fixture(name="checkpoint")
def _checkpoint(tmp_path):
    files = {"model.safetensors": {"bytes": 4096, "crc32": 1}}
    (tmp_path / "model.safetensors").write_bytes(b"x" * 4096)
    (tmp_path / "checkpoint.json").write_text(json.dumps({"files": files}))
    return tmp_path


def test_a_whole_one_is_not_damaged(checkpoint):
    """By its sizes; sums are compared when a run goes on."""
    assert damage(checkpoint) is None


def test_what_is_missing_is_said(checkpoint):
    """A file that is too short, or gone."""
    (checkpoint / "model.safetensors").write_bytes(b"x" * 12)
    assert "model.safetensors has 12 of 4,096 bytes" == damage(checkpoint)
    (checkpoint / "model.safetensors").unlink()
    assert "model.safetensors is missing" == damage(checkpoint)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"files": [1]}',
        '{"files": {"a": 1}}',
        '{"files": {"a": {"bytes": 1e999}}}',
        "[" * 100_000,
    ],
)
def test_who_does_not_say_what_it_holds_is_not_judged(checkpoint, text):
    """Another trainer's checkpoints are its own affair."""
    (checkpoint / "checkpoint.json").write_text(text)

    assert damage(checkpoint) is None


def test_a_link_to_itself_is_not_followed(tmp_path):
    """The other checkpoints are listed all the same."""
    (tmp_path / "step-1").mkdir()
    (tmp_path / "last").symlink_to("step-1")
    (tmp_path / "loop").symlink_to("loop")

    assert [("step-1", "last")] == checkpoints.list_checkpoints(tmp_path)


def test_checkpoints_are_listed_with_what_points_to_them(tmp_path):
    """Oldest first; hidden (half-written) ones are none."""
    folder = tmp_path / "checkpoints"
    for name in ("step-00000010", "step-00000020", ".step-00000030.tmp"):
        (folder / name).mkdir(parents=True)
    (folder / "last").symlink_to("step-00000020")
    (folder / "best").symlink_to("step-00000020")

    assert [("step-00000010", ""), ("step-00000020", "best, last")] == checkpoints.list_checkpoints(
        folder
    )
    assert [] == checkpoints.list_checkpoints(tmp_path / "none")


def test_the_newest_whole_checkpoint_counts(tmp_path):
    """Those left aside, damaged or named otherwise do not."""
    for name in ("step-00000010", "step-00000020", "step-00000030", "aside-00000040", "step-x"):
        (tmp_path / name).mkdir()
    broken = {"files": {"model.safetensors": {"bytes": 4096}}}
    (tmp_path / "step-00000030" / "checkpoint.json").write_text(json.dumps(broken))

    assert 20 == checkpoints.newest_step(tmp_path)
    assert checkpoints.newest_step(tmp_path / "none") is None
