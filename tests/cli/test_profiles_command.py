"""`gpuops profiles` and `gpuops data count` as a person types them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from plan_json import gpus_of

from gpuops.core.launch.profile import schema
from gpuops.system.resources import shipped

EIGHT = ["driver 580.95.05", "cuda 13.0", "gpu 0-7 model=rtx4090"]


@pytest.fixture(autouse=True)
def _own_config(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture(name="driver")
def _driver(mock_driver):
    mock_driver.set(EIGHT)
    return mock_driver


def words_of(text):
    """A screen's text without its line breaks."""
    return " ".join(text.split())


def test_list_says_what_a_profile_hides(gpuops, tmp_path):
    """An own `cpu` stands in the place of the shipped one, and the list says so."""
    (tmp_path / "profiles").mkdir()
    (tmp_path / "profiles" / "cpu.yaml").write_text("name: other\ndevice: cpu\nworkers: 9\n")
    (tmp_path / "profiles" / "bad.yaml").write_text("name: bad\n")
    shown = gpuops("profiles", "list", COLUMNS="200")
    listed = {
        each["name"]: each for each in json.loads(gpuops("profiles", "list", "--json").stdout)
    }

    assert f"hides {shipped('profiles')}/cpu.yaml" in shown.stdout
    assert "profile bad is left out" in shown.stderr
    assert (9, "profiles/cpu.yaml") == (listed["cpu"]["workers"], listed["cpu"]["file"])
    assert [str(shipped("profiles") / "cpu.yaml")] == listed["cpu"]["hides"]
    assert [] == listed["8xh100"]["hides"]


def test_validate_tells_of_each(gpuops, tmp_path):
    """All are looked at; one that is bad makes it exit code 2."""
    (tmp_path / "bad.yaml").write_text("name: bad\nworkers: many\n")
    good = gpuops("profiles", "validate", "cpu", "8xh100")
    bad = gpuops("profiles", "validate", "cpu", "bad.yaml", "gone", "8xh100")
    told = json.loads(gpuops("profiles", "validate", "cpu", "bad.yaml", "--json").stdout)

    assert (0, 2) == (good.returncode, bad.returncode)
    assert 2 == words_of(good.stdout).count("✓")
    assert 2 == words_of(bad.stdout).count("✓")
    assert "workers is 'many': a whole number is wanted" in words_of(bad.stdout)
    assert "there is no profile 'gone'" in words_of(bad.stdout)
    assert [("cpu", True, None), ("bad.yaml", False, "bad.yaml is not a valid profile: ")] == [
        (each["profile"], each["valid"], each["problem"] and each["problem"][:33]) for each in told
    ]


def test_validate_asks_the_trainers_for_the_settings_that_are_wished(gpuops, tmp_path):
    """All that one refuses, by dotted path; a trainer that is not here may be elsewhere."""
    (tmp_path / "h.yaml").write_text(
        "{name: h, device: cpu, workers: 1,"
        " trainers: {rvq: {batch_sise: 4, lr: high, width: 8}, rvqq: {x: 1}}}"
    )
    answer = gpuops("profiles", "validate", "h.yaml", "--json")
    (told,) = json.loads(answer.stdout)

    assert (2, False) == (answer.returncode, told["valid"])
    assert "trainers.rvq.batch_sise: batch_sise is not a setting of rvq" in told["problem"]
    assert "the nearest is batch_size" in told["problem"]
    assert "trainers.rvq.lr: optim.lr cannot be 'high' (lr)" in told["problem"]
    assert "width" not in told["problem"]
    assert ["trainers.rvqq: there is no trainer 'rvqq'; did you mean rvq?"] == told["warnings"]
    assert "! h.yaml trainers.rvqq" in words_of(gpuops("profiles", "validate", "h.yaml").stdout)


def test_validate_shows_all_mistakes(gpuops, tmp_path):
    """A launch shows the first few, and says where the rest is."""
    odd = " ".join(f"odd{n}: 1," for n in range(9))
    (tmp_path / "many.yaml").write_text(f"{{name: many, {odd} device: cpu, workers: 1}}")
    told = words_of(gpuops("profiles", "validate", "many.yaml").stdout)
    launch = gpuops("launch", "rvq", "--profile", "many.yaml", "--dry-run").stderr

    assert 9 == told.count("is not a key")
    assert "more" not in told
    assert "and 4 more" in launch
    assert "`gpuops profiles validate many.yaml` shows all" in words_of(launch)


def test_schema_is_the_models(gpuops):
    """As JSON on stdout, to be written to a file."""
    assert schema() == json.loads(gpuops("profiles", "schema").stdout)


def test_show_prints_the_file_letter_by_letter(gpuops, tmp_path):
    """Into a file it is a copy, long lines and all."""
    text = f"name: long\nsummary: {'word ' * 90}end\ndevice: cpu\nworkers: 1\n"
    (tmp_path / "long.yaml").write_text(text)

    assert text == gpuops("profiles", "show", "long.yaml").stdout


