"""Test helper for the mock NVML library (stdlib only).

with MockNvml(["gpu 0-7 model=rtx4090"]) as m:
    subprocess.run([...], env={**os.environ, **m.env})
    m.set(m.lines + ["lost 3"])          # live change, atomic
    m.calls()                            # [(t, pid, tid, function, gpu, rc), ...]
"""

import os
import pathlib
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def build(out: pathlib.Path) -> pathlib.Path:
    if not (out / "libnvidia-ml.so.1").exists():
        subprocess.run([str(HERE / "build.sh"), str(out)], check=True, stdout=subprocess.DEVNULL)
    return out


class MockNvml:
    def __init__(self, lines=(), lib=None):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="mocknvml-"))
        self.lib = build(pathlib.Path(lib) if lib else self.dir / "lib")
        self.state, self.log = self.dir / "state", self.dir / "calls.log"
        self.set(lines)

    def set(self, lines):
        self.lines = list(lines)
        tmp = self.dir / "state.tmp"
        tmp.write_text("\n".join(self.lines) + "\n")
        tmp.replace(self.state)  # new inode: every client re-reads at its next call

    @property
    def env(self):
        before = os.environ.get("LD_LIBRARY_PATH", "")
        """What a process needs beside its environment to see the mock."""
        return {
            "LD_LIBRARY_PATH": f"{self.lib}:{before}",
            "MOCK_NVML_STATE": str(self.state),
            "MOCK_NVML_LOG": str(self.log),
        }

    def calls(self):
        if not self.log.exists():
            return []
        rows = (line.split() for line in self.log.read_text().splitlines())
        return [(float(r[0]), int(r[1]), int(r[2]), r[3], int(r[4]), int(r[5])) for r in rows]

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        import shutil

        shutil.rmtree(self.dir, ignore_errors=True)
