"""Outputs of a frozen encoder in a file: computed once by rank 0, then mapped by all ranks.

One .npz (see `cache`): what the features follow from; `features.bin`, the rows of all samples, one
sample after the other; `rows` and `sample_lengths`, int64 (S,). A cache that follows from anything
else than what is wanted, such as other weights, is built again.
Shapes: S samples, T rows of a sample (its frames, elements or tokens).
"""

from __future__ import annotations

import json
import logging
import time
import zlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import numpy as np
import torch
from annotated_types import Ge, MinLen
from pydantic import FailFast, TypeAdapter

from gpuops import heartbeat
from trainers.engine import cache
from trainers.engine.arrays.npy import ArrayError
from trainers.engine.cache import CacheError, Name
from trainers.engine.distributed import wait_for_first
from trainers.engine.errors import TrainerError
from trainers.engine.files import discard_stale
from trainers.engine.samples import Listing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from trainers.engine.distributed import World

    Encode = Callable[[int], NDArray[Any]]

log = logging.getLogger("trainers")

KIND = cache.CacheKind(name="feature cache", version=1)
LOG_EVERY_S = 30.0
Dtype = Literal["float16", "float32", "float64", "int8", "uint8", "int16", "int32", "int64"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """What the features of a sample follow from, beside the sample itself."""

    encoder: Name  # its name
    weights: Name  # their checksum, as `checksum` gives it; empty if the encoder has none
    parameters: dict[str, Any] = field(default_factory=dict)
    """Whatever else changes the features, as JSON has it: sizes, rates, layers."""


class Features(Sequence["NDArray[Any]"]):
    """The features of S samples, mapped: item i is (T_i, ...)."""

    def __init__(self, values: NDArray[Any], rows: NDArray[np.int64]) -> None:
        self.values = values
        """(sum of T, ...)."""
        self.rows = rows
        """(S,) T of each sample."""
        self._ends = np.cumsum(rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, sample: Any) -> Any:
        end = int(self._ends[sample])
        return self.values[end - int(self.rows[sample]) : end]


def checksum(module: nn.Module) -> str:
    """Return 8 hexadecimal digits that change with any weight or buffer of a module."""
    crc = 0
    for name, tensor in module.state_dict().items():
        crc = zlib.crc32(name.encode(), crc)
        flat = tensor.detach().cpu().contiguous().flatten()
        crc = zlib.crc32(flat.view(torch.uint8).numpy().data if flat.numel() else b"", crc)
    return f"{crc:08x}"


def cached_features(
    path: Path, encoding: Encoding, listing: Listing, encode: Encode, world: World
) -> Features:
    """Return the features of a split; rank 0 builds the cache unless it is there and fits.

    `encode(i)` gives the features (T_i, ...) of the i-th sample of the listing, all of one type and
    width. All ranks call this. The others wait however long it takes: outside of any collective
    that has a timeout, and with heartbeats.

    Raises:
        TrainerError: if it cannot be written, would replace another file, or `encode` refuses.
    """
    wait_for_first(
        lambda: _build_unless_there(path, encoding, listing, encode),
        world,
        waiting=lambda: heartbeat.beat(phase="cache"),
    )
    return read(path)[2]


def read(path: Path) -> tuple[Encoding, Listing, Features]:
    """Open a cache: sizes are checked, the features are mapped.

    Raises:
        CacheError: if it is missing, damaged or not a cache.
    """
    with KIND.opened(path) as (about, archive):
        encoding = cache.validated(_ENCODING, about)
        made_of = cache.validated(_MADE_OF, about)
        rows, lengths = (archive.mapped(name, "<i8") for name in ("rows", "sample_lengths"))
        if not len(rows) == len(lengths) == len(made_of.names) or rows.min() < 0:
            raise ArrayError("its arrays differ in length")
        shape = (sum(rows.tolist()), *made_of.width)
        values = archive.mapped_values("features", np.dtype(made_of.dtype), shape)
    listing = Listing(data=made_of.data, split=made_of.split, names=made_of.names, lengths=lengths)
    if listing.digest != made_of.digest:
        raise CacheError(f"{path} is damaged: its list of samples has another digest than it says")
    return encoding, listing, Features(values, rows)


def _build_unless_there(path: Path, encoding: Encoding, listing: Listing, encode: Encode) -> None:
    try:
        made_by, made_of, _ = read(path)
    except CacheError as error:
        why = error.message
    else:
        found = cache.differences(_parameters(made_by), _parameters(encoding))
        found += cache.sample_differences(made_of, listing, units="units")
        if not found:
            return
        why = f"{path} was built for something else: {'; '.join(found)}"
    KIND.check_writable(path)
    log.info("%s; it is built", why)
    _build(path, encoding, listing, encode)


def _build(path: Path, encoding: Encoding, listing: Listing, encode: Encode) -> None:
    discard_stale(path)
    rows: list[int] = []
    arrays = _encoded(listing, encode, rows)
    first = next(arrays)
    about = {
        **asdict(encoding),
        "dtype": first.dtype.name,
        "width": first.shape[1:],
        "data": listing.data,
        "split": listing.split,
        "digest": listing.digest,
        "names": listing.names,
    }
    with KIND.writing(path, about) as archive:
        archive.values("features", chain([first], arrays))
        archive.array("rows", np.array(rows, dtype="<i8"))
        archive.array("sample_lengths", np.ascontiguousarray(listing.lengths, "<i8"))


def _encoded(listing: Listing, encode: Encode, rows: list[int]) -> Iterator[NDArray[Any]]:
    """Encode sample by sample, with heartbeats; `rows` takes the numbers of their rows."""
    begun = logged = time.monotonic()
    first = None
    for sample, name in enumerate(listing.names):
        heartbeat.beat(phase="cache")
        features = np.ascontiguousarray(encode(sample))
        kind = features.dtype.name, features.shape[1:]
        first = first or kind
        if not features.ndim or kind != first or kind[0] not in get_args(Dtype):
            raise TrainerError(
                f"the features of {name} are {features.dtype} {features.shape}; "
                f"those of the first sample are {first[0]} (rows, {', '.join(map(str, first[1]))})"
            )
        if not np.isfinite(features).all():
            raise TrainerError(f"the features of {name} hold a value that is not finite")
        rows.append(len(features))
        yield features
        now = time.monotonic()
        if now - logged >= LOG_EVERY_S:
            logged = now
            left_s = (now - begun) / (sample + 1) * (len(listing.names) - sample - 1)
            log.info(
                "features of %d of %d samples, %d s left", sample + 1, len(listing.names), left_s
            )


def _parameters(encoding: Encoding) -> dict[str, Any]:
    # As JSON has them, in which a tuple is a list.
    parameters: Mapping[str, Any] = json.loads(json.dumps(encoding.parameters))
    return {"encoder": encoding.encoder, "weights": encoding.weights, **parameters}


@dataclass(frozen=True, slots=True, kw_only=True)
class _MadeOf:
    """What a cache says of its values, and of the samples they were made of."""

    dtype: Dtype
    width: tuple[Annotated[int, Ge(0)], ...]
    data: Name
    split: Name
    digest: Name
    names: Annotated[tuple[Name, ...], MinLen(1), FailFast()]


_ENCODING, _MADE_OF = TypeAdapter(Encoding), TypeAdapter(_MadeOf)
