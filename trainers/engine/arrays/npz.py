"""Archives of arrays (.npz): read without trusting them, written so that they can be mapped.

A member's size, as the archive and its own head give it, is compared with what is there (if it
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
from trainers.engine.files import open_regular

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
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
            raise ArrayError("it is not an archive, or is cut off") from None
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
        with _naming(name):
            head = npy.parse(data[: npy.MOST], len(data))
        flat = np.frombuffer(data, head.dtype, head.nbytes // head.dtype.itemsize, head.begin)
        try:
            return flat.reshape(head.shape, order="F" if head.fortran else "C")
        except ValueError:
            raise ArrayError(f"{name} has a shape that no array has") from None

    def mapped(self, name: str, dtype: str) -> NDArray[Any]:
        """A flat array that lies in the archive as it is, mapped."""
        info, at = self._plain(name)
        self._file.seek(at)
        with _naming(name):
            head = npy.parse(self._file.read(min(info.file_size, npy.MOST)), info.file_size)
        if head.dtype != np.dtype(dtype) or len(head.shape) != 1:
            raise ArrayError(f"{name} is not a flat array of {np.dtype(dtype)}")
        if not head.nbytes:
            raise ArrayError(f"{name} is empty")
        return npy.mapped(self._file, head, at).view(np.ndarray)

    def mapped_values(
        self, name: str, dtype: np.dtype[Any], shape: tuple[int, ...]
    ) -> NDArray[Any]:
        """What `Writer.values` wrote, mapped as one array."""
        info, at = self._plain(f"{name}.bin")
        head = npy.Head(dtype=dtype, shape=shape, fortran=False, begin=0)
        if head.nbytes != info.file_size:
            raise ArrayError(f"{name} has {info.file_size:,} bytes, not {head.nbytes:,}")
        if not head.nbytes:
            return np.empty(shape, dtype)
        return npy.mapped(self._file, head, at).view(np.ndarray)

    def is_whole(self) -> bool:
        """Whether every member has the checksum that it was written with; reads all of them."""
        try:
            return self._zip.testzip() is None
        except _BROKEN:
            return False

    def _plain(self, name: str) -> tuple[zipfile.ZipInfo, int]:
        """A member that lies in the archive as it is, and where its bytes begin."""
        info = self._member(name)
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise ArrayError(f"{name} is compressed")
        at = self._begin(info)
        if at + info.file_size > self._bytes:
            raise ArrayError(f"{name} is cut off")
        return info, at

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

    Raises ArrayError, even if the file cannot be opened.
    """
    try:
        file = open_regular(path)
    except OSError as error:
        raise ArrayError(str(error.strerror)) from None
    with file:
        yield Archive(file)


class Writer:
    """An archive that is being written: as its members are, aligned, the same bytes at any time."""

    def __init__(self, archive: zipfile.ZipFile, file: BinaryIO) -> None:
        self._zip = archive
        self._file = file

    def text(self, name: str, text: str) -> None:
        """Write a member NAME.json."""
        self._zip.writestr(zipfile.ZipInfo(f"{name}.json"), text)

    def array(self, name: str, array: NDArray[Any]) -> None:
        """Write a C-ordered array."""
        info = zipfile.ZipInfo(f"{name}.npy")
        info.file_size = array.nbytes + npy.MOST  # no less: by this it chooses how to count
        with self._zip.open(self._aligned(info), "w") as member:
            head = np.lib.format.header_data_from_array_1_0(array)
            np.lib.format.write_array_header_1_0(member, head)
            member.write(array.data)

    def values(self, name: str, parts: Iterable[NDArray[Any]]) -> None:
        """Write a member NAME.bin: the values of one C-ordered array after another, no head.

        So it may be larger than memory, and its size need not be known before.
        """
        info = zipfile.ZipInfo(f"{name}.bin")
        with self._zip.open(self._aligned(info, zip64=20), "w", force_zip64=True) as member:
            for part in parts:
                member.write(part.data)

    def _aligned(self, info: zipfile.ZipInfo, zip64: int = 0) -> zipfile.ZipInfo:
        """Add an extra field that says nothing, so that the bytes begin at a round place."""
        gap = -(self._file.tell() + _LOCAL + len(info.filename) + 4 + zip64) % _ALIGN
        info.extra = struct.pack("<HH", 0xD935, gap) + bytes(gap)
        return info


@contextmanager
def writing(path: Path) -> Iterator[Writer]:
    """An archive to write members to, one after the other."""
    with path.open("wb") as file, zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
        yield Writer(archive, file)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except ArrayError as error:
        raise ArrayError(f"{name}: {error}") from None
