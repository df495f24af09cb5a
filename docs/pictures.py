"""Make the pictures of the README: what gpuops really shows.

    python docs/pictures.py [launch] [monitor] [report]

Runs the commands in tmux (which must be installed), takes the screen, and lets rich draw it as an
SVG; the page of a report is taken by Chromium. Nothing in them is made up, but for the GPUs that
the monitor shows: they are those of the mock driver of tests/mocknvml, which needs gcc.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
SESSION = "gpuops-picture"
LAUNCH = "gpuops launch rvq --profile cpu"
MONITOR = "gpuops monitor"
JOB = ("--profile", "7x4090", "--exclude-gpu", "0", "--force", "torch")
GPUS = "model=rtx4090 util=rnd:92,99 power=rnd:330,410 temp=rnd:58,68 clk=rnd:2450,2550"
HELD_MIB = 18_400
QUIET = ("--disable-background-networking", "--disable-component-update", "--disable-sync")


class Terminal:
    """A shell in a terminal of some size, in tmux."""

    def __init__(
        self, folder: str, width: int, height: int, environment: Mapping[str, str]
    ) -> None:
        self._environment = {**os.environ, **environment}
        size = ("-x", str(width), "-y", str(height))
        self._tmux("new-session", "-d", "-s", SESSION, *size, "bash --norc")
        path = Path(sys.executable).parent
        self.types(f"cd {folder} && export PATH={path}:$PATH PS1='$ ' && clear")
        while self.screen().strip() != "$":
            time.sleep(0.1)

    def _tmux(self, *words: str) -> str:
        command = ["tmux", "-L", SESSION, *words]
        ran = subprocess.run(
            command, check=True, capture_output=True, text=True, env=self._environment
        )
        return ran.stdout

    def types(self, line: str) -> None:
        """Type a line."""
        self._tmux("send-keys", "-t", SESSION, line, "Enter")

    def screen(self) -> str:
        """What it shows, with its colours."""
        return self._tmux("capture-pane", "-e", "-p", "-t", SESSION)

    def shows(self, pattern: str, seconds: float) -> str:
        """The screen, once it shows what the pattern says."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            shown = self.screen()
            if re.search(pattern, Text.from_ansi(shown).plain):
                return shown
            time.sleep(0.1)
        sys.exit(f"the screen never showed {pattern!r}:\n{self.screen()}")

    def close(self) -> None:
        """End it, and what runs in it."""
        self._tmux("kill-server")


@contextmanager
def terminal(
    width: int, height: int, environment: Mapping[str, str] | None = None
) -> Iterator[Terminal]:
    """A terminal in an empty folder."""
    with tempfile.TemporaryDirectory() as folder:
        opened = Terminal(folder, width, height, environment or {})
        try:
            yield opened
        finally:
            opened.close()


def launch() -> None:
    """A launch while it trains, and when it has ended."""
    with terminal(100, 44) as shell:
        shell.types(LAUNCH)
        training = shell.shows(r"training +(1[5-9]|2[0-4])\d/", 120).rstrip()
        finished = shell.shows("its events and checkpoints", 120).rstrip()
    ended = [line for line in finished.splitlines() if Text.from_ansi(line).plain.strip() != "$"]
    first = next(number for number, line in enumerate(ended) if "finished" in line)
    console = paper(100)
    console.print(Text.from_ansi(training))
    console.print(Text("\n… some seconds later, in place of the last line …\n", style="dim italic"))
    console.print(Text.from_ansi("\n".join(ended[first:])))
    keep(console, "launch", LAUNCH)


