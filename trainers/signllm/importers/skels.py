"""Import text files of ProgressiveTransformers, or folders of the public SignLLM converter.

`python -m trainers.signllm.importers.skels SRC --out OUT --language ASL` runs it alone.

SRC is whatever can be trained on as it is: `{train,dev}.{text,gloss,skels,files}`, or folders
LANGUAGE/SPLIT/NAME with text.txt and pose.json. OUT gets `LANGUAGE/SPLIT/NAME/pose.npy` (T, 150)
with text.txt and gloss.txt, which is read many times faster.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from trainers.engine import importing
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError, run_main
from trainers.signllm.config import DatasetConfig
from trainers.signllm.importers.writing import (
    Summary,
    Words,
    add_flags,
    describe,
    first,
    write_sentence,
)
from trainers.signllm.sentences.corpus import mark_unseen
from trainers.signllm.sentences.reading import describe_splits, find_places

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trainers.signllm.sentences.part import Part


def import_skels(
    source: Path,
    out: Path,
    *,
    language: str = "unknown",
    splits: Sequence[str] = (),
    max_samples: int | None = None,
    skip_bad: bool = False,
    force: bool = False,
) -> Summary:
    """Import sentences into a new folder ``out``, all or nothing.

    Raises:
        TrainerError: nothing to import, sentences that cannot be used (unless ``skip_bad``), or an
            ``out`` that holds something.
    """
    places = find_places(DatasetConfig(data=str(source), language=language))
    absent = [split for split in splits if all(split not in place.splits for place in places)]
    if absent:
        raise TrainerError(
            f"{source} has no split {', '.join(absent)}; it has: {describe_splits(places)}"
        )
    parts = [
        place.open_part(split)
        for place in places
        for split in place.splits
        if not splits or split in splits
    ]
    summary = Summary(out=str(out))
    rows: dict[Path, tuple[Part, int]] = {}
    bad: dict[Path, str] = {}
    items: dict[str, list[Path]] = {}
    for part in parts:
        known = {Path(place): (part, row) for row, place in enumerate(part.places)}
        wrong = {Path(place): why for place, why in {**part.unusable, **part.incomplete}.items()}
        rows |= known
        bad |= wrong
        items.setdefault(part.split, []).extend(first([*known, *wrong], max_samples))

    def add(folder: Path, split: str, path: Path) -> None:
        if path in bad:
            raise UnusableError(bad[path])
        part, row = rows[path]
        one = part.sentences[row]
        words = Words(text=one.text, gloss=one.gloss, language=one.language, split=split)
        write_sentence(summary, folder, one.name, words, mark_unseen(part.read(row)))

    return importing.run_import(
        source,
        summary,
        items,
        add,
        lambda _folder: summary.check(),
        skip_bad=skip_bad,
        force=force,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line."""
    parser = importing.command_line(
        "trainers.signllm.importers.skels",
        "Import .text, .gloss and .skels files of ProgressiveTransformers as sentences.",
    )
    add_flags(parser)
    return importing.run(parser, argv, import_skels, lambda summary: summary.fps, describe)


if __name__ == "__main__":
    run_main(main)
