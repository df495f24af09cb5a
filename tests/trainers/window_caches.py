"""Window caches as they are built, and as an enemy changes them."""

from __future__ import annotations

import io
import json
import struct
import zipfile

import numpy as np

from trainers.motion.clips.listing import list_clips
from trainers.rvq.windows import cache_file
from trainers.rvq.windows.for_training import recipe


def built(root, config, split="train"):
    return cache_file.build(list_clips(root, split, config.max_samples), recipe(config))


def tampered(path, **changes):
    """The cache with other members, in an archive that is whole by its checksums."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    for name, value in changes.items():
        if name == "about":
            about = json.loads(members["window_cache.json"]) | value
            members["window_cache.json"] = json.dumps(about).encode()
        elif value is None:
            del members[f"{name}.npy"]
        else:
            members[f"{name}.npy"] = value
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def npy(array):
    file = io.BytesIO()
    np.save(file, array, allow_pickle=True)
    return file.getvalue()


def claimed(shape, dtype="<i4", values=b""):
    """A .npy whose head claims a shape, whatever follows."""
    head = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + values
