"""The words of sentences as files hold them: UTF-8, by line or as a whole. Torch-free."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.engine.files import open_regular, reason

if TYPE_CHECKING:
    from pathlib import Path

BYTE_ORDER_MARK = "\ufeff"


def read_file(path: Path) -> bytes:
    """Read a file of words.

    Raises:
        TrainerError: it cannot be read, or is not a regular file (a pipe might never end).
    """
    try:
        with open_regular(path) as file:
            return file.read()
    except OSError as error:
        raise TrainerError(f"{path} cannot be read: {reason(error)}") from None


def split_lines(content: bytes) -> list[bytes]:
    """Split at line feeds alone; empty lines at the end do not count."""
    lines = [line.strip() for line in content.split(b"\n")]
    while lines and not lines[-1]:
        lines.pop()
    return lines


def decode(line: bytes) -> str:
    """Decode UTF-8; white space is one space, wherever it stands.

    Raises:
        UnusableError: it is not UTF-8.
    """
    try:
        return " ".join(line.decode().lstrip(BYTE_ORDER_MARK).split())
    except UnicodeDecodeError as error:
        byte = error.object[error.start]
        raise UnusableError(f"it is not UTF-8: byte {byte:#04x} in place {error.start}") from None


def decode_text(line: bytes) -> str:
    """Decode a sentence's text.

    Raises:
        UnusableError: it is not UTF-8, or empty.
    """
    text = decode(line)
    if not text:
        raise UnusableError("the text is empty")
    return text
