"""Checkpoints as folders: listed, validated, found, written whole.

Torch-free, for callers that only ask what a run would resume from.
"""

from __future__ import annotations

import json
import os
import re
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine.errors import TrainerError
from trainers.engine.files import LONGEST_JSON, UNFINISHED, atomic, discard, open_regular

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

MANIFEST = "checkpoint.json"
KEPT = "kept_for_good"  # in it: whether pruning leaves the checkpoint alone
_STEP = re.compile(r"step-(\d{8,})")


def name_of(step: int) -> str:
    """The folder of a step's checkpoint."""
    return f"step-{step:08d}"


def step_of(path: Path) -> int:
    """The step of a checkpoint's folder."""
    match = _STEP.fullmatch(path.name)
    return int(match[1]) if match else -1


def all_in(folder: Path) -> list[Path]:
    """The checkpoints in a folder, whole or not, by step."""
    found = (path for path in folder.glob("step-*") if step_of(path) >= 0 and path.is_dir())
    return sorted(found, key=step_of)


def validate(path: Path) -> str | None:
    """Why a checkpoint is not whole, or ``None``: every file's size and checksum are compared."""
    try:
        files = describe(path)["files"]
        expected = {name: (of["bytes"], of["crc32"]) for name, of in files.items()}
    except FileNotFoundError:
        return f"it has no {MANIFEST}"
    except OSError as error:
        return f"{MANIFEST} cannot be read ({error.strerror})"
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return f"{MANIFEST} is damaged"
    if any(name != Path(name).name for name in expected):  # another's device would never end
        return f"{MANIFEST} is damaged"
    reasons = (_damage(path / name, *of) for name, of in expected.items())
    return next((reason for reason in reasons if reason), None)


