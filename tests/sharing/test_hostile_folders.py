"""Whatever lies in a run's folder, every command that reads it answers in text, and soon."""

from __future__ import annotations

import json
import os
import shutil
import struct
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import pytest
from hostile import (
    ORDERS,
    SOON_S,
    changes,
    found_below,
    gpuops,
    is_text,
    many_examples,
    put,
    spoiled,
)
from hypothesis import given
from hypothesis import strategies as st
from run_folders import a_plan

from gpuops.errors import ExitCode

OWN = {"diagnosis", "events.jsonl"}  # `diagnose` keeps what it finds, in the run
GOOD = "20260101-000000-good"
COMMANDS = (
    ("runs", "list"), ("runs", "list", "--json"),
    ("runs", "show", "RUN"), ("runs", "show", "RUN", "--json"),
    ("report", "RUN"), ("report", "RUN", "--json"), ("report", "RUN", "--html", "PAGE"),
    ("logs", "RUN", "--json"), ("logs", "RUN", "--agent", "--json"), ("diagnose", "RUN"),
)  # fmt: skip

IDENTITY = {"host": "h", "boot_id": "b", "pid": 1, "start_ticks": 1}
DIAGNOSIS = {
    "kind": "exception", "rank": 0, "pid": 1, "gpu": 0, "place": "a.py:1", "why": "it failed",
    "advice": "look", "groups": [{"frames_key": ["f"], "ranks": [0], "place": "p"}],
    "evidence": ["a line"], "sure": True,
}  # fmt: skip
EVENTS = [
    {"time": 1.7e9, "event": "attempt_started", "attempt": 1, "memory_group": "/", "oom_kills": 0},
    {"time": 1.7e9, "event": "action", "attempt": 1, "action": "Kill"},
    {"time": 1.7e9, "event": "diagnosis", "attempt": 1, "what": "crashed", "kind": "exception"},
    {"time": 1.7e9, "event": "attempt_ended", "attempt": 1, "outcome": "failed", "step": 3},
    {"time": 1.7e9, "event": "restart", "attempt": 1, "why": "it failed"},
]
SAMPLE = {
    "at_s": 1.7e9, "attempt": 1, "step": 2, "phase": "train", "loss": 0.5, "step_s": 0.1,
    "data_wait": 0.1, "cpu_cores": 1.0, "memory_bytes": 1e9,
    "gpus": {"0": {"utilization_pct": 1.0, "temperature_c": 1.0, "memory_used_bytes": 1.0}},
}  # fmt: skip
FIGURES = {"step": 1, "split": "train", "loss": 0.5, "lr": 1e-3, "steps_per_s": 2.0, "time": 1.0}
BEAT = struct.pack(
    "<8sQ48xqqqqddd8sqqqqddd8s",
    b"gpuops01", 2, 1, 0, 3, 10, 0.5, 0.1, 5.0, b"train", 1, 0, 2, 10, 0.5, 0.1, 4.0, b"train",
)  # fmt: skip
PLAN = asdict(a_plan(Path("/runs")))
# Each file of a run's folder, as lines of JSON or as bytes.
FILES = {
    "plan.json": [PLAN],
    "events.jsonl": EVENTS,
    "environment.json": [{"host": "h", "gpus": ["a"], "torch": "2"}],
    "telemetry.jsonl": [{"every_s": 1.0}, SAMPLE, {**SAMPLE, "at_s": 1.7e9 + 1, "step": 3}],
    "metrics.jsonl": [FIGURES, {**FIGURES, "split": "val"}],
    "config_used.yaml": b"lr: 1\n",
    "supervisor.lock": [IDENTITY],
    "diagnosis/attempt-1-crashed.json": [DIAGNOSIS],
    "state/attempt-1/process.json": [{"agent": IDENTITY, "reaper": IDENTITY, "started_at": 5.0}],
    "state/attempt-1/exit.json": [{"returncode": 1, "ended_at": 1.7e9, "orphans_ended": 0}],
    "state/attempt-1/beats/rank-0.beat": BEAT,
    "logs/attempt-1/agent.log": b"torchrun says\n",
    "logs/attempt-1/rank-0/stdout.log": b"step 1\n",
    "logs/attempt-1/rank-0/stderr.log": b"Traceback (most recent call last):\nValueError: x\n",
    "checkpoints/step-00000001/checkpoint.json": [{"files": {"model.bin": {"bytes": 4}}}],
}

