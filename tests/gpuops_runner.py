"""Run ``gpuops`` as a person types it, without waiting for its imports each time.

A server loads gpuops once and is forked for each run. A run is a process of its own, with its own
folder, environment, files, signals and exit code. Its command line is the server's, and so is the
environment that ``/proc`` shows.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import importlib.readers  # for runs as another user, who may not read the interpreter's files
import json
import os
import pkgutil
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

COMMAND = (sys.executable, "-m", "gpuops")


class Server:
    """The process that is forked. It starts with the first run."""

    def __init__(self):
        self._channel = self._process = None

    def start(self, words, folder, environment, user, files):
        """Fork a run with these files as its stdin, stdout and stderr; the pipe of its end."""
        if self._process is None:
            self._channel, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
            with theirs:
                self._process = subprocess.Popen([sys.executable, __file__], stdin=theirs)
        request = json.dumps([words, str(folder), environment, user]).encode()
        end, theirs = os.pipe()
        numbers = [file if isinstance(file, int) else file.fileno() for file in files]
        socket.send_fds(self._channel, [request], [*numbers, theirs])
        os.close(theirs)
        return os.fdopen(end)

    def close(self):
        if self._process is not None:
            self._channel.close()
            self._process.wait()


class Run:
    """A run of gpuops, with what tests use of ``subprocess.Popen``."""

    def __init__(self, end, stdout, stderr):
        self._end, self.stdout, self.stderr = end, stdout, stderr
        self.pid, self.returncode = int(end.readline()), None

    def poll(self):
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout=None):
        if self.returncode is None:
            if not select.select([self._end], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired("gpuops", timeout)
            self.returncode = int(self._end.readline())
            self._end.close()
        return self.returncode

    def communicate(self, timeout=None):
        """What it wrote to its pipes, once they are closed and it has ended."""
        streams = (self.stdout, self.stderr)
        pool = ThreadPoolExecutor(2)
        reading = [pool.submit(stream.read) if stream else None for stream in streams]
        texts = tuple(one and one.result(timeout) for one in reading)
        pool.shutdown()
        for stream in filter(None, streams):
            stream.close()
        self.wait(timeout)
        return texts

    def send_signal(self, number):
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self):
        self.send_signal(signal.SIGTERM)

    def kill(self):
        self.send_signal(signal.SIGKILL)


class Gpuops:
    """Runs gpuops in a folder. ``environment`` is added to that of the test."""

    def __init__(self, server, folder, **environment):
        self.server, self.folder, self.environment = server, folder, environment

    def __call__(self, *words, user=None, **environment):
        """The finished process of ``gpuops WORDS``; ``user``: the uid that root runs it as."""
        with tempfile.TemporaryFile("w+") as stdout, tempfile.TemporaryFile("w+") as stderr:
            files = {"stdout": stdout, "stderr": stderr}
            run = self.start(*words, user=user, environment=environment, **files)
            try:
                run.wait()
            except BaseException:  # a test's timeout
                run.kill()
                raise
            for file in files.values():
                file.seek(0)
            answer = (run.returncode, stdout.read(), stderr.read())
        return subprocess.CompletedProcess(["gpuops", *words], *answer)

    def start(self, *words, user=None, environment=(), text=False, **files):
        """A running ``gpuops WORDS``; ``stdin``, ``stdout``, ``stderr`` are those of ``Popen``."""
        ours = {}
        with contextlib.ExitStack() as theirs:
            nothing = theirs.enter_context(Path(os.devnull).open("r+b", buffering=0))
            given = [files.get(name, subprocess.DEVNULL) for name in ("stdin", "stdout", "stderr")]
            for number, file in enumerate(given):
                if file == subprocess.DEVNULL:
                    given[number] = nothing
                elif file == subprocess.STDOUT:
                    given[number] = given[1]
                elif file == subprocess.PIPE:
                    reads, writes = os.pipe()
                    given[number] = theirs.enter_context(os.fdopen(writes, "wb"))
                    ours[number] = os.fdopen(reads, "r" if text else "rb")
            words, folder = [str(word) for word in words], self.folder
            whole = {**os.environ, **self.environment, **dict(environment)}
            end = self.server.start(words, folder, whole, user, given)
        return Run(end, ours.get(1), ours.get(2))


def serve(main, channel):
    """For each request: fork a process that forks the run, and waits for it."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    while request := socket.recv_fds(channel, 1 << 20, 4):
        text, files = request[:2]
        if not text:
            return
        if os.fork() == 0:
            os._exit(keep(main, text, files))
        for file in files:
            os.close(file)


def keep(main, request, files):
    """Fork a run; write its pid, and its exit code once it has ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    *outputs, end = files
    pid = os.fork()
    if pid == 0:
        os._exit(answer(main, outputs, *json.loads(request)))
    for file in outputs:
        os.close(file)
    os.write(end, f"{pid}\n".encode())
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.write(end, f"{code}\n".encode())
    return 0


def answer(main, files, words, folder, environment, user):
    """Run ``gpuops WORDS`` in this process; return its exit code as the interpreter would."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[1:1] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    for number, file in enumerate(files):
        os.dup2(file, number)
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
    serve(_load(), socket.socket(fileno=0))
