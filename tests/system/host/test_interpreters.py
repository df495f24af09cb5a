"""What an interpreter has: real ones, and folders that look like a torch."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from gpuops.system.host import interpreters


@pytest.fixture(name="cache")
def _cache(tmp_path, monkeypatch):
    """The file of kept answers, of a user of its own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "gpuops" / "interpreters.json"


@pytest.fixture(name="python")
def _python(tmp_path):
    """An interpreter without packages of its own that counts how often it is started."""

    class Python:
        path = tmp_path / "bin" / "python"
        packages = tmp_path / "packages"
        log = tmp_path / "starts"

        @property
        def starts(self):
            return len(self.log.read_text().splitlines()) if self.log.exists() else 0

        def install(self, torch="2.4.0", cuda="12.4", nccl=None):
            (self.packages / "torch").mkdir(exist_ok=True)
            (self.packages / "torch" / "__init__.py").touch()
            (self.packages / "torch" / "version.py").write_text(
                f"__version__ = '{torch}'\ncuda: Optional[str] = {cuda!r}\n"
            )
            if nccl:
                (self.packages / f"nvidia_nccl_{nccl}.dist-info").mkdir()

        def ask(self):
            return interpreters.read(str(self.path))

    python = Python()
    python.packages.mkdir()
    python.path.parent.mkdir()
    paths = "import sys; sys.path[:] = [p for p in sys.path if 'site-packages' not in p]"
    python.path.write_text(
        "#!/bin/sh\n"
        f"echo started >> '{python.log}'\n"
        f'exec "{sys.executable}" -S -c "{paths}; sys.path.append(\'{python.packages}\')\n$2"\n'
    )
    python.path.chmod(0o755)
    return python


def test_this_interpreter_has_a_version(cache):
    """Python and torch, told without importing torch; and kept for the user alone."""
    found = interpreters.read(sys.executable)

    assert ".".join(map(str, sys.version_info[:3])) == found.python
    assert found.torch
    assert found == interpreters.read(sys.executable)
    assert 0o700 == cache.parent.stat().st_mode & 0o777


def test_versions_are_read_from_files(cache, python):
    """CUDA's as torch tells it, NCCL's of the wheel that was made for it."""
    python.install("2.9.0+cu128", "12.8", nccl="cu12-2.27.3")
    (python.packages / "nvidia_nccl_cu13-2.99.0.dist-info").mkdir()

    found = python.ask()

    assert ("2.9.0+cu128", "12.8", "2.27.3") == (found.torch, found.cuda, found.nccl)
    assert cache.exists()


@pytest.mark.usefixtures("cache")
def test_half_of_a_torch_is_none(python):
    """A package folder that an uninstall left behind."""
    (python.packages / "torch").mkdir()
    (python.packages / "torch" / "__init__.py").touch()

    assert python.ask().torch is None
    assert python.ask().python is not None


@pytest.mark.usefixtures("cache")
def test_a_folder_where_somebody_stands_is_no_torch(python, tmp_path, monkeypatch):
    """A checkout of torch's source is not what will train."""
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").touch()
    (tmp_path / "torch" / "version.py").write_text("__version__ = 'here'\n")
    monkeypatch.chdir(tmp_path)

    assert python.ask().torch is None


@pytest.mark.usefixtures("cache")
def test_an_interpreter_is_asked_once(python):
    """Until something changes."""
    python.install()

    assert python.ask() == python.ask() == python.ask()
    assert 1 == python.starts


def another_torch(python):
    python.install("2.5.0")


def torch_goes(python):
    for file in (python.packages / "torch").iterdir():
        file.unlink()
    (python.packages / "torch").rmdir()


def same_times(python):
    """As conda and rsync do."""
    version = python.packages / "torch" / "version.py"
    before = version.stat()
    python.install("2.4.1")
    os.utime(version, ns=(before.st_atime_ns, before.st_mtime_ns))


def another_python(python):
    python.path.write_text(python.path.read_text() + "# newer\n")


def nccl_comes(python):
    (python.packages / "nvidia_nccl_cu12-2.28.0.dist-info").mkdir()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    "change", [another_torch, torch_goes, same_times, another_python, nccl_comes]
)
def test_a_change_is_noticed(python, change):
    """Whatever is installed, replaced or removed, and however."""
    python.install()
    before = python.ask()
    change(python)

    after = python.ask()

    assert 2 == python.starts
    assert (before == after) == (change is another_python)


@pytest.mark.usefixtures("cache")
def test_a_torch_that_comes_is_noticed(python):
    """That there was none is kept as well."""
    assert python.ask().torch is None
    assert python.ask().torch is None
    assert 1 == python.starts

    python.install()

    assert "2.4.0" == python.ask().torch