folders = st.tuples(
    st.dictionaries(st.sampled_from(sorted(FILES)), changes, min_size=1, max_size=3),
    st.sampled_from(COMMANDS),
    st.sampled_from(["plain", f"a{ORDERS.translate({0: None})}b", "b" * 200]),
)


WHOLE = {name: spoiled(content, ()) for name, content in FILES.items()}


@pytest.fixture(name="outside", scope="module")
def _outside():
    """A folder with a good run, and another that must stay as it is; in memory if possible."""
    memory = "/dev/shm"  # noqa: S108 - a folder of its own in there
    with tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None) as base:
        yield fill(Path(base))


def fill(base):
    for name, content in {**FILES, "plan.json": [{**PLAN, "run_id": GOOD}]}.items():
        put(base / "runs" / GOOD / name, content)
    (base / "outside").mkdir()
    (base / "outside" / "file").write_text("mine")
    for words in COMMANDS:  # the first time they are imported
        ask(base, base / "runs" / GOOD, words)
    (base / "page.html").unlink()
    return base


def ask(base, root, words):
    """The exit code, stdout and stderr of a command on a run."""
    named = {"RUN": str(root), "PAGE": str(base / "page.html")}
    return gpuops(*(named.get(word, word) for word in words), "--runs-dir", str(base / "runs"))


def listing(base):
    """Everything in a folder and below, but what a diagnosis writes into the run."""
    return {path: size for path, size in found_below(base).items() if not OWN & {*path.split("/")}}


@many_examples
@given(folder=folders)
def test_every_reading_command_answers_in_text(outside, folder):
    """Soon, with a documented exit code; the other run has its row, nothing is written."""
    spoilt, command, name = folder
    root = outside / "runs" / f"20260101-000001-{name}"
    try:
        for path, content in FILES.items():
            change = spoilt.get(path)
            put(root / path, WHOLE[path] if change is None else content, change)
        before = listing(outside)
        begun_s = time.process_time()

        code, out, err = ask(outside, root, command)

        assert time.process_time() - begun_s < SOON_S
        assert code in set(map(int, ExitCode)), err
        assert is_text(out)
        assert is_text(err)
        if command[:2] == ("runs", "list"):
            assert GOOD in out
        if "--json" in command and code == 0:
            for document in out.splitlines() if command[0] == "logs" else [out]:
                json.loads(document)
        page = outside / "page.html"
        assert not page.exists() or is_text(page.read_text())
        page.unlink(missing_ok=True)
        assert before == listing(outside)
    finally:
        shutil.rmtree(root, ignore_errors=True)


BIG = b'{"kind": "exception", "why": "w", "advice": "a", "files": {%s}}' % b", ".join(
    b'"%d": {"bytes": 4}' % number for number in range(40_000)
)
MANY = {
    "state/attempt-{}/process.json": 400,
    "state/attempt-{}/exit.json": 400,
    "checkpoints/step-{}/checkpoint.json": 200,
    "diagnosis/attempt-{}-crashed.json": 200,
}


@pytest.mark.parametrize("name", MANY)
def test_many_large_files_are_not_all_read(outside, name):
    """One of them alone is still read in no time."""
    root = outside / "runs" / "20260101-000001-many"
    try:
        for path, content in FILES.items():
            put(root / path, content)
        first = root / name.format(1)
        put(first, BIG, BIG)
        for number in range(2, MANY[name]):
            path = root / name.format(number)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(first)
        for words in (("runs", "list"), ("runs", "show", "RUN"), ("report", "RUN")):
            begun_s = time.process_time()
            code, *_ = ask(outside, root, words)
            assert (code, time.process_time() - begun_s < SOON_S) == (0, True), words
    finally:
        shutil.rmtree(root, ignore_errors=True)