def test_detect_without_a_gpu_writes_a_cpu_profile(gpuops, tmp_path):
    """It can be launched by its name."""
    made = gpuops("profiles", "detect", "--out", "profiles/mybox.yaml")
    launch = gpuops("launch", "rvq", "--profile", "mybox", "--dry-run", "--json")

    assert (0, "") == (made.returncode, made.stdout)
    assert "there is no GPU" in made.stderr
    assert "profiles/mybox.yaml is written" in made.stderr
    assert "name: mybox\n" in (tmp_path / "profiles" / "mybox.yaml").read_text()
    # The host may be too small, or its port taken.
    assert launch.returncode in {0, 1}, launch.stderr
    assert "mybox" == json.loads(launch.stdout)["plan"]["profile"]


def test_detect_never_writes_over_a_file(gpuops, tmp_path):
    """Unless it is told to."""
    (tmp_path / "mine.yaml").write_text("mine")
    refused = gpuops("profiles", "detect", "--out", "mine.yaml")
    kept = (tmp_path / "mine.yaml").read_text()
    replaced = gpuops("profiles", "detect", "--out", "mine.yaml", "--overwrite", "--name", "other")

    assert (2, "mine") == (refused.returncode, kept)
    assert "mine.yaml already exists" in refused.stderr
    assert 0 == replaced.returncode
    assert "name: other\n" in (tmp_path / "mine.yaml").read_text()


@pytest.mark.parametrize("words", [["--out", "mine.txt"], ["--out", "a b.yaml"], ["--name", "a/b"]])
def test_detect_refuses_what_no_launch_would_find(gpuops, tmp_path, words):
    """A name that no file can have, a file that no search finds."""
    answer = gpuops("profiles", "detect", *words)

    assert 2 == answer.returncode
    assert "Traceback" not in answer.stderr
    assert [] == list(tmp_path.iterdir())


def test_detect_writes_what_a_launch_takes(gpuops, driver):
    """Eight GPUs, one with a display, one lost: the rest by UUID, with their reasons."""
    driver.set([*EIGHT, "lost 5", f"proc gpu=0 pid={os.getpid()} mem=300 type=G"])
    printed = gpuops("profiles", "detect", **driver.env)
    gpuops("profiles", "detect", "--out", "profiles/host.yaml", **driver.env)
    told = json.loads(gpuops("profiles", "detect", "--json", **driver.env).stdout)
    launch = gpuops(
        "launch", "rvq", "-p", "host", "--force", "torch", "--dry-run", "--json", **driver.env
    )
    plan = json.loads(launch.stdout)["plan"]

    assert "- 0  # drives a display (" in printed.stdout
    assert "- 5  # cannot be used: " in printed.stdout
    assert {"count": 6, "model": "RTX 4090", "memory_gib": 24.0, "exclude": [0, 5]} == told["gpus"]
    assert [1, 2, 3, 4, 6, 7] == gpus_of(plan)
    assert 6 == len(set(gpus_of(plan, "uuid")))


@pytest.fixture(name="samples")
def _samples(tmp_path):
    """A data set with a whole sample in each split, and twelve empty ones."""
    for name in ("train/whole", "val/whole", *[f"train/empty{n:02d}" for n in range(12)]):
        (tmp_path / "set" / name).mkdir(parents=True)
        (tmp_path / "set" / name / "pose.npy").write_bytes(b"x" if "whole" in name else b"")
    (tmp_path / "set" / "train" / "bare").mkdir()
    return tmp_path / "set"


def test_count_names_what_cannot_be_used(gpuops, samples):
    """The first few for people, all for programs."""
    shown = gpuops("data", "count", samples, "--trainer", "rvq")
    told = json.loads(gpuops("data", "count", samples, "--trainer", "rvq", "--json").stdout)

    assert {"train": 1, "val": 1} == told["samples"]
    assert ["train/bare"] == told["incomplete"]
    assert 12 == len(told["unreadable"])
    assert "unreadable: 12" in shown.stdout
    assert "train/empty09: pose.npy is empty" in shown.stdout
    assert "train/empty10" not in shown.stdout
    assert "and 2 more (`--json` lists all)" in words_of(shown.stdout)


@pytest.mark.parametrize("quiet_s", ["0.0", "60.0"])
def test_a_long_count_shows_on_a_terminal_how_far_it_is(samples, quiet_s):
    """After a moment, on stderr, and it is wiped away in the end."""
    code = (
        "import sys; from gpuops.cli import data; from gpuops.system.trainers import datasets; "
        f"data.QUIET_S = {quiet_s}; datasets.PROGRESS_EVERY = 5; "
        "sys.argv = ['gpuops', 'data', 'count', sys.argv[1], '--trainer', 'rvq', '--json']; "
        "from gpuops.cli import main; main()"
    )
    ours, theirs = pty.openpty()
    ran = subprocess.run(
        [sys.executable, "-c", code, str(samples)],
        stdout=subprocess.PIPE,
        stderr=theirs,
        check=True,
    )
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)

    assert json.loads(ran.stdout)["samples"] == {"train": 1, "val": 1}
    assert ("5 samples ..." in shown) == (quiet_s == "0.0")
    assert shown.endswith("\r\x1b[K")
