"""Run ``gpuops`` as a person types it, without waiting for its imports each time.

A server loads gpuops once and is forked for each run. A run is a process of its own, with its own
folder, environment, output and exit code; only its command line is the server's.
"""

from __future__ import annotations

import gc
import importlib
import importlib.readers  # for runs as another user, who may not read the interpreter's files
import json
import os
import pkgutil
import signal
import subprocess
import sys
import traceback
from pathlib import Path

COMMAND = (sys.executable, "-m", "gpuops")


class Server:
    """The process that is forked. It starts with the first run."""

    def __init__(self, folder):
        self._stdout, self._stderr = folder / "stdout", folder / "stderr"
        self._process = None

    def run(self, words, folder, environment, user=None):
        if self._process is None:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            self._process = subprocess.Popen([sys.executable, __file__], **pipes)
        request = {
            "words": words,
            "folder": str(folder),
            "environment": environment,
            "user": user,
            "outputs": [str(self._stdout), str(self._stderr)],
        }
        print(json.dumps(request), file=self._process.stdin, flush=True)
        pid = int(self._process.stdout.readline())
        try:
            code = int(self._process.stdout.readline())
        except BaseException:  # a test's timeout
            os.kill(pid, signal.SIGKILL)
            self._process.stdout.readline()
            raise
        texts = (self._stdout.read_text(), self._stderr.read_text())
        return subprocess.CompletedProcess(["gpuops", *words], code, *texts)

    def close(self):
        if self._process is not None:
            self._process.communicate()


class Gpuops:
    """Runs gpuops in a folder. ``environment`` is added to that of the test."""

    def __init__(self, server, folder, **environment):
        self.server, self.folder, self.environment = server, folder, environment

    def __call__(self, *words, user=None, **environment):
        """The finished process of ``gpuops WORDS``; ``user``: the uid that root runs it as."""
        words = [str(word) for word in words]
        return self.server.run(words, self.folder, self._whole(environment), user)

    def start(self, *words, environment=(), **options):
        """A running ``python -m gpuops WORDS``, for tests of the process itself."""
        return subprocess.Popen(
            [*COMMAND, *map(str, words)],
            cwd=self.folder,
            env=self._whole(dict(environment)),
            **options,
        )

    def _whole(self, environment):
        return {**os.environ, **self.environment, **environment}


def serve(main):
    """For each request on stdin: fork, and print the child's pid and its exit code."""
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            os._exit(answer(main, **json.loads(line)))
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def answer(main, words, folder, environment, outputs, user=None):
    """Run ``gpuops WORDS`` in this process; return its exit code as the interpreter would."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in enumerate(outputs, 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), number)
    if user is not None:
        os.setgroups([])
        os.setgid(user)
        os.setuid(user)
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))
    sys.stdin = os.fdopen(0)
    sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w", buffering=1)
    sys.argv = ["gpuops", *words]
    code = 0
    try:
        main()
    except SystemExit as exit_:
        code = exit_.code or 0
    except BaseException:  # noqa: BLE001 - the interpreter prints all of them
        traceback.print_exc()
        code = 1
    for stream in (sys.stdout, sys.stderr):
        if not stream.closed:
            stream.flush()
    return code


def _load():
    """Gpuops' entry point, after all of its modules have been imported."""
    import gpuops

    for module in pkgutil.walk_packages(gpuops.__path__, "gpuops."):
        if module.name != "gpuops.drill.worker":  # a job of its own, with torch
            importlib.import_module(module.name)
    gc.freeze()
    return gpuops.__main__.main


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).parents[1])
    serve(_load())
