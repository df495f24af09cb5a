"""`gpuops monitor` as it is typed: on a pipe, for programs, and live in a real terminal (tmux)."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import struct
import subprocess
import sys
import time

import pytest
from gpuops_runner import COMMAND
from prometheus_client.parser import text_string_to_metric_families

EIGHT = [
    "driver 580.95.05",
    "cuda 13.0",
    "gpu 0-7 model=rtx4090 power=290 temp=60",
    "gpu 0,1 util=97",
]
MONOTONIC_IN_SLOT = 48


@pytest.fixture(name="inventory")
def _box(mock_driver, run):
    """Eight GPUs, of which the run's ranks hold two."""
    held = [f"proc gpu={index} pid={one.pid} mem=9000" for index, one in enumerate(run.ranks)]
    mock_driver.held = [*EIGHT, *held]
    mock_driver.set(mock_driver.held)
    run.steps()
    yield mock_driver
    mock_driver.set([])


@pytest.fixture(name="supervised")
def _supervised(run):
    """Somebody looks after the run."""
    code = (
        "import sys, pathlib; from gpuops.system.runs import supervisor_lock as supervisors\n"
        "with supervisors.only_one(pathlib.Path(sys.argv[1])): print(flush=True); input()"
    )
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code, str(run.root)], **pipes) as keeper:
        keeper.stdout.readline()
        yield keeper


def command(run, *words):
    return [*COMMAND, "monitor", "--run", str(run.root), *words]


@pytest.fixture(name="monitor")
def _monitor(gpuops):
    def monitor(inventory, run, *words):
        return gpuops("monitor", "--run", run.root, *words, **inventory.env)

    return monitor


def silent_since(run, seconds):
    """As if no rank had beaten for so long."""
    for path in run.beats.iterdir():
        data = bytearray(path.read_bytes())
        for slot in (64, 128):
            moment = time.monotonic() - seconds
            struct.pack_into("<d", data, slot + MONOTONIC_IN_SLOT, moment)
        path.write_bytes(data)


@pytest.mark.usefixtures("supervised")
def test_once_is_an_answer_with_a_code(monitor, inventory, run):
    """0 while all is well, 5 once a GPU is ill, 6 once a job hangs, 3 without a driver."""
    fine = monitor(inventory, run, "--once", "--json")
    inventory.set([*inventory.held, "lost 1"])
    ill = monitor(inventory, run, "--once", "--json")
    inventory.set(["init DRIVER_NOT_LOADED"])
    blind = monitor(inventory, run, "--once")
    inventory.set(inventory.held)
    silent_since(run, 9000)
    hung = monitor(inventory, run, "--once")

    assert [0, 5, 3, 6] == [one.returncode for one in (fine, ill, blind, hung)], fine.stdout
    assert [0, 1] == [gpu["index"] for gpu in json.loads(fine.stdout)["gpus"]]
    assert "degraded" == json.loads(ill.stdout)["health"]
    assert "driver is not loaded" in blind.stdout
    assert "HUNG" in hung.stdout
    assert "step 1 unchanged for 90" in hung.stdout


def test_an_unsupervised_run_is_not_all_well(monitor, inventory, run):
    """Nobody would start it again."""
    assert 5 == monitor(inventory, run, "--once", "--json").returncode


def test_a_run_that_does_not_run_is_as_it_ended(monitor, inventory, run):
    """Asked for by name, it is no empty board that looks well; a link to its folder is as good."""
    link = run.root.parent / "newest"
    link.symlink_to(run.root)
    alive = monitor(inventory, run, "--run", f"{link}/.", "--once", "--json")
    run.ends()
    lost = monitor(inventory, run, "--once", "--json")

    assert [run.name] == [job["run_id"] for job in json.loads(alive.stdout)["jobs"]]
    assert (1, True) == (lost.returncode, "is not running: it is lost" in lost.stderr), lost.stderr


def test_looks_one_by_one_as_lines_of_json(monitor, inventory, run):
    """An object a line, so many as were asked for."""
    answer = monitor(inventory, run, "--count", "3", "--interval", "0.2", "--json")
    boards = [json.loads(line) for line in answer.stdout.splitlines()]

    assert 3 == len(boards)
    assert [1, 2, 3] == [len(frame["gpus"][0]["history"]) for frame in boards]
    assert boards[0]["jobs"][0]["ranks"][1]["step"] == 1


def test_figures_for_prometheus(monitor, inventory, run, tmp_path):
    """In a file of its own, whole; a folder that is not there is said to be none."""
    path = tmp_path / "gpuops.prom"
    answer = monitor(inventory, run, "--once", "--export-textfile", str(path))
    names = {family.name for family in text_string_to_metric_families(path.read_text())}
    wrong = monitor(inventory, run, "--once", "--export-textfile", str(tmp_path / "no" / "x.prom"))

    assert (answer.returncode, answer.stdout) == (5, "")
    assert {"gpuops_gpu_power_watts", "gpuops_rank_step", "gpuops_health"} <= names
    assert "written: No such file" in " ".join(wrong.stderr.split())
    assert "Traceback" not in wrong.stderr