def newest_valid(folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """The latest whole checkpoint, and the broken ones that were passed over, with reasons."""
    broken: list[tuple[Path, str]] = []
    for path in reversed(all_in(folder)):
        reason = validate(path)
        if reason is None:
            return path, broken
        broken.append((path, reason))
    return None, broken


# Names that other programs give their files, which people type from habit.
_TYPED = re.compile(
    r"(?:(?P<link>best|last)(?:_model|_checkpoint)?"
    r"|(?:checkpoint_|final_|model_)?(?P<unit>epoch|step)_?(?P<number>\d+))\.(?:pth?|ckpt)"
)


def find(path: Path, prefer: str = "best") -> Path:
    """The checkpoint that is meant: by its own folder, or as the best or last of a run's.

    Names of files that are not there are understood as what they would hold: ``best_model.pth``,
    ``last_model.pth``, ``epoch_5.pth``, ``checkpoint_epoch_50.pth``, ``checkpoint_step_10000.pt``,
    ``final_step_200.pt``, in a run's folder or in its ``checkpoints``.

    Raises:
        TrainerError: there is none, or it is not whole.
    """
    typed = None if path.exists() else _TYPED.fullmatch(path.name)
    if typed is not None:
        link, unit, number = typed.group("link", "unit", "number")
        if link is not None:
            return find(path.parent, prefer=link)
        return find(_numbered(path, unit, int(number)))
    if (path / MANIFEST).exists() or step_of(path.resolve()) >= 0:
        reason = validate(path)
        if reason is None:
            return path.resolve()
        other, _ = newest_valid(path.resolve().parent)
        msg = f"the checkpoint {path} cannot be used: {reason}"
        raise TrainerError(msg, f"{other} is whole" if other else "")
    folder = _checkpoints_in(path)
    preferred = folder / prefer
    if preferred.exists() and validate(preferred) is None:
        return preferred.resolve()
    newest, broken = newest_valid(folder)
    if newest is None:
        why = f": {broken[0][0].name}: {broken[0][1]}" if broken else ""
        raise TrainerError(f"there is no whole checkpoint in {folder}{why}")
    return newest


def _checkpoints_in(path: Path) -> Path:
    return path / "checkpoints" if (path / "checkpoints").is_dir() else path


def _numbered(path: Path, unit: str, number: int) -> Path:
    """The checkpoint of a step, or of the end of an epoch."""
    folder = _checkpoints_in(path.parent)
    if unit == "step":
        numbers = {step_of(one): one for one in all_in(folder)}
    else:
        described = ((_described(one), one) for one in all_in(folder))
        numbers = {
            about.get("epoch", -1): one for about, one in described if about.get("batch") == 0
        }
    if number not in numbers:
        there = ", ".join(map(str, numbers))
        msg = f"there is no {path.name}: {folder} holds no checkpoint of {unit} {number}"
        raise TrainerError(msg, f"it holds those of {unit} {there}" if there else "")
    return numbers[number]


def _described(path: Path) -> dict[str, Any]:
    """What a checkpoint says about itself; nothing if it is broken."""
    try:
        about = describe(path)
    except (OSError, ValueError, RecursionError):
        return {}
    return about if isinstance(about, dict) else {}


def choose(wanted: str, folder: Path) -> tuple[Path | None, list[tuple[Path, str]]]:
    """What ``--resume WANTED`` goes on from, and the later ones that are broken, with reasons.

    ``wanted`` is a path, or ``auto``: the last whole one in ``folder``, or ``none``.

    Raises:
        TrainerError: a run would begin over another one's checkpoints, or there is no whole one.
    """
    if wanted == "none":
        if all_in(folder):
            msg = f"{folder} holds the checkpoints of an earlier run"
            hint = "`--resume auto` continues it; another `--out-dir` begins a new run"
            raise TrainerError(msg, hint)
        return None, []
    if wanted == "auto":
        path, broken = newest_valid(folder)
        if broken and path is None:
            msg = f"none of the checkpoints in {folder} is whole: {describe_broken(broken)}"
            raise TrainerError(msg, "move them away to begin at step 0")
        return path, broken
    path = find(Path(wanted), prefer="last")
    if path == Path(wanted).resolve():  # a checkpoint that was named is meant itself
        return path, []
    later = [one for one in all_in(path.parent) if step_of(one) > step_of(path)]
    return path, [(one, reason) for one in later if (reason := validate(one))]


def describe_broken(broken: Sequence[tuple[Path, str]]) -> str:
    """Name broken checkpoints with the reasons."""
    return "; ".join(f"{path.name}: {reason}" for path, reason in broken)


def describe(path: Path) -> dict[str, Any]:
    """What a checkpoint says about itself: step, trainer, metrics, config, files."""
    with open_regular(path / MANIFEST) as file:
        return json.loads(file.read(LONGEST_JSON))  # type: ignore[no-any-return]


@contextmanager
def appearing(target: Path, manifest: Mapping[str, Any]) -> Iterator[Path]:
    """A folder to write a checkpoint into; on leaving, it appears as ``target`` at once.

    The manifest is written last, with size and checksum of each file. Whatever fails, nothing of
    this checkpoint stays, and no other is touched; what an interrupted save left is removed.
    """
    for left in target.parent.glob(f"{UNFINISHED}*"):  # by a save that was interrupted
        discard(left)
    with atomic(target, older=target.exists()) as unfinished:
        unfinished.mkdir()
        yield unfinished
        written = sorted(unfinished.iterdir())
        files = {p.name: {"bytes": p.stat().st_size, "crc32": crc32(p)} for p in written}
        described = json.dumps({**manifest, "files": files}, indent=2, allow_nan=False)
        (unfinished / MANIFEST).write_text(described)
        for path in written:  # safetensors makes its files readable for their owner alone
            path.chmod((unfinished / MANIFEST).stat().st_mode)
        for path in (*written, unfinished / MANIFEST, unfinished):
            _sync(path)
    _sync(target.parent)


def link(name: str, target: Path) -> None:
    """Point ``last`` or ``best`` beside a checkpoint at it; there is one at every moment."""
    with atomic(target.with_name(name)) as unfinished:
        unfinished.symlink_to(target.name)


def prune(folder: Path, keep: int) -> None:
    """Remove checkpoints, each at once; the newest, the best and those kept for good stay."""
    best = (folder / "best").resolve()
    for path in all_in(folder)[:-keep]:
        if path.resolve() != best and not _described(path).get(KEPT):
            going = path.with_name(f"{UNFINISHED}{path.name}")
            path.rename(going)
            discard(going)


def go_back(folder: Path, step: int, best_step: int | None) -> list[Path]:
    """Make a step's checkpoint ``last`` again, and ``best`` the one that was best until then.

    Those of later steps are renamed, so that the run is not overtaken by them; returns them.
    """
    later = [path for path in all_in(folder) if step_of(path) > step]
    aside = [path.with_name(f"aside-{path.name}") for path in later]
    for path, to in zip(later, aside, strict=True):
        discard(to)
        path.rename(to)
    link("last", folder / name_of(step))
    best = None if best_step is None else folder / name_of(best_step)
    if best is not None and best.is_dir():
        link("best", best)
    else:
        (folder / "best").unlink(missing_ok=True)
    return aside


def crc32(path: Path) -> int:
    """The CRC-32 of a file."""
    value = 0
    with open_regular(path) as file:
        while chunk := file.read(1 << 20):
            value = zlib.crc32(chunk, value)
    return value


def _damage(path: Path, size: int, checksum: int) -> str:
    try:
        actual = path.stat().st_size
        if actual != size:
            return f"{path.name} has {actual:,} bytes instead of {size:,}"
        return "" if crc32(path) == checksum else f"{path.name} is damaged (its checksum differs)"
    except (FileNotFoundError, ValueError):  # a name may hold a NUL
        return f"{path.name} is missing"
    except OSError as error:
        return f"{path.name} cannot be read ({error.strerror})"


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
