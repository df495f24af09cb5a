"""Whether a NumPy file is as long as its head says. gpuops itself needs no NumPy to know."""

from __future__ import annotations

import math
import os
import re

MAGIC = b"\x93NUMPY"
HEAD_BYTES = 4096  # longer heads are those of records with very many fields
_PLAIN = re.compile(
    rb"\s*\{'descr': '[<>|=][biufc](\d{1,2})', 'fortran_order': (?:True|False), "
    rb"'shape': \(((?:\d{1,18}, ?)*\d{0,18})\), *\}"
)


def cut_off(path: str) -> str | None:
    """What is missing of a file that ends too early: ``200 of 187,328 bytes``.

    ``None`` if it is whole, cannot be opened, is not a NumPy file, or holds other things than
    plain numbers.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)  # a pipe would wait for a writer
        with os.fdopen(handle, "rb", buffering=0) as file:
            head, there = file.read(HEAD_BYTES) or b"", os.fstat(handle).st_size
    except OSError:
        return None
    if not head.startswith(MAGIC):
        return None
    begin = 10 if head[6:7] == b"\x01" else 12  # the length of the head is a short, then an int
    data_at = begin + int.from_bytes(head[8:begin], "little")
    whole = data_at
    if len(head) >= min(data_at, HEAD_BYTES) and len(head) > begin:
        plain = _PLAIN.match(head, begin)
        if plain is None:
            return None
        whole += int(plain[1]) * math.prod(
            int(size) for size in plain[2].split(b",") if size.strip()
        )
    return f"{there:,} of {whole:,} bytes" if there < whole else None
