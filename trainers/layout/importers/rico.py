"""Import screens of mobile apps from RICO's semantic annotations.

`python -m trainers.layout.importers.rico SRC --out OUT` runs it alone.

SRC is a folder of JSON files, one a screen: a tree of `bounds` [left, top, right, bottom],
`componentLabel` and `children`. Every node with a label is an element, the label its category (25
in RICO); a node lies behind its children. The bounds of the root are the canvas. The elements
have no images.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import MALFORMED, TrainerError, run_main
from trainers.engine.files import load_json
from trainers.layout.importers.writing import (
    ALL,
    Found,
    Outcome,
    add_flags,
    describe,
    first,
    table,
    to_layout,
    write,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LABEL = "componentLabel"


def import_rico(
    source: Path,
    out: Path,
    *,
    max_samples: int | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> Outcome:
    """Import screens into a new folder ``out``, all or nothing.

    Raises:
        TrainerError: nothing to import, screens that cannot be used (unless ``skip_bad``), or an
            ``out`` that holds something.
    """
    screens = sorted(source.rglob("[!.]*.json"))
    if not screens:
        raise TrainerError(f"{source} holds no *.json", "SRC is RICO's semantic_annotations")
    outcome = Outcome(out=str(out))

    def add(folder: Path, split: str, path: Path) -> None:
        layout = to_layout(outcome, path.stem, read_screen(path))
        write(outcome, folder, split, layout, [None] * len(layout))

    return importing.run_import(
        source,
        outcome,
        {ALL: first(screens, max_samples)},
        add,
        lambda _folder: outcome.check(),
        skip_bad=skip_bad,
        force=force,
    )


def read_screen(path: Path) -> Found:
    """Read the elements of a screen.

    Raises:
        UnusableError: it cannot be used.
    """
    try:
        root = load_json(path)
    except TrainerError as error:
        raise UnusableError(error.message.removeprefix(f"{path} ")) from None
    try:
        if "activity" in root:
            root = root["activity"]["root"]
        left, top, right, bottom = _bounds(root)
        elements = list(_labelled(root))
        boxes = [_bounds(node) for node in elements]
        canvas = round(right - left), round(bottom - top)
    except MALFORMED:
        raise UnusableError("it is not a tree of bounds, componentLabel and children") from None
    if not elements:
        raise UnusableError(f"no node has a {LABEL}")
    return Found(
        canvas=canvas,
        boxes=[
            (x - left, y - top, max(0.0, end - x), max(0.0, low - y)) for x, y, end, low in boxes
        ],
        categories=[str(node[LABEL]) for node in elements],
    )


def _labelled(root: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Walk the tree from back to front."""
    open_nodes = [root]
    while open_nodes:
        node = open_nodes.pop()
        if node.get(LABEL):
            yield node
        open_nodes += [child for child in reversed(node.get("children") or []) if child]


def _bounds(node: dict[str, Any]) -> tuple[float, ...]:
    left, top, right, bottom = map(float, node["bounds"])
    if not all(map(math.isfinite, (left, top, right, bottom))):
        raise ValueError
    return left, top, right, bottom


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.layout.importers.rico", "Import RICO's semantic annotations as posters."
    )
    add_flags(parser)
    return importing.run_importer(parser, argv, import_rico, table, describe)


if __name__ == "__main__":
    run_main(main)
