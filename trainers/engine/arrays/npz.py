"""Archives of arrays (.npz): read without trusting them, written so that they can be mapped.

A member's size, as the archive and its own head give it, is compared with what is there (where it
is compressed: with what the caller allows) before anything is allocated; nothing is ever unpickled.
Torch-free.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from trainers.engine.arrays import npy
from trainers.engine.arrays.npy import ArrayError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray

_LOCAL = 30  # bytes of a member's local header, before name and extra field
_ALIGN = 64
_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_BROKEN = (
    zipfile.BadZipFile, zlib.error, struct.error, EOFError,
    OSError, ValueError, OverflowError, NotImplementedError, RuntimeError,
)  # fmt: skip


class Archive:
    """An open archive; its members by name, without ``.npy``. All methods raise ArrayError."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._bytes = file.seek(0, 2)
        try:
            self._zip = zipfile.ZipFile(file)
        except _BROKEN:
            raise ArrayError("it is no archive, or is cut off") from None
        if any(info.compress_type not in _PACKED for info in self._zip.infolist()):
            raise ArrayError("it is compressed in a way that NumPy does not use")
        self._members = {info.filename.removesuffix(".npy"): info for info in self._zip.infolist()}

    @property
    def names(self) -> tuple[str, ...]:
        """The members."""
        return tuple(self._members)

    def data(self, name: str, most: int) -> bytes:
        """A member's bytes, unpacked, as long as they are no more than ``most``."""
        info = self._member(name)
        if info.file_size > most:
            raise ArrayError(f"{name} is larger than {most:,} bytes")
        try:
            with self._zip.open(info) as member:
                return member.read(info.file_size)  # a bare read() unpacks more before it cuts
        except _BROKEN:
            raise ArrayError(f"{name} is damaged") from None

    def array(self, name: str, most: int) -> NDArray[Any]:
        """A member read into memory, as long as it has no more bytes than ``most``."""
        data = self.data(name, most)
        with _of(name):
            head = npy.parse(data[: npy.MOST], len(data))
        flat = np.frombuffer(data, head.dtype, head.nbytes // head.dtype.itemsize, head.begin)
        try:
            return flat.reshape(head.shape, order="F" if head.fortran else "C")
        except ValueError:
            raise ArrayError(f"{name} has a shape that no array has") from None

    def mapped(self, name: str, dtype: str) -> NDArray[Any]:
        """A flat array that lies in the archive as it is, mapped."""
        info = self._member(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ArrayError(f"{name} is compressed")
        at = self._begin(info)
        if at + info.file_size > self._bytes:
            raise ArrayError(f"{name} is cut off")
        self._file.seek(at)
        with _of(name):
            head = npy.parse(self._file.read(min(info.file_size, npy.MOST)), info.file_size)
        if head.dtype != np.dtype(dtype) or len(head.shape) != 1:
            raise ArrayError(f"{name} is no flat array of {np.dtype(dtype)}")
        if not head.nbytes:
            raise ArrayError(f"{name} is empty")
        return npy.mapped(self._file, head, at).view(np.ndarray)

    def is_whole(self) -> bool:
        """Whether every member has the checksum that it was written with; reads all of them."""
        try:
            return self._zip.testzip() is None
        except _BROKEN:
            return False

    def _member(self, name: str) -> zipfile.ZipInfo:
        if name not in self._members:
            raise ArrayError(f"it has no {name}")
        info = self._members[name]
        if info.flag_bits & 1:
            raise ArrayError(f"{name} is encrypted")
        return info

    def _begin(self, info: zipfile.ZipInfo) -> int:
        """Where a member's bytes begin: the local header has an extra field of its own."""
        if info.header_offset < 0:
            raise ArrayError("its list of members is damaged")
        self._file.seek(info.header_offset)
        local = self._file.read(_LOCAL)
        if len(local) < _LOCAL or not local.startswith(b"PK\x03\x04"):
            raise ArrayError("its list of members is damaged")
        name, extra = struct.unpack_from("<HH", local, 26)
        return int(info.header_offset + _LOCAL + name + extra)


@contextmanager
def opened(path: Path) -> Iterator[Archive]:
    """An archive; what has been mapped stays when it is closed.

    Raises ArrayError, also where the file cannot be opened.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise ArrayError(str(error.strerror)) from None
    with file:
        yield Archive(file)


def write(file: BinaryIO, arrays: Mapping[str, NDArray[Any]], **texts: str) -> None:
    """Write texts, then C-ordered arrays: as they are, aligned, the same bytes at any time."""
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        for name, text in texts.items():
            archive.writestr(zipfile.ZipInfo(f"{name}.json"), text)
        for name, array in arrays.items():
            info = zipfile.ZipInfo(f"{name}.npy")
            info.file_size = array.nbytes + npy.MOST  # no less: by this it chooses how to count
            gap = -(file.tell() + _LOCAL + len(info.filename) + 4) % _ALIGN
            # An extra field that says nothing, so that the values begin at a round place.
            info.extra = struct.pack("<HH", 0xD935, gap) + bytes(gap)
            with archive.open(info, "w") as member:
                head = np.lib.format.header_data_from_array_1_0(array)
                np.lib.format.write_array_header_1_0(member, head)
                member.write(array.data)


@contextmanager
def _of(name: str) -> Iterator[None]:
    try:
        yield
    except ArrayError as error:
        raise ArrayError(f"{name}: {error}") from None
