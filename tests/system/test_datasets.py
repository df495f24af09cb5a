"""Data sets are counted as they lie, without being read."""

from __future__ import annotations

import pytest

from gpuops.core.trainer import DataLayout
from gpuops.errors import GpuopsError
from gpuops.system import datasets

LAYOUT = DataLayout(
    setting="data",
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
            (folder / name).touch()

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
    assert () == found.incomplete
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

    assert {"train": 1} == datasets.count(tmp_path, LAYOUT).samples


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

    with pytest.raises(GpuopsError, match="cannot be read: Not a directory"):
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