def test_a_pipe_is_as_wide_as_columns_says(monitor, inventory, run):
    """As the output of all other commands."""
    screen = monitor(inventory, run, "--once").stdout.splitlines()

    assert max(map(len, screen)) <= int(os.environ["COLUMNS"])


def test_a_pipe_that_closes_ends_it_quietly(inventory, run):
    """As `| head` does."""
    with subprocess.Popen(
        command(run, "--interval", "0.2"),
        env={**os.environ, **inventory.env},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as child:
        assert child.stdout.readline()
        child.stdout.close()
        said = child.stderr.read()

    assert (b"", 141) == (said, child.returncode)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--interval", "0"], "--interval 0 is too short"),
        (["--gpu", "9", "--once"], "there is no GPU 9 here"),
        (["--count", "0"], "greater than or equal to 1"),
    ],
)
def test_what_cannot_be_is_said_to_be_so(monitor, inventory, run, words, sentence):
    """A sentence and exit code 2."""
    answer = monitor(inventory, run, *words)

    assert (2, True) == (answer.returncode, sentence in answer.stderr), answer.stderr


# ---------------------------------------------------------------------------- live, in a terminal


class Tmux:
    """A terminal that somebody else drew, keys and all."""

    def __init__(self, folder, environment):
        self._socket = folder / "tmux.sock"
        self._environment = environment

    def __call__(self, *words, check=True):
        return subprocess.run(
            ["tmux", "-S", str(self._socket), "-f", "/dev/null", *words],
            env=self._environment, capture_output=True, text=True, timeout=30, check=check,
        ).stdout  # fmt: skip

    def screen(self):
        return self("capture-pane", "-p", "-t", "m")

    def shows(self, *texts):
        end = time.monotonic() + 30
        while not all(text in (screen := self.screen()) for text in texts):
            assert time.monotonic() < end, f"{texts} never came:\n{screen}"
            time.sleep(0.02)
        return screen


@pytest.fixture(name="tmux")
def _tmux(inventory, run, tmp_path):
    """A shell in a terminal of 80 x 24, in which the monitor is typed."""
    if shutil.which("tmux") is None:
        pytest.skip("tmux is not installed (`apt install tmux`)")
    tmux = Tmux(tmp_path, {**os.environ, **inventory.env, "PS1": "$ ", "TERM": "xterm"})
    tmux("new-session", "-d", "-s", "m", "-x", "80", "-y", "24", "sh")
    tmux("send-keys", "-t", "m", "stty -a | md5sum", "Enter")
    words = shlex.join(command(run, "--interval", "0.2"))
    tmux("send-keys", "-t", "m", f"PS1='ready> '; {words}; echo code $?", "Enter")
    yield tmux
    tmux("kill-server", check=False)


@pytest.mark.usefixtures("supervised")
def test_a_night_in_a_terminal(tmux, inventory, run):
    """Healthy, a GPU lost and back, a rank stopped, its page, a narrow window, and out."""
    tmux.shows("FINE", "1/1000", "healthy", "ours")
    inventory.set([*inventory.held, "lost 1"])
    tmux.shows("DEGRADED", "LOST")
    inventory.set(inventory.held)
    tmux.shows("FINE", "GPU 1 answers again")
    silent_since(run, 9000)
    tmux.shows("HUNG", "unchanged for 90")
    tmux("send-keys", "-t", "m", "d")
    tmux.shows("gpuops diagnose")
    tmux("send-keys", "-t", "m", "Escape")
    tmux("resize-window", "-t", "m", "-x", "40", "-y", "14")
    tmux.shows("HUNG")
    assert all(len(line) <= 40 for line in tmux.screen().splitlines())
    tmux("send-keys", "-t", "m", "q")
    tmux.shows("code 0", "ready>")


def test_the_terminal_is_given_back_when_it_is_killed(tmux, run):
    """SIGKILL too: the screen is the shell's again, and what is typed is shown."""
    tmux.shows("healthy")
    killed = [
        int(line.split()[0])
        for line in subprocess.run(
            ["pgrep", "-af", f"gpuops monitor --run {run.root}"],
            capture_output=True, text=True, check=True,
        ).stdout.splitlines()
        if "python" in line
    ]  # fmt: skip
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    tmux.shows("stty -a | md5sum", "PS1=")  # what stood there before it came
    tmux("send-keys", "-t", "m", "echo th'is is typ'ed; stty -a | md5sum", "Enter")
    tmux.shows("this is typed")
    end = time.monotonic() + 30
    while len(sums := re.findall(r"\b([0-9a-f]{32})  -", tmux.screen())) < 2:
        assert time.monotonic() < end, tmux.screen()

    assert sums[0] == sums[1], "the terminal is not as it was"
