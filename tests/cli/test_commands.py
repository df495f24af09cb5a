"""The commands as a person types them."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess

import pytest
import typer
from gpuops_runner import COMMAND

from gpuops import cli, run_module

pytestmark = pytest.mark.usefixtures("own_port")  # found as ./profiles/cpu.yaml


def test_help_lists_every_command_and_the_exit_codes(gpuops):
    """`gpuops --help` shows all commands with one line each, and what exit codes mean."""
    answer = gpuops("--help")

    assert answer.returncode == 0
    for command in ("preflight", "launch", "runs", "logs", "profiles", "trainers", "data"):
        assert command in answer.stdout
    assert "128+n" in answer.stdout


@pytest.mark.parametrize(
    "words",
    [
        ("preflight",),
        ("launch",),
        ("runs", "list"),
        ("logs",),
        ("tensorboard",),
        ("data", "import"),
        ("data", "count"),
        ("profiles", "show"),
        ("trainers", "list"),
    ],
)
def test_every_command_has_help(gpuops, words):
    """`--help` of each command answers with usage and exit code 0."""
    answer = gpuops(*words, "--help")

    assert answer.returncode == 0
    assert "Usage: gpuops " + " ".join(words) in answer.stdout


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("lunch",), 2, "did you mean launch?"),
        (("launch",), 2, "say what to launch"),
        (("launch", "rqv"), 2, "did you mean rvq?"),
        (("launch", "rvq", "-p", "cpu", "--dryrun"), 2, "hint: gpuops itself has --dry-run"),
        (("launch", "rvq", "-m", "my.module"), 2, "launch one of them"),
        (("launch", "./missing.py"), 2, "there is no script ./missing.py"),
        (("launch", "rvq", "--profile", "7x409"), 2, "did you mean 7x4090?"),
        (("launch", "rvq", "--profile", "mine.yaml"), 2, "there is no profile file mine.yaml"),
        (("launch", "rvq", "-p", "cpu", "--widht", "3"), 2, "--width"),
        (("launch", "rvq", "-p", "cpu", "--width", "wide"), 2, "wide"),
        (("launch", "rvq", "-p", "cpu", "--data", "nowhere"), 1, "there is no data set at"),
        (("launch", "rvq", "-p", "cpu", "--config", "no.yaml"), 2, "no.yaml"),
        (("launch", "rvq", "-p", "cpu", "--resume", "gone"), 2, "there is no run 'gone'"),
        (("launch", "rvq", "-p", "cpu", "--force", "prot"), 2, "did you mean port?"),
        (("launch", "rvq", "-p", "cpu", "--nproc-per-node", "100000"), 1, "need about"),
        (("launch", "rvq", "-p", "cpu", "--python", "/bin/false"), 1, "/bin/false"),
        (("runs", "show", "gone"), 2, "there is no run 'gone'"),
        (("logs", "last"), 2, "holds no runs yet"),
        (("evaluate", "last"), 2, "holds no runs yet"),
        (("tensorboard",), 1, "no TensorBoard events"),
        (("data", "count", "nowhere", "--trainer", "rvq"), 1, "there is no data set at nowhere"),
        (
            ("data", "import", "fbx", ".", "--out", "x"),
            2,
            "none of the installed trainers can import 'fbx'",
        ),
        (("data", "import", "bvh", "nowhere", "--out", "x"), 1, "nowhere"),
        (("profiles", "show", "8x409"), 2, "did you mean 8x4090?"),
        (("trainers", "show", "rvqq"), 2, "did you mean rvq?"),
        (("runs", "shwo"), 2, "error: no such command 'shwo'. Did you mean 'show'?"),
        (("data", "count"), 2, "hint: `gpuops data count --help` shows what to type."),
        (("logs", "last", "--rank", "x"), 2, "error: invalid value for '--rank'"),
        (("--lunch",), 2, "error: no such option: --lunch"),
    ],
)
def test_mistakes_become_a_sentence(gpuops, tmp_path, words, code, sentence):
    """What people type wrongly: one sentence, an exit code, no traceback, nothing left behind."""
    answer = gpuops(*words)

    assert answer.returncode == code, answer.stderr
    assert sentence in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
    assert {path.name for path in tmp_path.iterdir()} <= {"profiles", "quick-python"}


@pytest.mark.parametrize(("cause", "code"), [(KeyboardInterrupt, 130), (EOFError, 1)])
def test_a_question_that_is_not_answered_ends_the_command(monkeypatch, cause, code):
    """Ctrl-C is 130 as everywhere; the end of the input is a failure."""

    def read(_prompt):
        raise cause

    monkeypatch.setitem(typer.confirm.__globals__, "visible_prompt_func", read)
    monkeypatch.setattr(cli, "_run", lambda: typer.confirm("End it?", err=True))

    assert code == cli._exit_code()


def test_an_answer_without_a_reader_ends_the_command_quietly():
    """As SIGPIPE ends `git log | head`; Typer would say that the command has failed."""
    for words in (["--version"], ["trainers", "list", "--json"], ["trainers", "list"]):
        reader, writer = os.pipe()
        os.close(reader)
        done = subprocess.run(
            [*COMMAND, *words], stdout=writer, stderr=subprocess.PIPE, check=False
        )
        os.close(writer)

        assert (done.returncode, done.stderr) == (141, b"")


def test_a_profile_that_does_not_parse_is_named_by_line(gpuops, tmp_path):
    """A YAML error names the file and the line."""
    (tmp_path / "mine.yaml").write_text("name: mine\ngpus: {count: 2\n")
    answer = gpuops("launch", "rvq", "--profile", "mine.yaml")

    assert answer.returncode == 2
    assert "mine.yaml, line" in answer.stderr


def test_a_port_in_use_is_an_error_with_the_next_free_one(gpuops, workers):
    """Preflight stops a launch whose port is taken, and names one that is free."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        answer = gpuops("launch", workers / "beats.py", "-p", "cpu", "--master_port", port)

    assert answer.returncode == 1
    assert f"port {port} is in use" in answer.stderr
    assert "--master-port" in answer.stderr


