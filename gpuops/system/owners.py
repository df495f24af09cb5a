"""Whose a file is: the one rule for all that lies in folders that other users can write to.

What belongs to neither this user nor root is shown, marked with its owner, and never run,
signalled, resumed or believed.
"""

from __future__ import annotations

import contextlib
import functools
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

ROOT = 0


def owner(path: Path, *, follow: bool = False) -> int | None:
    """The uid of a file, of a link itself unless ``follow``; ``None`` if it cannot be seen."""
    try:
        return path.stat(follow_symlinks=follow).st_uid
    except (OSError, ValueError):
        return None


def trusted() -> frozenset[int]:
    """The users whose files are believed: this one and root."""
    return frozenset({os.geteuid(), ROOT})


def believed(root: Path) -> frozenset[int]:
    """The users whose files in a run's folder tell how the run is: its owner, and the trusted."""
    uid = owner(root, follow=True)
    return trusted() if uid is None else trusted() | {uid}


def why_shared(folder: Path) -> str | None:
    """Why another user could replace what lies in a folder; ``None`` if no other can."""
    try:
        found = folder.stat()
    except OSError:  # it will be made by this user
        return None
    if found.st_uid not in trusted():
        return f"{folder} belongs to {name(found.st_uid)}, who can replace what lies in it"
    if found.st_mode & stat.S_IWOTH and not found.st_mode & stat.S_ISVTX:
        return f"in {folder} all users can replace all files (its sticky bit is missing)"
    return None


def is_trusted(path: Path) -> bool:
    """Whether a file belongs to this user or to root."""
    return owner(path) in trusted()


@contextlib.contextmanager
def acting_as(uid: int | None) -> Iterator[None]:
    """As root, signal with the rights of a user: no signal can reach a process of anyone else."""
    before = os.geteuid()
    if before != ROOT or uid in {None, ROOT}:
        yield
        return
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before)


@functools.cache
def name(uid: int) -> str:
    """A user's name, from the system and not from the environment; the number if it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:  # a container without a name for the number
        return str(uid)


def other(path: Path) -> str | None:
    """The name of the user a file belongs to, if that is another user; ``None`` if it is ours."""
    uid = owner(path)
    return None if uid is None or uid == os.geteuid() else name(uid)