def monitor() -> None:
    """Seven ranks on seven of eight GPUs, of which one is stopped and the others wait."""
    spec = importlib.util.spec_from_file_location("mocknvml", ROOT / "tests/mocknvml/mocknvml.py")
    if spec is None or spec.loader is None:
        sys.exit("tests/mocknvml is not there")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    with tempfile.TemporaryDirectory() as folder, module.MockNvml() as mock:
        inventory = [
            "driver 580.95.05",
            "cuda 13.0",
            "gpu 0 model=rtx4090 temp=38",
            f"gpu 1-7 {GPUS}",
        ]
        mock.set(inventory)
        own = {name: mock.env[name] for name in ("LD_LIBRARY_PATH", "MOCK_NVML_STATE")}
        environment = {**own, "GPUOPS_RUNS_DIR": folder, "GPUOPS_LEASE_DIR": f"{folder}/claims"}
        script = shutil.copy(ROOT / "gpuops/drill/worker.py", f"{folder}/train.py")
        worker = [script, *JOB, "--", "--notes", folder]
        job = subprocess.Popen(
            [sys.executable, "-m", "gpuops", "launch", *worker, "--steps", "20000"],
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            pids = ranks(folder, 7, 20)
            held = [f"proc gpu={gpu} pid={pids[gpu - 1]} mem={HELD_MIB}" for gpu in range(1, 8)]
            mock.set([*inventory, *held])
            with terminal(108, 34, environment) as shell:
                shell.types(MONITOR)
                shell.shows("healthy", 60)
                time.sleep(40)  # a past to show
                os.kill(pids[3], signal.SIGSTOP)
                mock.set([*inventory, f"gpu 1-7 {GPUS} util=100 power=rnd:68,74", *held])
                shown = shell.shows("rank stopped", 60).rstrip()
                shell.types("q")
        finally:
            job.terminate()
            job.wait()
    console = paper(108)
    console.print(Text.from_ansi(shown))
    keep(console, "monitor", MONITOR)


def report() -> None:
    """The page of a run of which a rank is killed half-way."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {**os.environ, "GPUOPS_RUNS_DIR": folder}
        gpuops = [sys.executable, "-m", "gpuops"]
        words = ["launch", "rvq", "--profile", "cpu", "--total-iter", "600"]
        job = subprocess.Popen([*gpuops, *words], env=runs, stdout=subprocess.DEVNULL)
        os.kill(ranks(folder, 2, 300)[1], signal.SIGKILL)
        if job.wait():
            sys.exit("the job did not come to its end")
        page = f"{folder}/report.html"
        subprocess.run([*gpuops, "report", "last", "--html", page], env=runs, check=True)
        path = ROOT / "docs" / "report.png"
        own = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *QUIET)
        size = ("--window-size=1200,1240", f"--user-data-dir={folder}/browser")
        browser = ["chromium", *own, *size, f"--screenshot={path}", f"file://{page}"]
        subprocess.run(browser, check=True, stderr=subprocess.DEVNULL)
        print(path.relative_to(ROOT))


def ranks(folder: str, count: int, step: int) -> list[int]:
    """The pids of a job's ranks, once all of them have come to a step."""
    command = [sys.executable, "-m", "gpuops", "monitor", "--once", "--json"]
    end = time.monotonic() + 600
    while time.monotonic() < end:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)
        for job in json.loads(ran.stdout)["jobs"]:
            ours = (job["run_dir"] or "").startswith(folder)
            stepping = [rank["pid"] for rank in job["ranks"] if (rank["step"] or 0) >= step]
            if ours and len(stepping) == count:
                return stepping
    sys.exit("the job never began to train")


def paper(width: int) -> Console:
    """What rich draws on."""
    return Console(record=True, width=width, file=Path("/dev/null").open("w"))


def keep(console: Console, name: str, title: str) -> None:
    """As an SVG beside this file."""
    path = ROOT / "docs" / f"{name}.svg"
    path.write_text(console.export_svg(title=title), encoding="utf-8")
    print(path.relative_to(ROOT))


PICTURES = {"launch": launch, "monitor": monitor, "report": report}


def main() -> None:
    """Run, look, draw."""
    if shutil.which("tmux") is None:
        sys.exit("tmux is not installed")
    wanted = sys.argv[1:] or [*PICTURES]
    if unknown := [name for name in wanted if name not in PICTURES]:
        sys.exit(f"there is no picture {unknown[0]}; there are: {', '.join(PICTURES)}")
    for name in wanted:
        PICTURES[name]()


if __name__ == "__main__":
    main()
