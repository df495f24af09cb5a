"""Data sets are counted as they lie, without being read."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from gpuops.core.launch.manifest import DataLayout, Manifest
from gpuops.errors import GpuopsError
from gpuops.system.trainers import datasets

LAYOUT = DataLayout(
    splits={"train": ["train"], "val": ["val", "dev"]},
    sample_files=["pose.npy", "keypoints.npy"],
)


@pytest.fixture(name="sample")
def _sample(tmp_path):
    """Makes a sample's folder with some files."""

    def sample(path, *names):
        folder = tmp_path / path
        folder.mkdir(parents=True)
        for name in names or LAYOUT.sample_files:
            (folder / name).write_bytes(b"x")
        return folder

    return sample


def test_the_samples_of_every_split_are_counted(tmp_path, sample):
    """By folder; files beside them are no samples."""
    for name in ("train/a", "train/b", "val/c"):
        sample(name)
    (tmp_path / "train" / "notes.txt").touch()
    (tmp_path / "skeleton.json").touch()

    found = datasets.count(tmp_path, LAYOUT)

    assert {"train": 2, "val": 1} == found.samples
    assert ("train", "val") == found.folders
    assert ((), ()) == (found.incomplete, found.unreadable)
    assert str(tmp_path) == found.root


def test_a_split_may_have_another_name(tmp_path, sample):
    """``dev`` is a validation split as well; where both are there, the first name counts."""
    sample("dev/a")
    assert {"val": 1} == datasets.count(tmp_path, LAYOUT).samples

    sample("val/b")
    sample("val/c")
    assert {"val": 2} == datasets.count(tmp_path, LAYOUT).samples


def test_a_split_that_is_not_there_is_absent_and_not_zero(tmp_path, sample):
    """An empty folder is zero; a missing one is missing."""
    sample("train/a")
    assert "val" not in datasets.count(tmp_path, LAYOUT).samples

    (tmp_path / "val").mkdir()
    assert 0 == datasets.count(tmp_path, LAYOUT).samples["val"]


def test_a_sample_that_lacks_a_file_is_named(tmp_path, sample):
    """It does not count, and is named by split and folder."""
    sample("train/whole")
    sample("train/b", "pose.npy")
    sample("train/a", "other.txt")

    found = datasets.count(tmp_path, LAYOUT)

    assert {"train": 1} == found.samples
    assert ("train/a", "train/b") == found.incomplete


def test_linked_samples_count(tmp_path, sample):
    """Data sets are often made of links; a link that leads nowhere is no sample."""
    sample("store/a")
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "a").symlink_to(tmp_path / "store" / "a")
    (tmp_path / "train" / "broken").symlink_to(tmp_path / "nowhere")
    (tmp_path / "train" / "loop").symlink_to("loop")
    (tmp_path / "loop").symlink_to("loop")

    found = datasets.count(tmp_path, LAYOUT)

    assert {"train": 1} == found.samples
    assert (
        "train/broken: it is a link that leads nowhere",
        "train/loop: it is a link that leads nowhere",
    ) == found.unreadable


def test_a_file_of_no_use_is_named_with_the_reason(tmp_path, sample):
    """By what `stat` says: nothing is opened, not even a pipe that nobody writes to."""
    sample("train/whole")
    (sample("train/empty") / "pose.npy").write_bytes(b"")
    for name in ("folder", "link", "loop", "pipe"):
        (sample(f"train/{name}") / "pose.npy").unlink()
    (tmp_path / "train" / "folder" / "pose.npy").mkdir()
    (tmp_path / "train" / "link" / "pose.npy").symlink_to("nowhere.npy")
    (tmp_path / "train" / "loop" / "pose.npy").symlink_to("pose.npy")
    os.mkfifo(tmp_path / "train" / "pipe" / "pose.npy")

    found = datasets.count(tmp_path, LAYOUT)

    assert {"train": 1} == found.samples
    assert () == found.incomplete
    assert (
        "train/empty: pose.npy is empty",
        "train/folder: pose.npy is a folder",
        "train/link: pose.npy is a link that leads nowhere",
        "train/loop: pose.npy cannot be read: Too many levels of symbolic links",
        "train/pipe: pose.npy is no file",
    ) == found.unreadable


def test_a_linked_file_counts(tmp_path, sample):
    """Also one that is only reached over a link."""
    folder = sample("train/a", "keypoints.npy")
    (tmp_path / "store.npy").write_bytes(b"x")
    (folder / "pose.npy").symlink_to(tmp_path / "store.npy")

    assert {"train": 1} == datasets.count(tmp_path, LAYOUT).samples


COUNT = """
import os, sys
from pathlib import Path
from gpuops.core.launch.manifest import DataLayout, Manifest
from gpuops.system.trainers import datasets
layout = DataLayout(splits={"train": ["train"]}, sample_files=["pose.npy"])
if os.geteuid() == 0:
    os.setgid(65534), os.setuid(65534)
found = datasets.count(Path(sys.argv[1]), layout)
print(dict(found.samples), *found.unreadable, sep="\\n")
"""


