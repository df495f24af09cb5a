"""The host as it is: sandboxes, limits and folders that are not as a launch would like them."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from machines import CPU, needs, snapshot

from gpuops import run_module
from gpuops.core.preflight.host import check_runs
from gpuops.system import owners
from gpuops.system.host import host

OTHER = 60001
REPOSITORY = Path(__file__).parents[2]
LOOPBACK = """
import json
from gpuops.system.host import network
print(json.dumps(network.why_no_loopback()))
"""
LIMITS = """
import dataclasses, json
from gpuops.system.host import host
print(json.dumps([dataclasses.asdict(one) for one in host.process_limits()]))
"""


def as_seen(program, *before):
    """What a program prints after these words, which end with its interpreter."""
    packages = [folder for folder in sys.path if "site-packages" in folder]
    path = os.pathsep.join([str(REPOSITORY), *packages])
    done = subprocess.run(
        [*before, "-c", program],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def namespace(*words):
    """The words that start a program in namespaces of its own, if that is allowed here."""
    command = ("unshare", *words)
    if (
        shutil.which("unshare") is None
        or subprocess.run([*command, "true"], check=False).returncode
    ):
        pytest.skip("no namespaces can be had here")
    return command


@pytest.mark.parametrize(
    "up", ["true", "ip link set lo up; ip address del 127.0.0.1/8 dev lo"], ids=["down", "only ::1"]
)
def test_a_sandbox_without_a_loopback_is_seen(up):
    """By one connection to it."""
    if shutil.which("ip") is None and up != "true":
        pytest.skip("there is no ip command")
    sandbox = (*namespace("-n"), "sh", "-c", f'{up}; exec "$@"', "sh")

    assert as_seen(LOOPBACK, *sandbox, sys.executable)


def test_a_limit_of_processes_is_that_of_the_user():
    """With what the user has now; root has none."""
    if os.geteuid() != 0:
        pytest.skip("only root can become another user")
    user = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
    found = as_seen(LIMITS, "prlimit", "--nproc=500", *user, sys.executable)
    theirs = next(limit for limit in found if limit["of"] == "user")

    assert 500 == theirs["limit"]
    assert 1 <= theirs["used"] < 50
    assert "user" not in {limit.of for limit in host.process_limits()}


HIDDEN = """
import json, sys
from gpuops.system.processes import visibility
from gpuops.system.processes.identity import Identity
theirs, gone = Identity(1, 1), Identity(4194303, 1)
print(json.dumps([visibility.hidden(), theirs.alive, theirs.hidden, gone.hidden]))
"""


@pytest.mark.parametrize("option", ["hidepid=2", "hidepid=1", "hidepid=0"])
def test_what_proc_hides_is_not_called_gone(option):
    """A process of another user may live; with a free pid it does not."""
    mounted = (*namespace("-m"), "sh", "-c", f'mount -t proc -o {option} proc /proc && exec "$@"')
    user = ("setpriv", f"--reuid={OTHER}", f"--regid={OTHER}", "--clear-groups")
    hidden, alive, may_live, gone_may_live = as_seen(HIDDEN, *mounted, "sh", *user, sys.executable)

    assert ("hidepid" in (hidden or "")) == may_live == (option != "hidepid=0")
    assert not alive
    assert not gone_may_live


@pytest.mark.parametrize("name", ["torch/__init__.py", "socket.py", "runpy.py", "json/__init__.py"])
def test_torchrun_does_not_import_from_the_working_directory(tmp_path, name):
    """Nor does any other module that gpuops starts."""
    shadow = tmp_path / name
    shadow.parent.mkdir(exist_ok=True)
    shadow.write_text("raise SystemExit('imported from the working directory')")
    packages = tmp_path / "packages"
    packages.mkdir()
    (packages / "agent.py").write_text("import socket, runpy, json, sys; print(sys.argv, __name__)")
    done = subprocess.run(
        [sys.executable, run_module.__file__, "agent", "--flag"],
        cwd=tmp_path,
        env={"PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.stdout == f"['{packages / 'agent.py'}', '--flag'] __main__\n", done.stderr


@pytest.mark.usefixtures("own_port")
def test_a_launch_beside_a_shadow_trains(tmp_path, gpuops, workers):
    """Where ``python -m`` would fail; the rank has the path and the variables of plain torchrun."""
    torch = tmp_path / "packages" / "torch"
    (torch / "distributed").mkdir(parents=True)
    for name in ("__init__.py", "distributed/__init__.py"):
        (torch / name).touch()
    (torch / "version.py").write_text("__version__ = '2.13.0'\n")
    agent = (
        f"import runpy, socket\nrunpy.run_path({str(workers / 'torchrun.py')!r}, None, __name__)"
    )
    (torch / "distributed" / "run.py").write_text(agent)
    (tmp_path / "scripts").mkdir()
    (tmp_path / "socket.py").write_text("raise SystemExit('imported from the working directory')")
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('a checkout')")
    script = tmp_path / "scripts" / "train.py"
    script.write_text(
        "import os, socket, sys; print(sys.path[0], os.environ.get('PYTHONSAFEPATH'))"
    )
    words = ("launch", "scripts/train.py", "--profile", "cpu", "--nproc-per-node", "1")
    launched = gpuops(*words, PYTHONPATH=str(torch.parent))

    assert launched.returncode == 0, launched.stderr
    assert gpuops("logs", "last").stdout == f"{script.parent} None\n"


@pytest.mark.usefixtures("own_port")
def test_a_torchrun_that_cannot_start_is_not_started_again(tmp_path, gpuops, workers):
    """Whatever it raises; the summary has its words."""
    python = tmp_path / "broken-python"
    broken = "raise ImportError('libtorch_cpu.so')"
    python.write_text(
        f'#!/bin/sh\n[ "$2" = torch.distributed.run ] && exec "{sys.executable}" '
        f'{tmp_path / "broken.py"}\nexec "{sys.executable}" "$@"\n'
    )
    (tmp_path / "broken.py").write_text(f"def load():\n    {broken}\nload()\n")
    python.chmod(0o755)
    done = gpuops("launch", workers / "beats.py", "--profile", "cpu", "--python", python)

    assert done.returncode == 4
    assert "libtorch_cpu.so" in done.stderr + done.stdout
    assert len(list(tmp_path.glob("runs/*/logs/attempt-*"))) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can be other users")
@pytest.mark.parametrize(
    ("mode", "uid", "why"),
    [
        (0o777, 0, "its sticky bit is missing"),
        (0o755, 60001, "belongs to 60001"),
        (0o1777, 0, None),
        (0o775, 0, None),
    ],
)
def test_a_folder_of_runs_in_which_others_can_replace_files_is_a_warning(tmp_path, mode, uid, why):
    """They could say how a run ended, and what the next attempt starts."""
    tmp_path.chmod(mode)
    os.chown(tmp_path, uid, -1)
    found = owners.why_shared(tmp_path)
    findings = check_runs(snapshot(gaps={"runs": found} if found else {}), CPU, needs())

    assert (why is None) is (found is None) is (findings is None)
    assert why is None or (why in findings.summary and findings.severity == "warning")


def test_a_folder_of_runs_that_is_not_there_is_ours(tmp_path):
    """The launch makes it."""
    assert owners.why_shared(tmp_path / "runs") is None