def test_a_dry_run_prints_the_line_that_a_launch_runs(gpuops, tmp_path, workers):
    """stdout of a dry run is one shell command; pasted, it runs the job to its end."""
    answer = gpuops("launch", workers / "beats.py", "-p", "cpu", "--dry-run", "--", "--lr", "3 $x")
    line = answer.stdout.replace(
        f"{run_module.__file__} torch.distributed.run", str(workers / "torchrun.py")
    )
    (tmp_path / "runs").mkdir()
    logs = line.split("--log-dir=")[1].split()[0]
    ran = subprocess.run(
        ["bash", "-c", f"mkdir -p {logs}; {line}"],
        env={**os.environ, "STEPS": "2"},
        check=False,
    )
    said = [path.read_text() for path in tmp_path.glob("runs/*/logs/*/*/attempt_0/0/stdout.log")]

    assert answer.returncode == 0
    assert "preflight" in answer.stderr
    assert ran.returncode == 0
    assert said == ["begins --lr 3 $x\ndone\n"]


def test_a_dry_run_as_json_holds_everything(gpuops, tmp_path, workers):
    """`--dry-run --json` gives command, environment, plan and findings to programs."""
    answer = gpuops("launch", workers / "beats.py", "-p", "cpu", "--dry-run", "--json")
    value = json.loads(answer.stdout)

    assert value["command"][1:3] == [run_module.__file__, "torch.distributed.run"]
    assert value["environment"]["GPUOPS_RUN_ID"] == value["plan"]["run_id"]
    assert {finding["check"] for finding in value["findings"]} >= {"torch", "port", "output"}
    assert not (tmp_path / "runs").exists()


def test_a_script_of_ones_own_runs_with_its_own_flags(gpuops, workers, quick_python):
    """Any script: no manifest, its flags untouched, also those that gpuops has for trainers."""
    answer = gpuops(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
        "--data", "there", "--lr", "3", STEPS="3",
    )  # fmt: skip
    shown = gpuops("runs", "list", "--json")
    logs = gpuops("logs", "last", "--rank", "1")

    assert answer.returncode == 0, answer.stderr
    assert "finished" in answer.stdout
    assert [run["status"] for run in json.loads(shown.stdout)] == ["finished"]
    assert logs.stdout == "begins --data there --lr 3\ndone\n"


def test_a_module_runs_by_its_name(gpuops, tmp_path, quick_python):
    """`launch -m my.module` runs a module as `python -m` does; what follows belongs to it."""
    (tmp_path / "my_module.py").write_text("import sys; print('module', *sys.argv[1:])")
    answer = gpuops("launch", "-m", "my_module", "--python", quick_python, "-p", "cpu", "--", "-x")
    logs = gpuops("logs", "last")

    assert answer.returncode == 0, answer.stderr
    assert logs.stdout == "module -x\n"


