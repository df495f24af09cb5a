"""Caches of what is computed from a data set: one .npz that says what it was made of (torch-free).

Its first member is `<kind>.json`: the parameters, the samples, their digest. The others are arrays,
uncompressed, so that opening maps them. Whether a cache may be used is decided by comparing what
it says with what is wanted; each difference is reported with both values.
"""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import numpy as np
from pydantic import PlainValidator, TypeAdapter, ValidationError

from trainers.engine.arrays import npz
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.errors import TrainerError
from trainers.engine.files import open_regular, whole_file
from trainers.engine.samples import format_few

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from trainers.engine.samples import Listing

T = TypeVar("T")
MAX_ABOUT = 1 << 28  # bytes of names and parameters
NAMED = 3


def _name(value: Any) -> str:
    """Return a text that a folder's name can be, which need not be UTF-8."""
    if not isinstance(value, str):
        raise ValueError("not a text")  # noqa: TRY004 - the only error that pydantic collects
    os.fsencode(value)
    return value


Name = Annotated[str, PlainValidator(_name)]


class CacheError(TrainerError):
    """A cache that cannot be used for what is wanted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheKind:
    """A kind of cache file: what it is called, and the version of its format."""

    name: str  # as in "there is no window cache FILE"
    version: int

    @property
    def about(self) -> str:
        """The name of the member that says what the cache was made of."""
        return self.name.replace(" ", "_")

    def check_writable(self, path: Path) -> None:
        """Refuse a path that such a cache must not be written to.

        Raises:
            TrainerError: if it would not be an .npz, or would replace another file.
        """
        if path.suffix.lower() in (".pkl", ".pickle"):
            raise TrainerError(
                f"{path} would not be a pickle: {self.name}s are .npz",
                f"give {path.with_suffix('.npz')} as the path, here and in training",
            )
        begin = first_bytes(path) if path.exists() else b""  # an empty file may become a cache
        if begin is None or (begin and f"{self.about}.json".encode() not in begin):
            raise TrainerError(
                f"{path} is not a {self.name}, so it is not replaced", "give another path"
            )

    @contextmanager
    def writing(self, path: Path, about: Mapping[str, Any]) -> Iterator[npz.Writer]:
        """Write a cache, whole or not at all; an older one is replaced, another file is not.

        Raises:
            TrainerError: if it cannot be written.
        """
        self.check_writable(path)
        with whole_file(path) as unfinished, npz.writing(unfinished) as archive:
            archive.text(self.about, json.dumps({"version": self.version, **about}))
            yield archive

    @contextmanager
    def opened(self, path: Path) -> Iterator[tuple[dict[str, Any], npz.Archive]]:
        """Open a cache: what it says of itself, and its members.

        Raises:
            CacheError: if it is missing, damaged or not such a cache, also as found inside.
        """
        if not path.exists():
            raise CacheError(f"there is no {self.name} {path}")
        try:
            with npz.opened(path) as archive:
                yield self._read_about(archive), archive
        except (ArrayError, OSError) as error:
            raise CacheError(f"{path} cannot be used as a {self.name}: {error}") from None

    def _read_about(self, archive: npz.Archive) -> dict[str, Any]:
        try:
            about = json.loads(archive.data(f"{self.about}.json", MAX_ABOUT))
        except (ValueError, RecursionError):
            raise ArrayError("its description is not JSON") from None
        version = about.get("version") if isinstance(about, dict) else None
        if not isinstance(about, dict) or version != self.version:
            raise ArrayError(
                f"it has version {version!r} of the format, {self.version} is read here"
            )
        return about


def validated(adapter: TypeAdapter[T], about: Mapping[str, Any]) -> T:
    """Return what a cache says of itself as a value whose every part has its type.

    Raises:
        ArrayError: naming the first part that has not.
    """
    try:
        return adapter.validate_python(about)
    except ValidationError as error:
        name = error.errors(include_url=False)[0]["loc"][0]
        raise ArrayError(f"its {name} cannot be {str(about.get(str(name)))[:80]}") from None


def is_whole(path: Path) -> bool:
    """Whether the bytes of a cache are those that were written; reads all of them."""
    try:
        with npz.opened(path) as archive:
            return archive.is_whole()
    except ArrayError:
        return False


def first_bytes(path: Path) -> bytes | None:
    """Return the first 64 bytes of a file; None if it cannot be read."""
    try:
        with open_regular(path) as file:
            return file.read(64)
    except OSError:
        return None


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Say what of a cache's parameters is otherwise here, with both values."""
    return [
        f"{name} is {_shown(ours.get(name))} in the cache and {_shown(theirs.get(name))} here"
        for name in {**ours, **theirs}
        if ours.get(name) != theirs.get(name)
    ]


def sample_differences(ours: Listing, theirs: Listing, units: str = "frames") -> list[str]:
    """Say which samples of a cache are otherwise in the data set, by name or by length."""
    there = f"{theirs.data}/{theirs.split}"
    if ours.names != theirs.names:
        gone = sorted(set(ours.names) - set(theirs.names))
        new = sorted(set(theirs.names) - set(ours.names))
        counts = f"it has {len(ours.names):,} samples, {there} has {len(theirs.names):,}"
        counts += f"; only in the cache: {format_few(gone, NAMED)}" if gone else ""
        counts += f"; only there: {format_few(new, NAMED)}" if new else ""
        return [counts]
    differ = np.flatnonzero(np.asarray(ours.lengths) != theirs.lengths)
    if not len(differ):
        return []
    first = int(differ[0])
    more = f", and {len(differ) - 1:,} more differ" if len(differ) > 1 else ""
    both = f"{ours.lengths[first]:,} {units} in the cache and {theirs.lengths[first]:,} in {there}"
    return [f"{ours.names[first]} has {both}{more}"]


def exact(number: float) -> str:
    """Return a number as short as it can be written and still be this very number."""
    return repr(number).removesuffix(".0")


def _shown(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(map(_shown, value))
    if value is None:
        return "none"
    return exact(value) if isinstance(value, (int, float)) else str(value)
