"""A real browser without a window, told what to do over a pipe (Chromium's DevTools protocol)."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections import deque
from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-default-apps", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe",
)  # fmt: skip
QUIET = ("Runtime.enable", "Log.enable", "Network.enable", "Page.enable")


def found():
    """The browser's program; ``None`` where there is none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


class Browser:
    """One page. ``said`` are its errors and warnings, ``asked`` the addresses it wanted."""

    def __init__(self):
        self.said, self.asked = [], []
        self._folder = tempfile.mkdtemp(prefix="browser-")
        self._number, self._answers = 0, {}
        self._waiting = deque()
        hears, self._say = os.pipe()
        self._hear, says = os.pipe()
        # It reads descriptor 3 and writes descriptor 4.
        program = f'exec 3<&{hears} 4>&{says}; exec "$0" "$@"'
        command = ["bash", "-c", program, found(), *FLAGS, f"--user-data-dir={self._folder}"]
        self._process = subprocess.Popen(
            command, pass_fds=(hears, says), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        os.close(hears)
        os.close(says)
        self._rest, self._session = b"", None
        target = self.do("Target.createTarget", url="about:blank")["targetId"]
        attached = self.do("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for method in QUIET:
            self.do(method)
        self.asked.clear()

    def __enter__(self):
        return self

    def __exit__(self, *_exc):
        os.close(self._say)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._hear)
        shutil.rmtree(self._folder, ignore_errors=True)

    def open(self, path: Path):
        """Show a file, and wait until it is there."""
        self.do("Page.navigate", url=path.absolute().as_uri())
        while "Page.loadEventFired" not in self._waiting:
            self._take()
        self._waiting.clear()

    def value(self, script):
        """What a script gives back in the page."""
        done = self.do("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in done, done["exceptionDetails"]
        return done["result"].get("value")

    def do(self, method, **parameters):
        """One command, and its answer."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        os.write(self._say, json.dumps(message).encode() + b"\0")
        while self._number not in self._answers:
            self._take()
        answer = self._answers.pop(self._number)
        assert "error" not in answer, answer
        return answer["result"]

    def _take(self):
        """The next message: an answer, or something that happened."""
        while b"\0" not in self._rest:
            piece = os.read(self._hear, 1 << 16)
            assert piece, "the browser has ended"
            self._rest += piece
        line, self._rest = self._rest.split(b"\0", 1)
        message = json.loads(line)
        if "id" in message:
            self._answers[message["id"]] = message
            return
        about = message.get("params", {})
        self._waiting.append(message["method"])
        if message["method"] == "Network.requestWillBeSent":
            self.asked.append(about["request"]["url"])
        elif message["method"] in {"Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
            self.said.append(about)
        elif message["method"] == "Log.entryAdded":
            self.said.append(about["entry"]["text"])
