"""Whose a file is: the one rule for folders that other users can write to."""

from __future__ import annotations

import os

import pytest

from gpuops.system import owners

OTHER = 60001


@pytest.fixture(name="theirs")
def _theirs(tmp_path):
    """A file of a user without a name."""
    if os.geteuid() != 0:
        pytest.skip("only root can make files of other users")
    path = tmp_path / "theirs"
    path.touch()
    os.chown(path, OTHER, OTHER)
    return path


def test_ours_is_trusted(tmp_path):
    """And belongs to nobody else."""
    assert owners.is_trusted(tmp_path)
    assert owners.other(tmp_path) is None


def test_another_users_file_is_named_and_not_trusted(theirs):
    """By its number if it has no name."""
    assert not owners.is_trusted(theirs)
    assert owners.other(theirs) == str(OTHER)


def test_a_link_belongs_to_its_maker(theirs):
    """Another user's link to our file is not ours."""
    link = theirs.parent / "link"
    link.symlink_to("/etc/passwd")
    os.chown(link, OTHER, OTHER, follow_symlinks=False)
    assert not owners.is_trusted(link)


def test_what_is_not_there_belongs_to_nobody(tmp_path):
    """It is not trusted either."""
    assert owners.owner(tmp_path / "missing") is None
    assert not owners.is_trusted(tmp_path / "missing")
    assert owners.other(tmp_path / "missing") is None
