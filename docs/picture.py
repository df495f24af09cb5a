"""Make docs/launch.svg: a real `gpuops launch rvq --profile cpu`, seen in a terminal.

    python docs/picture.py

Runs the command in tmux (which must be installed), takes the screen while it trains, and again
when it has ended, and lets rich draw both as one SVG. Nothing in it is made up.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.text import Text

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEIGHT = 100, 44
SESSION = "gpuops-picture"
COMMAND = "gpuops launch rvq --profile cpu"


def tmux(*words: str) -> str:
    """Run one tmux command in a server of our own."""
    command = ["tmux", "-L", SESSION, *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def screen() -> str:
    """What the terminal shows, with its colours."""
    return tmux("capture-pane", "-e", "-p", "-t", SESSION)


def wait_for(pattern: str, seconds: float) -> str:
    """The screen, once it shows what the pattern says."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        shown = screen()
        if re.search(pattern, Text.from_ansi(shown).plain):
            return shown
        time.sleep(0.1)
    sys.exit(f"the screen never showed {pattern!r}:\n{screen()}")


def main() -> None:
    """Run, look, draw."""
    if shutil.which("tmux") is None:
        sys.exit("tmux is not installed")
    with tempfile.TemporaryDirectory() as folder:
        prompt = f"cd {folder} && export PATH={Path(sys.executable).parent}:$PATH PS1='$ ' && clear"
        tmux("new-session", "-d", "-s", SESSION, "-x", str(WIDTH), "-y", str(HEIGHT), "bash --norc")
        try:
            tmux("send-keys", "-t", SESSION, prompt, "Enter")
            while screen().strip() != "$":
                time.sleep(0.1)
            tmux("send-keys", "-t", SESSION, COMMAND, "Enter")
            training = wait_for(r"training +(1[5-9]|2[0-4])\d/", 120).rstrip()
            finished = wait_for("what happened", 120).rstrip()
        finally:
            tmux("kill-server")
    console = Console(record=True, width=WIDTH, file=Path("/dev/null").open("w"))  # noqa: SIM115
    live = training.splitlines()[-1]
    ended = [line for line in finished.splitlines() if Text.from_ansi(line).plain.strip() != "$"]
    first = next(number for number, line in enumerate(ended) if "finished" in line)
    console.print(Text.from_ansi(training))
    console.print(Text("\n… some seconds later, in place of the last line …\n", style="dim italic"))
    console.print(Text.from_ansi("\n".join(ended[first:])))
    (ROOT / "docs" / "launch.svg").write_text(console.export_svg(title=COMMAND), encoding="utf-8")
    print(f"docs/launch.svg; the live line was: {Text.from_ansi(live).plain}")


if __name__ == "__main__":
    main()