@pytest.mark.usefixtures("cache")
def test_another_path_of_packages_is_another_interpreter(python, tmp_path, monkeypatch):
    """PYTHONPATH may put another torch before it."""
    python.install()
    assert "2.4.0" == python.ask().torch
    other = tmp_path / "other" / "torch"
    other.mkdir(parents=True)
    (other / "__init__.py").touch()
    (other / "version.py").write_text("__version__ = '9.9'\n")

    monkeypatch.setenv("PYTHONPATH", str(other.parent))

    assert "9.9" == python.ask().torch


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"PATH": 7}',
        '{"PATH": {"answer": null, "stamps": null}}',
        '{"PATH": {"answer": {"python": "3"}, "stamps": {}}}',
        '{"PATH": {"answer": {"python": 3}, "stamps": ["PATH"]}}',
        '{"PATH": {"answer": {"python": "3", "torch": []}, "stamps": {"a\\u0000b": null}}}',
    ],
)
def test_a_broken_cache_costs_time_and_nothing_else(cache, python, text):
    """Whatever somebody wrote into it: the interpreter is asked, and the answer kept."""
    python.install()
    cache.parent.mkdir(parents=True)
    cache.write_text(text.replace("PATH", str(python.path)))

    assert "2.4.0" == python.ask().torch
    assert "2.4.0" == python.ask().torch
    assert 1 == python.starts


def test_a_cache_of_other_words_is_not_believed(cache, python):
    """Right stamps, and an answer that is none."""
    python.install()
    python.ask()
    kept = json.loads(cache.read_text())
    kept[str(python.path)]["answer"]["torch"] = 7
    cache.write_text(json.dumps(kept))

    assert "2.4.0" == python.ask().torch


def test_where_nothing_can_be_kept_it_is_asked_every_time(cache, python):
    """A file in the way of the folder."""
    python.install()
    cache.parents[1].write_text("in the way")

    assert "2.4.0" == python.ask().torch
    assert "2.4.0" == python.ask().torch
    assert 2 == python.starts


def test_without_a_cache_folder_of_ones_own_it_is_in_the_home(python, tmp_path, monkeypatch):
    """A relative XDG_CACHE_HOME is to be ignored, says its specification."""
    python.install()
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    python.ask()

    assert (tmp_path / "home" / ".cache" / "gpuops" / "interpreters.json").is_file()
    assert not Path("relative").exists()


def test_the_cache_does_not_grow_for_ever(cache, python, monkeypatch):
    """The one asked last stays."""
    monkeypatch.setattr(interpreters, "KEPT", 3)
    cache.parent.mkdir(parents=True)
    cache.write_text(json.dumps({f"/python{n}": {} for n in range(9)}))

    python.ask()

    assert [str(python.path)] == list(json.loads(cache.read_text()))[-1:]
    assert 3 == len(json.loads(cache.read_text()))


@pytest.mark.parametrize(
    "text",
    [
        "#!/bin/sh\nexit 1\n",
        "#!/bin/sh\necho hello\n",
        "#!/bin/sh\necho '[]'\n",
        "#!/bin/sh\necho '{\"a\": 1}'\n",
        '#!/bin/sh\necho \'{"answer": {"python": "3"}, "rests_on": 7}\'\n',
        '#!/bin/sh\necho \'{"answer": {"python": "3"}, "rests_on": [7]}\'\n',
        '#!/bin/sh\necho \'{"answer": {"python": 3}, "rests_on": []}\'\n',
        "#!/bin/sh\nprintf '\\377\\376'\n",
        "not a program",
    ],
)
def test_what_is_no_interpreter_is_none(cache, tmp_path, text):
    """Whatever it answers, it is not Python; and nothing is kept of it."""
    path = tmp_path / "python"
    path.write_text(text)
    path.chmod(0o755)

    assert interpreters.read(str(path)).python is None
    assert not cache.exists()


@pytest.mark.parametrize("path", ["/no/such/python", "/tmp", "", "a\0b"])  # noqa: S108
def test_an_interpreter_that_is_not_there_is_none(path):
    """Missing, a folder, no name, no possible name."""
    assert interpreters.read(path).python is None


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        ("toy.train", None),
        ("toy", None),
        ("toy.parts.run", None),
        ("json.tool", None),
        ("toy.trian", "toy.trian"),
        ("toy.train.more", "toy.train.more"),
        ("toy.parts", "toy.parts.__main__"),
        ("tyo.train", "tyo"),
        ("..", None),
    ],
)
def test_a_module_is_looked_for_and_not_imported(tmp_path, module, missing):
    """From the working directory, as its ranks will; what the launch itself must tell is left."""
    (tmp_path / "toy" / "parts").mkdir(parents=True)
    for name in ("__init__", "__main__", "train", "parts/__init__", "parts/run"):
        (tmp_path / "toy" / f"{name}.py").write_text("raise SystemExit('it was imported')")

    assert missing == interpreters.find_missing(sys.executable, module, str(tmp_path), {})