def test_a_crash_shows_who_and_what(gpuops, workers, quick_python):
    """Failed twice the same: exit code 4, the rank, its last words, the log, what to type next."""
    answer = gpuops(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
        STEPS="100000", FAULT="crash",
    )  # fmt: skip

    assert answer.returncode == 4
    assert "not started again" in answer.stderr
    assert "rank 1 failed first" in answer.stderr
    assert "the data is of no use" in answer.stderr
    assert "gpuops logs" in answer.stdout


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_stopped_launch_tells_by_its_exit_code(gpuops, workers, quick_python, number, code):
    """Ctrl-C is 130, SIGTERM 143; the workers saved first, and the run can be resumed."""
    launch = gpuops.start(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
        environment={"STEPS": "100000"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    for line in launch.stderr:
        if line.startswith("training"):
            break
    launch.send_signal(number)
    stdout, _ = launch.communicate(timeout=30)

    assert launch.returncode == code
    assert "stopped" in stdout
    assert "gpuops launch --resume" in stdout


def test_resume_adds_an_attempt_to_the_run(gpuops, workers, quick_python):
    """`launch --resume RUN` starts the same again: folder, flags and what is added, interpreter."""
    gpuops(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python, "--lr", "3",
        STEPS="2",
    )  # fmt: skip
    again = gpuops("launch", "--resume", "last", "--more", "4", STEPS="2")
    (run,) = json.loads(gpuops("runs", "list", "--json").stdout)

    assert again.returncode == 0, again.stderr
    assert [attempt["number"] for attempt in run["attempts"]] == [1, 2]
    assert gpuops("logs", "last", "--attempt", "2").stdout == "begins --lr 3 --more 4\ndone\n"


def test_a_flag_typed_wrongly_is_pointed_out_to_scripts_too(gpuops, workers):
    """`--profle` goes to the script, as it must, but not without a word."""
    answer = gpuops("launch", workers / "beats.py", "-p", "cpu", "--dry-run", "--exclude-gpus", "0")

    assert "--exclude-gpus goes to the script; gpuops has --exclude-gpu" in answer.stderr


def test_force_overrules_one_check_by_name(gpuops, workers, quick_python):
    """`--force port` launches in spite of that error alone."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        answer = gpuops(
            "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
            "--master-port", taken.getsockname()[1], "--force", "port", STEPS="2",
        )  # fmt: skip

    assert answer.returncode == 0, answer.stderr


def test_a_launch_tells_programs_how_it_ended(gpuops, workers, quick_python):
    """`launch --json`: stdout is the closing summary as JSON, the commentary is on stderr."""
    answer = gpuops(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python, "--json",
        "--max-restarts", 0, STEPS="100000", FAULT="crash",
    )  # fmt: skip
    value = json.loads(answer.stdout)

    assert answer.returncode == value["exit_code"] == 1
    assert (value["ending"], value["failure"]["rank"]) == ("failed", 1)
    assert "the data is of no use" in value["failure"]["last_words"][-1]


def test_a_port_taken_after_preflight_is_told(gpuops, workers, quick_python):
    """What torchrun says of a port that somebody took meanwhile becomes a sentence."""
    answer = gpuops(
        "launch",
        workers / "beats.py",
        "-p",
        "cpu",
        "--python",
        quick_python,
        "--max-restarts",
        0,
        FAULT="port",
    )

    assert answer.returncode == 1
    assert "torchrun ended: exit code 1" in answer.stderr
    assert "was taken after preflight had looked" in " ".join(answer.stderr.split())


def test_two_launches_of_one_second_get_two_names(gpuops, tmp_path, workers, quick_python):
    """Nobody loses to a name: both run, each in a folder of its own."""
    launches = [
        gpuops.start(
            "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
            environment={"STEPS": "3"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(2)
    ]  # fmt: skip
    said = [launch.communicate(timeout=60)[1] for launch in launches]

    assert [launch.returncode for launch in launches] == [0, 0], said
    assert len(list((tmp_path / "runs").iterdir())) == 2


def test_a_pipe_that_closes_does_not_stop_the_job(gpuops, tmp_path, workers, quick_python):
    """`gpuops launch ... 2>&1 | head -3`: who reads no more does not end a training."""
    launch = gpuops.start(
        "launch", workers / "beats.py", "-p", "cpu", "--python", quick_python,
        environment={"STEPS": "60"}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    while not launch.stdout.readline().startswith((b"begins", b"training")):
        pass
    launch.stdout.close()
    code = launch.wait(timeout=60)
    (run,) = (tmp_path / "runs").iterdir()
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    (ended,) = [event for event in events if event["event"] == "attempt_ended"]

    assert code == 0
    assert (ended["outcome"], ended["step"]) == ("finished", 60)
