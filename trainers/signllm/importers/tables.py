"""The texts of recordings by their names, as data sets write them (no torch).

- `SPLIT.files` and `SPLIT.text` (perhaps `SPLIT.gloss`): a line is a recording;
- a table with a head, .csv by commas or .tsv and How2Sign's .csv by tabs;
- NAME.txt beside a recording.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING

from trainers.engine.check_data import UnusableError
from trainers.engine.errors import TrainerError
from trainers.signllm.importers.writing import SPLITS, Words
from trainers.signllm.sentences.lines import decode, decode_text, read_file, split_lines

if TYPE_CHECKING:
    from collections.abc import Iterable

# The words that a column may be headed by, in the order in which they are preferred.
NAME = ("sentence_name", "name", "id", "path", "file", "files", "video_name", "video")
TEXT = ("sentence", "text", "translation", "words")
GLOSS = ("gloss", "glosses", "orth", "annotation")
LANGUAGE = ("signed_language", "sign_language", "language")
SPLIT = ("split",)
HEADS = f"a name ({', '.join(NAME)}) and a text ({', '.join(TEXT)})"


def find_texts(source: Path, table: Path | None) -> dict[str, Words]:
    """Return what is known of recordings by name: from ``table``, or from files below ``source``.

    ``table`` is a table, or a folder with `SPLIT.files` and `SPLIT.text`.

    Raises:
        TrainerError: a file cannot be used; it is named, with its line.
    """
    if table is not None and not table.exists():
        raise TrainerError(f"there is no {table}", "--text names a table, or a folder of texts")
    if table is not None and not table.is_dir():
        return read_table(table)
    lists = sorted((table or source).rglob("*.files"))
    if table is not None and not lists:
        raise TrainerError(f"{table} holds no SPLIT.files", "--text may also name a table")
    found: dict[str, Words] = {}
    for path in lists:
        found |= read_lists(path)
    return found


def read_lists(files: Path) -> dict[str, Words]:
    """Read `SPLIT.files`, with the texts and perhaps glosses beside it.

    Raises:
        TrainerError: they differ in lines, or a line cannot be used.
    """
    names = split_lines(read_file(files))
    beside = {"text": files.with_suffix(".text"), "gloss": files.with_suffix(".gloss")}
    lines = {
        kind: split_lines(read_file(path))
        for kind, path in beside.items()
        if kind == "text" or path.exists()
    }
    for kind, found in lines.items():
        if len(found) != len(names):
            raise TrainerError(
                f"{beside[kind]} has {len(found):,} lines, {files.name} has {len(names):,}"
            )
    known = {}
    split = files.stem if files.stem in SPLITS else ""
    for row, name in enumerate(names):
        at = f"line {row + 1}"
        text = _decoded(f"{beside['text']} {at}", lines["text"][row], needed=True)
        gloss = _decoded(f"{beside['gloss']} {at}", lines["gloss"][row]) if "gloss" in lines else ""
        key = Path(_decoded(f"{files} {at}", name, needed=True)).name
        known[key] = Words(text=text, gloss=tuple(gloss.split()) or None, split=split)
    return known


def read_table(path: Path) -> dict[str, Words]:
    """Read a table with a head line.

    Raises:
        TrainerError: it lacks a column, or a line cannot be used.
    """
    rows = [
        _decoded(f"{path} line {number}", line, keep=True)
        for number, line in enumerate(read_file(path).splitlines(keepends=True), start=1)
    ]
    if not rows:
        raise TrainerError(f"{path} is empty", f"its first line heads its columns: {HEADS}")
    reader = csv.DictReader(rows, delimiter="\t" if "\t" in rows[0] else ",", strict=True)
    try:
        return _read_rows(path, reader)
    except csv.Error as error:
        raise TrainerError(
            f"{path} line {reader.line_num} cannot be read: {error}",
            'a text that holds " is written in quotation marks, with each " inside it twice',
        ) from None


def _read_rows(path: Path, reader: csv.DictReader[str]) -> dict[str, Words]:
    heads = {(head or "").strip().lower(): head for head in reader.fieldnames or ()}

    def column(among: Iterable[str]) -> str | None:
        return next((heads[head] for head in among if head in heads), None)

    name, text = column(NAME), column(TEXT)
    if name is None or text is None:
        raise TrainerError(f"{path} heads no column with {HEADS}", f"it has: {', '.join(heads)}")
    others = {"gloss": column(GLOSS), "language": column(LANGUAGE), "split": column(SPLIT)}
    known: dict[str, Words] = {}
    for row in reader:
        if not row[name] or not (row[text] or "").strip():
            raise TrainerError(f"{path} line {reader.line_num} has no name or an empty text")
        more = {key: (row[head] or "").strip() if head else "" for key, head in others.items()}
        key = _stem(row[name])
        found = Words(
            text=" ".join(row[text].split()),
            gloss=tuple(more["gloss"].split()) or None,
            language=more["language"],
            split=more["split"],
        )
        if known.setdefault(key, found) != found:
            raise TrainerError(f"{path} line {reader.line_num} has another text for {key}")
    return known


def text_beside(recording: Path) -> Words | None:
    """Return the text of NAME.txt beside a recording, if there is one.

    Raises:
        UnusableError: it cannot be used.
    """
    path = recording.with_suffix(".txt")
    if not path.exists():
        return None
    try:
        return Words(text=decode_text(read_file(path)))
    except UnusableError as error:
        raise UnusableError(f"{path.name}: {error}") from None


def _stem(name: str) -> str:
    """A recording's name without folders and a file's ending."""
    name = Path(name.strip()).name
    return name.rpartition(".")[0] if name.lower().endswith((".pose", ".mp4")) else name


def _decoded(place: str, line: bytes, *, needed: bool = False, keep: bool = False) -> str:
    try:
        if keep:
            decode(line)
            return line.decode("utf-8-sig")
        return decode_text(line) if needed else decode(line)
    except UnusableError as error:
        raise TrainerError(f"{place}: {error}") from None
