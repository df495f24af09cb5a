"""Lock files in a folder of all users: what they look like, and what is not one."""

from __future__ import annotations

import fcntl
import os
import socket
import stat
import struct

import pytest

from gpuops.errors import GpuopsError, UsageError
from gpuops.system import lock_files

OTHER = 60001


@pytest.fixture(name="place", autouse=True)
def _place(tmp_path, monkeypatch):
    """A folder of locks of this test's own."""
    place = tmp_path / "claims"
    monkeypatch.setenv(lock_files.VARIABLE, str(place))
    return place


def lay(place, kind):
    """A file of a name that locks have, which is not one."""
    path = place / "gpu-x.1.lock"
    if kind == "link":
        path.symlink_to("/etc/passwd")
    elif kind == "dangling link":
        path.symlink_to(place / "nothing")
    elif kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)  # a whole path may be too long for it
    return path


def test_a_file_appears_locked_and_written_for_all_to_read(place):
    """Under any umask; only its owner can write it."""
    before = os.umask(0o077)
    try:
        file = lock_files.make("gpu-x", {"run_id": "r"})
    finally:
        os.umask(before)
    seen = lock_files.look(file.path)

    assert stat.S_IMODE(place.stat().st_mode) == 0o1777
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o644
    assert (seen.name, seen.record, seen.uid) == ("gpu-x", {"run_id": "r"}, os.geteuid())
    assert (seen.deciding, seen.order) == (True, file.order)
    file.decide()
    assert lock_files.look(file.path).deciding is False
    file.release()
    assert lock_files.look(file.path) is None
    assert list(place.iterdir()) == []


def test_a_lock_for_reading_is_none():
    """Every user can take one on a file that he can read: it holds nothing, and hinders nobody."""
    file = lock_files.make("gpu-x", {})
    with file.path.open("rb") as stranger:
        with pytest.raises(BlockingIOError):
            fcntl.fcntl(stranger, fcntl.F_OFD_SETLK, whole(fcntl.F_RDLCK))
        file.decide()
        fcntl.fcntl(stranger, fcntl.F_OFD_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 2, 9, 0))
        os.close(file.descriptor)
        fcntl.fcntl(stranger, fcntl.F_OFD_SETLK, whole(fcntl.F_RDLCK))

        assert lock_files.look(file.path) is None


def whole(kind):
    return struct.pack("hhqqi", kind, os.SEEK_SET, 0, 0, 0)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("link", "is a link"),
        ("dangling link", "is a link"),
        ("folder", "is a folder"),
        ("pipe", "is not a plain file"),
        ("socket", "cannot be opened"),
    ],
)
def test_what_is_not_a_plain_file_is_taken_for_held(place, monkeypatch, kind, why):
    """Nothing is written through it, nobody hangs on it, and nobody else removes it."""
    monkeypatch.chdir(lock_files.folder())
    path = lay(place, kind)
    lock_files.sweep("gpu-")
    seen = lock_files.look(path)

    assert why in seen.unusable
    assert (seen.uid, seen.name) == (os.geteuid(), "gpu-x")
    assert os.path.lexists(path)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of other users")
def test_only_ones_own_leftovers_are_removed(place):
    """Also files that were being made when their process died."""
    lock_files.folder()
    ours, theirs = place / "gpu-x.0.1.lock", place / "gpu-x.1.1.lock"
    half, halted = place / ".gpu-x.0.2.lock", place / ".gpu-x.0.3.lock"
    for path in (ours, theirs, half, halted):
        path.touch()
    os.chown(theirs, OTHER, OTHER)
    os.utime(halted, (0, 0))
    file = lock_files.make("gpu-x", {})
    lock_files.sweep("gpu-")

    assert set(place.iterdir()) == {theirs, half, file.path}
    file.release()


def test_a_record_that_must_be_whole_is_or_there_is_no_file(place, monkeypatch):
    """Half a record would say something else."""
    monkeypatch.setattr(os, "pwrite", lambda *_: 1)
    with pytest.raises(GpuopsError, match="No space left"):
        lock_files.make("wait-1", {"count": 2}, whole=True)

    assert list(place.iterdir()) == []


def test_a_folder_that_is_another_one_in_each_working_folder_is_refused(monkeypatch):
    """Two launches from two folders would not see each other."""
    monkeypatch.setenv(lock_files.VARIABLE, "rel")
    for ask in (lock_files.paths, lock_files.why_not_shared, lock_files.folder):
        with pytest.raises(UsageError, match="GPUOPS_LEASE_DIR=rel"):
            ask()


def test_a_private_folder_holds_claims_that_others_do_not_see(place):
    """It is said, and what can be claimed there is claimed."""
    place.mkdir(mode=0o700)

    assert f"{place} is not open to all (mode 0700)" in lock_files.why_not_shared()
    assert lock_files.why_none() is None
    lock_files.make("gpu-x", {}).release()


def test_a_place_that_is_not_a_safe_folder_is_said(tmp_path, monkeypatch):
    """A file, a link to elsewhere, a folder in which others may delete what is ours."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    link, file, unsticky = tmp_path / "link", tmp_path / "file", tmp_path / "unsticky"
    link.symlink_to(elsewhere)
    file.touch()
    unsticky.mkdir()
    unsticky.chmod(0o777)
    said = {}
    for path in (link, file, unsticky, tmp_path / "no" / "such"):
        monkeypatch.setenv(lock_files.VARIABLE, str(path))
        said[path.name] = lock_files.why_not_shared()

    assert "is not a folder" in said["link"]
    assert "is not a folder" in said["file"]
    assert "sticky bit" in said["unsticky"]
    assert "cannot be made" in said["such"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make folders of other users")
def test_the_owner_of_the_folder_is_named_if_he_could_remove_claims(place):
    """He is neither root nor this user."""
    lock_files.folder()
    assert lock_files.why_not_shared() is None
    os.chown(place, OTHER, OTHER)

    assert f"{place} belongs to {OTHER}, who can remove all claims" in lock_files.why_not_shared()