def test_what_may_not_be_read_is_named():
    """As whoever counts, who is not root here: a closed file, a closed folder."""
    with tempfile.TemporaryDirectory() as place:
        root = Path(place)
        for name in ("open", "closed file", "closed folder"):
            (root / "train" / name).mkdir(parents=True)
            (root / "train" / name / "pose.npy").write_bytes(b"x")
            (root / "train" / name / "pose.npy").chmod(0o644)
            (root / "train" / name).chmod(0o755)
        root.chmod(0o755)
        (root / "train").chmod(0o755)
        (root / "train" / "closed file" / "pose.npy").chmod(0)
        (root / "train" / "closed folder").chmod(0)
        ran = subprocess.run(
            [sys.executable, "-c", COUNT, place], capture_output=True, text=True, check=True
        )
        (root / "train" / "closed folder").chmod(0o755)

    assert [
        "{'train': 1}",
        "train/closed file: pose.npy cannot be read: permission denied",
        "train/closed folder: pose.npy cannot be read: Permission denied",
    ] == ran.stdout.splitlines()


def test_a_file_that_was_cut_off_is_named(tmp_path, sample):
    """A copy that broke off: the head says how long the file must be."""
    for name in ("whole", "short"):
        np.save(sample(f"train/{name}") / "pose.npy", np.zeros((10, 3), np.float32))
    short = tmp_path / "train" / "short" / "pose.npy"
    short.write_bytes(short.read_bytes()[:200])

    found = datasets.count(tmp_path, LAYOUT)

    assert {"train": 1} == found.samples
    assert ("train/short: pose.npy is cut off (200 of 248 bytes)",) == found.unreadable


def test_only_the_newest_files_are_opened(tmp_path, sample, monkeypatch):
    """As many as are cheap: those written last are the ones that a copy left short."""
    monkeypatch.setattr(datasets, "MOST_OPENED", 4)  # two samples, of two files each
    monkeypatch.setattr(datasets, "_check_files", lambda path, _names: (None, ord(path[-1])))
    opened = []
    monkeypatch.setattr(datasets.npy_files, "cut_off", opened.append)
    for name in ("train/a", "train/e", "val/c", "train/b", "val/d"):
        sample(name)

    found = datasets.count(tmp_path, LAYOUT)

    assert {"d", "e"} == {Path(path).parent.name for path in opened}
    assert 4 == found.opened == len(opened)


def test_ones_own_files_need_not_be_open_to_all(tmp_path, sample):
    """A data set of mode 0600 is whole to its owner."""
    (sample("train/a", "pose.npy", "keypoints.npy") / "pose.npy").chmod(0o600)

    assert {"train": 1} == datasets.count(tmp_path, LAYOUT).samples


def test_a_name_that_is_no_text_can_be_printed(tmp_path, sample):
    """File systems take any bytes; a report is UTF-8."""
    sample("train/b\udcff", "other.txt")
    sample("m\udcfc", "pose.npy")

    found = datasets.count(tmp_path, LAYOUT)

    assert ("train/b\\xff",) == found.incomplete
    assert "".join(found.folders).encode()


def test_a_long_count_says_how_far_it_is(tmp_path, sample, monkeypatch):
    """Now and then, over all splits."""
    monkeypatch.setattr(datasets, "PROGRESS_EVERY", 2)
    for name in ("train/a", "train/b", "train/c", "val/d", "val/e"):
        sample(name)
    told = []

    datasets.count(tmp_path, LAYOUT, progress=told.append)

    assert [2, 4] == told


def test_a_large_data_set_needs_no_more_memory_than_a_small_one(tmp_path, sample):
    """Samples are looked at one by one; no list of them is kept."""
    for number in range(3000):
        sample(f"train/clip-{number:05d}", "pose.npy", "keypoints.npy")
    for number in range(30):
        sample(f"val/clip-{number:05d}", "pose.npy", "keypoints.npy")
    peaks = {}
    for split in ("val", "train", "val", "train"):
        layout = LAYOUT.model_copy(update={"splits": {split: [split]}})
        tracemalloc.start()
        datasets.count(tmp_path, layout)
        peaks[split] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()

    assert peaks["train"] < peaks["val"] + 60_000


@pytest.mark.parametrize("name", ["missing", "mis\0sing", "m" * 300, "file/below"])
def test_a_root_that_is_not_there_is_a_sentence(tmp_path, name):
    """However odd the path is that somebody wrote into a config."""
    (tmp_path / "file").touch()

    with pytest.raises(GpuopsError, match=r"there is no data set at|cannot be read") as caught:
        datasets.count(tmp_path / name, LAYOUT)
    assert caught.value.hint


def test_a_file_is_no_data_set(tmp_path):
    """It is there, but no folder."""
    (tmp_path / "data.zip").touch()

    with pytest.raises(GpuopsError, match="cannot be read: it is not a folder"):
        datasets.count(tmp_path / "data.zip", LAYOUT)


