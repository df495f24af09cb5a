"""`gpuops estimate` as a person types it. A stand-in for the trainer's Python answers at once."""

from __future__ import annotations

import json
from functools import partial

import pytest

from gpuops import run_module
from gpuops.core.launch.manifest import Answers, Manifest
from gpuops.core.launch.options import LaunchOptions
from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.errors import UsageError
from gpuops.launch import estimate as launch_estimate

MIB, GIB = 1 << 20, 1 << 30
FITS = [{"size": 80, "gib": 2}, {"size": 160, "gib": 3}, {"size": 1700, "gib": 20}]


@pytest.fixture(name="estimate")
def _estimate(gpuops, monkeypatch):
    """Run `gpuops estimate` on a laptop: no GPU, a terminal of 80 columns."""
    monkeypatch.setenv("COLUMNS", "80")
    return partial(gpuops, "estimate")


@pytest.fixture(name="python")
def _python(tmp_path):
    """Makes a Python that answers as a trainer would, and keeps what it was asked."""

    def make(needs=FITS, **changes):
        parts = {"parameters": 100 * MIB, "gradients": 0, "batch": 5 * MIB, "activations": GIB}
        answer = {
            "setting": "batch_size",
            "size": 80,
            "batch": "80 windows of 128 frames",
            "ranks": 7,
            "device": "cuda",
            "precision": "float32",
            "savers": ["--gradient-checkpointing"],
            "needs": [
                {
                    "size": need["size"],
                    "peak_bytes": int(need["gib"] * GIB),
                    "at": "forward",
                    "parts": parts,
                    "rounding_bytes": 9 * MIB,
                }
                for need in needs
            ],
            **changes,
        }
        (tmp_path / "answer.json").write_text(json.dumps(answer))
        path = tmp_path / "python"
        path.write_text('#!/bin/sh\nprintf "%s\\n" "$@" > asked\ncat answer.json\n')
        path.chmod(0o755)
        return path

    return make


@pytest.fixture(name="asked")
def _asked(tmp_path):
    """The words that the trainer was asked with."""
    return lambda: (tmp_path / "asked").read_text().splitlines()


def flag(words, name):
    return words[words.index(name) + 1]


def test_a_profile_says_what_to_ask_and_what_to_compare_with(estimate, python, asked):
    """Ranks, room and wishes are the profile's, the rest the user's; nothing is too wide."""
    answer = estimate("rvq", "-p", "7x4090", "--python", python(), "--width", "3", "--data", "d")
    words = asked()

    assert answer.returncode == 0, answer.stderr
    assert words[:2] == [run_module.__file__, "trainers.rvq.estimate"]
    assert flag(words, "--ranks") == "7"
    assert flag(words, "--device") == "cuda"
    assert 19 * GIB < int(flag(words, "--room-bytes")) < 21 * GIB
    assert {"preset=beat-7x4090", "batch_size=80"} <= set(words)
    assert words.index("batch_size=80") < words.index("--width")
    assert flag(words, "--data") == "d"
    shown = answer.stdout
    for expected in (
        "rvq on 7 x RTX 4090, float32", "80 windows of 128 frames", "parameters", "100 MiB",
        "context and workspace", "1.34 GiB", "It fits: 3.3 of 21.6 GiB with batch_size 80",
        "1,700",
    ):  # fmt: skip
        assert expected in shown
    assert max(map(len, shown.splitlines())) <= 80
    assert answer.stderr == ""


def test_what_does_not_fit_is_exit_code_1_and_says_what_would(estimate, python):
    """A sentence, and what to type."""
    needs = [{"size": 40, "gib": 15}, {"size": 80, "gib": 29}, {"size": 160, "gib": 57}]
    answer = estimate("rvq", "--profile", "1x4090", "--python", python(needs))
    shown = " ".join(answer.stdout.split())

    assert answer.returncode == 1
    assert "It does not fit: batch_size 80 needs" in shown
    assert "--batch-size " in shown
    assert "`--gradient-checkpointing` makes it smaller" in shown
    assert "57." not in shown, "more than what is too much is noise"
    assert "Traceback" not in answer.stderr


def test_without_a_gpu_and_a_profile_there_is_the_need_alone(estimate, python, asked):
    """One rank of a GPU that nobody knows: no room is asked for, no fit given."""
    answer = estimate("rvq", "--python", python(ranks=1))

    assert answer.returncode == 0
    assert flag(asked(), "--ranks") == "1"
    assert "--room-bytes" not in asked()
    assert "No GPU is known" in answer.stdout
    assert "needed" in answer.stdout


def test_another_machine_can_be_simulated(estimate, python, asked):
    """Its GPUs are what it is compared with, a rank on each."""
    answer = estimate("rvq", "--simulate", "2x4090", "--python", python(ranks=2))

    assert answer.returncode == 0, answer.stderr
    assert flag(asked(), "--ranks") == "2"
    assert 20 * GIB < int(flag(asked(), "--room-bytes")) < 22 * GIB


