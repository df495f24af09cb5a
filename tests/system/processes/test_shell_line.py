"""The line of ``launch --dry-run``, run by a real shell."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.launch.plan import LaunchRequest, Target
from gpuops.core.launch.plan_launch import plan
from gpuops.core.launch.profile import Profile
from gpuops.core.launch.torchrun import argv, as_shell, environment

ECHO = """\
import json, os, sys
facts = {"argv": sys.argv, "env": dict(os.environ), "cwd": os.getcwd()}
print(json.dumps(facts))
"""
HOSTILE = [
    "",
    " ",
    "two words",
    "line\nbreak\n",
    "'single'",
    '"double"',
    "$HOME ${HOME} $(touch pwned) `touch pwned`",
    "back\\slash\\",
    "!history !!",
    "*.py ? [a]",
    "~",
    "#comment",
    "; touch pwned",
    "&& touch pwned &",
    "| > < pwned",
    "tab\there",
    "ünï-✓",
    "-n",
    "a=b",
    "\\\n",
]


def echoing_python(folder):
    """An "interpreter" that prints what it was called with."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{ECHO}")
    path.chmod(0o755)
    return str(path)


def a_plan(folder, *, python, arguments=(), variables=None, run_id="r", entry="train.py"):
    """A CPU plan with hostile parts."""
    return plan(
        Profile(name="cpu", device="cpu", workers=1, environment=variables or {}),
        None,
        LaunchRequest(
            target=Target(kind="script", name="t", entry=entry),
            run_id=run_id,
            run_dir=str(folder / run_id),
            python=python,
            arguments=tuple(arguments),
            working_dir=str(folder),
        ),
    )


def pasted(shell, launch):
    """What the program saw when the line was pasted into a shell."""
    ran = subprocess.run(
        [shell, "-c", as_shell(launch)],
        env={"PATH": os.environ["PATH"], "HOME": "/root", "LC_ALL": "C.UTF-8"},
        cwd="/",
        capture_output=True,
        check=True,
    )
    return json.loads(ran.stdout)


def check(shell, launch):
    """The program saw the very plan."""
    seen = pasted(shell, launch)

    assert argv(launch) == seen["argv"]
    assert environment(launch) == {key: seen["env"].get(key) for key in environment(launch)}
    assert launch.working_dir == seen["cwd"]


@pytest.mark.parametrize("shell", ["bash", "sh", "dash", "zsh"])
def test_the_line_runs_in_every_shell(tmp_path, shell):
    """Any shell that people paste into gives the program all it should see."""
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed here")
    python = echoing_python(tmp_path / "bin")

    check(shell, a_plan(tmp_path, python=python, arguments=HOSTILE))


@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_a_hostile_variable_arrives_as_it_is(tmp_path, value):
    """A profile's environment may hold any text."""
    python = echoing_python(tmp_path / "bin")

    check("bash", a_plan(tmp_path, python=python, variables={"FIRST": value, "SECOND": value}))
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "name", [v for v in HOSTILE if v.strip() and "/" not in v and v != "-n"], ids=repr
)
def test_a_hostile_folder_is_entered(tmp_path, name):
    """Working folder, run folder, script and interpreter may have any name."""
    folder = tmp_path / name
    python = echoing_python(folder / "bin")

    check("bash", a_plan(folder, python=python, run_id=name, entry=f"./{name}.py"))


@settings(max_examples=15)
@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=10), max_size=5
    )
)
def test_any_words_arrive_as_they_are(tmp_path_factory, words):
    """Whatever is typed is what the program is given."""
    folder = tmp_path_factory.mktemp("words")

    check("bash", a_plan(folder, python=echoing_python(folder / "bin"), arguments=words))