def test_an_empty_folder_is_no_data_set(tmp_path):
    """Nor is one that holds files only."""
    (tmp_path / "readme.txt").touch()

    with pytest.raises(GpuopsError, match="holds no folders"):
        datasets.count(tmp_path, LAYOUT)


def test_a_split_that_is_a_file_is_missing(tmp_path, sample):
    """Only folders hold samples."""
    sample("train/a")
    (tmp_path / "val").touch()

    assert {"train": 1} == datasets.count(tmp_path, LAYOUT).samples


@pytest.fixture(name="counted")
def _counted(tmp_path, monkeypatch):
    """Count by a module of some lines."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    answers = {"config": "toy.config", "count": "toycount"}
    words = {"name": "toy", "summary": "", "train": "toy.train", "answers": answers}
    data = {"setting": "data_root", "about": "<root>"}
    manifest = Manifest.model_validate({**words, "data": data})

    def counted(lines, *flags, python=sys.executable):
        (tmp_path / "toycount.py").write_text(f"import json, os, sys\n{lines}\n")
        return datasets.count_data(
            manifest, Path("texts"), python=python, flags=flags, cwd=str(tmp_path)
        )

    return counted


def test_a_trainer_counts_by_itself(counted, tmp_path):
    """It gets the flags of a training and the root, in the folder of the training."""
    found = counted("print(json.dumps({'samples': {'all': 7}, 'folders': sys.argv[1:]}))", "--x")
    assert ("texts", {"all": 7}, ("--x", "--data-root", "texts")) == (
        found.root,
        found.samples,
        found.folders,
    )
    found = counted("print(json.dumps({'samples': {os.getcwd(): 1}, 'later': 'key'}))")
    assert {str(tmp_path): 1} == found.samples


def test_all_that_it_says_is_taken(counted):
    """Printable, and no longer than a name is."""
    names = "['a\\x1b[2Jb\\n', 'c' * 1000]"
    found = counted(
        f"print(json.dumps({{'samples': {{'a': 0, 'b\\x07': 2}}, 'incomplete': {names},"
        f" 'unreadable': {names}, 'places': {{'a': '\\x00'}}, 'opened': 3}}))"
    )
    assert {"a": 0, "b?": 2} == found.samples
    assert found.incomplete == found.unreadable == ("a?[2Jb?", "c" * 299 + "…")
    assert ({"a": "?"}, 3) == (found.places, found.opened)


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("print('error: no such folder', file=sys.stderr); sys.exit(1)", "no such folder"),
        ("print('error: no flag', file=sys.stderr); sys.exit(2)", "no flag"),
        ("raise KeyError('lost\\x1b')", "could not print its samples with .*: KeyError: 'lost"),
        ("print('3')", "did not print its samples as JSON"),
        ("print('{}')", "did not print a count: samples: field required"),
        ("print('{\"samples\": {}}')", "samples: dictionary should have at least 1 item"),
        ('print(\'{"samples": {"a": -1}}\')', "samples.a: input should be greater than"),
        ('print(\'{"samples": {"a": "1"}}\')', "samples.a: input should be a valid integer"),
        ('print(\'{"samples": {"a\\\\u001b": true}}\')', r"samples.a\?: input should be"),
        ("print(json.dumps({'samples': {str(n): 1 for n in range(101)}}))", "at most 100 items"),
        (
            "print(json.dumps({'samples': {'a': 1}, 'incomplete': ['x'] * 100001}))",
            "incomplete: list should have at most 100000 items",
        ),
    ],
)
def test_a_count_that_is_none_is_a_sentence(counted, words, lines):
    """Printable, whatever the module prints."""
    with pytest.raises(GpuopsError, match=words) as caught:
        counted(lines)
    assert caught.value.message.isprintable()


def test_a_count_that_does_not_end_is_a_sentence(counted, monkeypatch):
    """Preflight does not wait for ever."""
    monkeypatch.setattr(datasets, "COUNT_TIMEOUT_S", 0.3)
    with pytest.raises(GpuopsError, match="did not print its samples within 0 s"):
        counted("import time\ntime.sleep(60)")
    with pytest.raises(GpuopsError, match="/no/python cannot be run"):
        counted("", python="/no/python")


def test_a_declared_layout_is_counted_without_an_interpreter(tmp_path, sample):
    """As quick as it can be."""
    sample("train/a")
    words = {"name": "toy", "summary": "", "train": "t", "answers": {"config": "c"}}
    data = {"setting": "data", "about": "<root>", "layout": LAYOUT.model_dump()}
    manifest = Manifest.model_validate({**words, "data": data})
    assert {"train": 1} == datasets.count_data(manifest, tmp_path, python="/no/python").samples

    with pytest.raises(GpuopsError, match="trainer toy has no data set to count"):
        datasets.count_data(Manifest.model_validate(words), tmp_path, python="/no/python")