def test_on_cpus_nothing_is_beside_the_tensors(estimate, python, asked):
    """And there is no GPU to compare with; what was assumed is said."""
    answer = estimate("rvq", "-p", "cpu", "--python", python(device="cpu", assumed="52 joints"))

    assert answer.returncode == 0
    assert flag(asked(), "--device") == "cpu"
    assert "context" not in answer.stdout
    assert "✓ No GPU is needed" in answer.stdout
    assert "assumed: 52 joints" in answer.stdout


def test_a_machine_that_is_not_the_profiles_is_said(estimate, python):
    """The estimate is for the profile's GPUs, and the report says what is simulated."""
    answer = estimate("rvq", "-p", "7x4090", "--simulate", "2xt4", "--python", python())
    on_cpu = estimate("rvq", "-p", "cpu", "--simulate", "2xt4", "--python", python(device="cpu"))
    fitting = estimate("rvq", "-p", "7x4090", "--simulate", "8x4090", "--python", python())

    assert "2xt4 has 0 of the 7 GPUs that profile 7x4090 wants" in answer.stderr
    assert answer.stdout.startswith("simulated: 2xt4\n")
    assert "profile cpu runs on the CPU" in on_cpu.stderr
    assert fitting.stderr == ""


def test_a_flag_of_a_launch_is_told_from_a_mistake(estimate):
    """The trainer does not know it, but who typed it did not invent it."""
    answer = estimate("rvq", "-p", "cpu", "--shrink")

    assert answer.returncode == 2
    assert "--shrink is a flag of `gpuops launch`; estimate does not use it." in answer.stderr


def test_a_profiles_mistake_is_not_the_users(estimate, tmp_path):
    """It is named by its profile and dotted path, not as a flag that nobody typed."""
    (tmp_path / "h.yaml").write_text(
        "{name: h, device: cpu, workers: 1, trainers: {rvq: {batch_sise: 4}}}"
    )
    said = " ".join(estimate("rvq", "-p", "h.yaml").stderr.split())

    assert "error: profile h.yaml: trainers.rvq.batch_sise: batch_sise is not a setting" in said
    assert ".." not in said
    assert "--batch" not in said


def test_as_json_everything_is_there(estimate, python):
    """What was estimated, the GPU, the margin and the fit."""
    value = json.loads(estimate("rvq", "-p", "7x4090", "--python", python(), "--json").stdout)

    assert value["estimate"]["needs"][0]["peak_bytes"] == 2 * GIB
    assert value["gpu"]["memory_bytes"] == 24 * GIB
    assert value["beside"]["nccl_bytes"] > 0
    assert value["fit"]["fits"] is True
    assert value["fit"]["largest"] == 1700


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (("--preset", "demo"), 2, "say which trainer"),
        (("./mine.py",), 2, "mine.py is a script: only trainers compute their memory"),
        (("rvq", "--python", "/no/python"), 1, "/no/python cannot be run"),
        (("rvq", "--python", "./silent"), 1, "did not print its memory as JSON"),
        (("rvq", "--python", "./odd"), 1, "printed no estimate: setting"),
        (("rvq", "--python", "./broken"), 1, "there is no clip here"),
        (("rvq", "--simulate", "zoo"), 2, "zoo"),
    ],
)
def test_mistakes_become_a_sentence(estimate, tmp_path, words, code, sentence):
    """Whosever they are."""
    (tmp_path / "mine.py").touch()
    says = {"silent": "true", "odd": "echo {}", "broken": "echo error: there is no clip here >&2"}
    for name, does in says.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n[ {name} != broken ]\n")
        (tmp_path / name).chmod(0o755)
    answer = estimate(*words)

    assert answer.returncode == code, answer.stderr
    assert sentence in " ".join(answer.stderr.split())
    assert "Traceback" not in answer.stderr
    assert answer.stdout == ""


def test_a_trainer_without_that_answer_is_a_sentence(monkeypatch):
    """Not every trainer knows what it needs."""
    answers = Answers(config="mine.config")
    manifest = Manifest(name="mine", summary="", train="mine.train", answers=answers)
    target = Target(kind="trainer", name="mine", entry="mine.train")
    asked = LaunchRequest(target=target, run_id="", run_dir="", python="")
    monkeypatch.setattr(launch_estimate, "request", lambda _options: (manifest, asked))

    with pytest.raises(UsageError, match="trainer mine cannot compute its memory"):
        launch_estimate.estimate(LaunchOptions(name="mine"))


@pytest.mark.long
def test_the_trainer_itself_is_asked(estimate, tmp_path):
    """The real one, from the flags to the table; nothing is left behind."""
    answer = estimate("rvq", "-p", "cpu", "--batch-size", 8, "--json")
    value = json.loads(answer.stdout)

    assert answer.returncode == 0, answer.stderr
    assert value["estimate"]["batch"] == "8 windows of 64 frames, 156 features each"
    assert value["estimate"]["ranks"] == 2
    assert [need["size"] for need in value["estimate"]["needs"]] == [8, 16]
    assert value["fit"]["fits"] is None
    assert list(tmp_path.iterdir()) == []
