"""Sign texts: `python -m trainers.signllm.generate --checkpoint RUN --text "Hello" --out F`.

F is a film (.gif, .mp4), a picture (.png), arrays (.npz), a .pose file or a .skels file.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainers.engine import distributed
from trainers.engine.check_data import UnusableError
from trainers.engine.errors import ConfigError, TrainerError, run_main
from trainers.engine.files import reason
from trainers.engine.tables import quiet_table
from trainers.engine.verbs import checkpoint_parser, print_result
from trainers.signllm.model.model import LEAST_FRAMES
from trainers.signllm.model.text import tokenizer
from trainers.signllm.sentences.lines import decode, split_lines
from trainers.signllm.signed import Signed, sign
from trainers.signllm.trained import attached, load
from trainers.signllm.writing import check_name, write

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from rich.console import Console

    from trainers.signllm.config import TextConfig
    from trainers.signllm.data import Vocabulary


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a checkpoint makes of some texts, and what is worth a note."""

    checkpoint: Path
    signed: list[Signed]
    notes: list[str]


def generate(
    checkpoint: Path,
    texts: Sequence[str],
    *,
    language: str | None = None,
    frames: int | None = None,
    seconds: float | None = None,
) -> Answer:
    """Sign texts by a checkpoint, each in so many frames or seconds, or as many as it finds.

    Raises:
        ConfigError: there is no text, a text is empty, or the length is out of range.
        TrainerError: the checkpoint cannot be used, or does not know the language.
    """
    _check_texts(texts)
    trained = load(checkpoint)
    with_it = attached(trained.path)
    language, notes = _choose(language, with_it.vocabulary)
    notes += _cut(texts, trained.config.text)
    if seconds is not None:
        if not math.isfinite(seconds * with_it.fps):
            raise ConfigError(f"--seconds cannot be {seconds}", "give a number")
        frames = round(seconds * with_it.fps)
    most = trained.model.most_frames
    if frames is not None and not LEAST_FRAMES <= frames <= most:
        raise ConfigError(
            f"{frames} frames are not {LEAST_FRAMES} to {most}, which the model makes",
            f"{most} frames take {most / with_it.fps:.1f} s; without a length it finds its own",
        )
    with distributed.world() as world:
        signed = sign(
            trained.model.to(world.device),
            [(text, language) for text in texts],
            vocabulary=with_it.vocabulary,
            tokenize=tokenizer(trained.config.text),
            fps=with_it.fps,
            frames=frames,
        )
    return Answer(checkpoint=trained.path, signed=signed, notes=notes)


def read_texts(path: str) -> list[str]:
    """Read a text a line from a file, or from stdin if ``path`` is -; empty lines are left out.

    Raises:
        TrainerError: it cannot be read, or is not UTF-8.
    """
    name = "stdin" if path == "-" else path
    try:
        content = sys.stdin.buffer.read() if path == "-" else Path(path).read_bytes()
    except OSError as error:
        raise TrainerError(f"{name} cannot be read: {reason(error)}") from None
    texts = []
    for number, line in enumerate(split_lines(content), start=1):
        try:
            texts.append(decode(line))
        except UnusableError as error:
            raise TrainerError(f"{name} line {number}: {error}") from None
    return [text for text in texts if text]


def _check_texts(texts: Sequence[str]) -> None:
    if not texts:
        raise ConfigError("there is no text to sign", "give --text, or --texts FILE")
    for text in texts:
        if not text.strip():
            raise ConfigError(
                "a text is empty", 'give --text some words, as in --text "Hello world"'
            )
        try:
            text.encode()
        except UnicodeEncodeError:
            raise ConfigError(f"the text {text!r} is not UTF-8") from None


def _choose(language: str | None, vocabulary: Vocabulary) -> tuple[str, list[str]]:
    """Return the language to sign, and a note if it was one of several that were possible."""
    if language is not None:
        vocabulary.language(language)  # which it knows, or raises
        return language, []
    first, *others = vocabulary.languages
    note = f"signed in {first}; the model also knows {', '.join(others)}: see --language"
    return first, [note] if others else []


def _cut(texts: Sequence[str], config: TextConfig) -> list[str]:
    """Return a note on each text that is longer than the encoder takes."""
    most = config.max_length
    longer = tokenizer(replace(config, max_length=most + 1))
    return [
        f"the text encoder takes {most} tokens, and the end of a text is cut: {text[:40]}…"
        for text in texts
        if len(longer(text)) > most
    ]


def _describe(answer: Answer, files: Sequence[Path]) -> dict[str, Any]:
    return {
        "checkpoint": str(answer.checkpoint),
        "signed": [
            {
                "text": one.text,
                "language": one.language,
                "frames": len(one.poses),
                "seconds": round(one.seconds, 3),
                "gloss": None if one.gloss is None else list(one.gloss),
            }
            for one in answer.signed
        ],
        "files": [str(path) for path in files],
        "notes": answer.notes,
    }


def _show(answer: Answer, files: Sequence[Path], console: Console) -> None:
    for note in answer.notes:
        print(f"note: {note}", file=sys.stderr)
    glossed = any(one.gloss is not None for one in answer.signed)
    shown = quiet_table("text", "language", "frames", "seconds", *(["gloss"] if glossed else []))
    for one in answer.signed:
        gloss = [" ".join(one.gloss or ())] if glossed else []
        shown.add_row(one.text, one.language, str(len(one.poses)), f"{one.seconds:.1f}", *gloss)
    console.print(shown)
    for path in files:
        console.print(f"written: {path}")


def _parser() -> argparse.ArgumentParser:
    parser = checkpoint_parser("signllm", "generate", "Sign texts.")
    parser.add_argument("--text", action="append", default=[], help="a text; repeatable")
    parser.add_argument("--texts", metavar="FILE", help="a text a line; - is stdin")
    parser.add_argument("--language", help="the sign language; default: the first it knows")
    parser.add_argument(
        "--out", type=Path, help="a .gif, .mp4, .png, .npz, .pose or .skels; default: say lengths"
    )
    length = parser.add_mutually_exclusive_group()
    length.add_argument("--frames", type=int, help="of each text; default: the model's own length")
    length.add_argument("--seconds", type=float, help="the same in seconds")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    return parser


def main(argv: Sequence[str]) -> int:
    """Run the command line."""
    given = _parser().parse_args(argv)
    if given.out is not None:
        check_name(given.out)
    texts = list(given.text)
    if given.texts is not None or (not texts and not sys.stdin.isatty()):
        texts += read_texts(given.texts or "-")
    answer = generate(
        given.checkpoint,
        texts,
        language=given.language,
        frames=given.frames,
        seconds=given.seconds,
    )
    files = [] if given.out is None else write(answer.signed, given.out)
    print_result(
        _describe(answer, files),
        lambda console: _show(answer, files, console),
        as_json=given.json,
    )
    return 0


if __name__ == "__main__":
    run_main(main)
