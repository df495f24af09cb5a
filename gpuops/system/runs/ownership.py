"""Whose a run is, what that lets this user do with it, and what it does not let them see."""

from __future__ import annotations

import os
import shlex
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gpuops.core.run import paths
from gpuops.errors import UsageError
from gpuops.system import owners

# What a command that shows a run reads of it.
READ = (
    paths.PLAN, paths.EVENTS, paths.TELEMETRY, paths.METRICS, paths.STATES, paths.LOGS,
    paths.DIAGNOSES, paths.CHECKPOINTS,
)  # fmt: skip


def owner(root: Path) -> int:
    """The user that a run belongs to: of those of its folder and its plan the least trusted one.

    A link belongs to its maker, and what it leads to must be trusted too.
    """
    found = ((path, follow) for path in (root, root / paths.PLAN) for follow in (False, True))
    uids = [uid for path, follow in found if (uid := owners.owner(path, follow=follow)) is not None]
    return max(uids, key=_strangeness, default=owners.ROOT)


def owner_name(root: Path) -> str:
    """The name of the user that a run belongs to."""
    return owners.name(owner(root))


def _strangeness(uid: int) -> int:
    return 0 if uid == os.geteuid() else 1 if uid == owners.ROOT else 2


def is_ours(root: Path) -> bool:
    """Whether a run is this user's own."""
    return owner(root) == os.geteuid()


def may_act(root: Path) -> bool:
    """Whether a run is this user's own, or this user is root."""
    return os.geteuid() in {owner(root), owners.ROOT}


def require_may_act(root: Path, command: str) -> None:
    """Refuse a run of another user, unless this user is root: then processes may be signalled.

    Raises:
        UsageError: this user may only look at it; the hint is the command that would do it.
    """
    if not may_act(root):
        require_ours(root, command)


def require_ours(root: Path, command: str) -> None:
    """Refuse a run of another user: what a plan starts is started by its owner alone.

    Raises:
        UsageError: it is another user's; the hint is the command that would do it.
    """
    if not is_ours(root):
        raise UsageError(
            f"run {root.name} belongs to {owner_name(root)}: "
            "you may look at it, and not act on it.",
            f"`{as_owner(root, command)}` does it as its owner.",
        )


def require_trusted(root: Path, command: str) -> None:
    """Refuse a run from whose plan nothing is started: that of another user, except of root.

    Raises:
        UsageError: it is such a run.
    """
    if owner(root) != owners.ROOT:
        require_ours(root, command)


def require_trusted_checkpoint(path: Path) -> None:
    """Refuse a checkpoint, or a folder of some, that another user could have made to do harm.

    Raises:
        UsageError: it, or a file or link in it, belongs neither to this user nor to root.
    """
    above = (folder for folder in path.parents if os.path.lexists(folder / paths.PLAN))
    found = [(uid, path) for uid in map(owner, above)]
    for one in (path, *_all_in(path)):
        uids = (owners.owner(one, follow=follow) for follow in (False, True))
        found += [(uid, one) for uid in uids if uid is not None]
    uid, what = max(found, key=lambda one: _strangeness(one[0]), default=(owners.ROOT, path))
    if uid not in owners.trusted():
        raise UsageError(
            f"{what} belongs to {owners.name(uid)}: what another user has made is not resumed.",
            "Copy it, if you trust it: a copy is yours.",
        )


def _all_in(folder: Path) -> Iterator[Path]:
    """All files, folders and links in a folder and below; links are not followed."""
    for above, folders, names in os.walk(os.path.realpath(folder)):
        yield from (Path(above, name) for name in (*folders, *names))


def require_trusted_checkpoints(root: Path) -> None:
    """Refuse a run among whose checkpoints another user has put something.

    Raises:
        UsageError: some of it belongs neither to this user nor to root.
    """
    require_trusted_checkpoint(root / paths.CHECKPOINTS)


def as_owner(root: Path, command: str) -> str:
    """A command for a run, as its owner: ``sudo -u alice gpuops stop 20261121-061230-rvq``."""
    words = ["sudo", "-u", owner_name(root), "gpuops", *command.split(), root.name]
    if root.parent != Path("runs").absolute():  # sudo drops $GPUOPS_RUNS_DIR
        words += ["--runs-dir", str(root.parent)]
    return shlex.join(words)


def hidden_parts(root: Path) -> tuple[str, ...]:
    """What of a run this user may not read, by the names of its folder."""
    return tuple(name for name in READ if is_hidden(root / name))


def is_hidden(path: Path) -> bool:
    """Whether there is, or may be, something that this user may not read."""
    try:
        needed = os.R_OK | (os.X_OK if stat.S_ISDIR(path.stat().st_mode) else 0)
        return not os.access(path, needed, effective_ids=True)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False


def describe_hidden(folders: Sequence[Path]) -> str:
    """``1 run of root that you may not read``."""
    users = sorted({owner_name(folder) for folder in folders})
    runs = "run" if len(folders) == 1 else "runs"
    return f"{len(folders)} {runs} of {', '.join(users)} that you may not read"
