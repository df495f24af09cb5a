"""Layouts of one split, whatever files hold them (numpy, no torch)."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from trainers.engine.errors import TrainerError
from trainers.engine.samples import Listing, digest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    from trainers.layout.layouts.layout import Layout

    Image: TypeAlias = NDArray[np.uint8]  # (height, width, 4): red, green, blue, opacity
    ReadImage = Callable[[int, int], Image]


class Corpus:
    """The layouts of a split, sorted by name.

    ``read_image(row, element)`` gives the picture of an element, or raises TrainerError; None if
    the elements have no pictures.
    """

    def __init__(
        self,
        source: str,
        split: str,
        layouts: Sequence[Layout],
        read_image: ReadImage | None = None,
    ) -> None:
        self.source = source  # the folder, or the name of a built-in corpus
        self.split = split
        self.layouts = tuple(layouts)
        self.lengths = np.array([len(one) for one in layouts], dtype=np.int64)
        self._read_image = read_image

    def __len__(self) -> int:
        return len(self.layouts)

    @property
    def pictured(self) -> bool:
        """Whether elements have pictures."""
        return self._read_image is not None

    @property
    def categories(self) -> tuple[str, ...]:
        """The categories that occur, sorted."""
        return tuple(sorted({name for one in self.layouts for name in one.categories} - {""}))

    @property
    def listing(self) -> Listing:
        """The layouts by name and number of elements."""
        names = tuple(one.name for one in self.layouts)
        return Listing(data=self.source, split=self.split, names=names, lengths=self.lengths)

    @property
    def digest(self) -> str:
        """16 hexadecimal digits that change with the place or the order of any element."""
        found = hashlib.sha256()
        for one in self.layouts:
            found.update(repr((one.name, one.canvas, one.ids, one.categories)).encode())
            found.update(one.boxes.tobytes() + one.order.tobytes())
        return found.hexdigest()[:16]

    def images(self, row: int) -> list[Image]:
        """Read the pictures of a layout's elements.

        Raises:
            TrainerError: one cannot be used, or the elements have none.
        """
        if self._read_image is None:
            raise TrainerError(
                f"the elements of {self.source}, split {self.split}, have no images",
                "--look categories leaves images out",
            )
        return [self._read_image(row, element) for element in range(len(self.layouts[row]))]

    def describe(self) -> dict[str, Any]:
        """Return what a run records of its data."""
        return {
            "source": self.source,
            "split": self.split,
            "posters": len(self),
            "elements": int(self.lengths.sum()),
            "categories": list(self.categories),
            "pictured": self.pictured,
            "digest": digest([one.name for one in self.layouts], self.lengths.tolist()),
        }
