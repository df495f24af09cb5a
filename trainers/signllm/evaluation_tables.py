"""An evaluation as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from trainers.engine.tables import quiet_table
from trainers.signllm.metrics.read_back import GROUP

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from trainers.signllm.evaluate import Evaluation

NONE = "—"
FIGURES = {
    "DTW": ("dtw", ".2f"),
    "DTW per value": ("dtw_per_value", ".4f"),
    "motion": ("motion", ".2f"),
    "motion smoothness": ("motion_smoothness", ".3f"),
    "pose similarity": ("pose_similarity", ".3f"),
    "length error": ("length_error", ".1%"),
}
READINGS = {
    "read back": "read_back",
    f"found among {GROUP}": "retrieval",
    "language named": "language",
}
MEANING = """\
DTW: L1 distance of frames, a sum over 150 values; standing still scores well in it, so see
motion, as a share of the truth's, beside it"""
MEANING_OF_READINGS = f"""\
read back: 1 - edit distance / length, of what a recogniser reads that was trained on the
training sentences; found: by it, as the nearest of at most {GROUP} true sentences"""


def show(found: Evaluation, console: Console) -> None:
    """Print the score as tables."""
    overall = found.score.overall
    console.print(
        f"{found.checkpoint} (step {found.step}) on {found.data}, {found.split}: "
        f"{overall.sentences:,} sentences, {overall.frames:,} frames"
    )
    console.print(_whole(found))
    console.print(MEANING)
    if found.readings:
        console.print(MEANING_OF_READINGS)
    if len(found.score.languages) > 1:
        console.print(_languages(found))
    if found.glosses is not None:
        console.print(_glosses(found))
    loss = ", ".join(f"{name} {value:.4f}" for name, value in found.score.loss.items())
    console.print(f"\nwith the true lengths given: {loss}")
    for note in found.notes:
        console.print(f"note: {note}")


def _whole(found: Evaluation) -> Table:
    columns = {"generated": found.score.overall, **found.beside}
    table = quiet_table("", *(name.replace("training ", "training\n") for name in columns))
    for about, (name, form) in FIGURES.items():
        table.add_row(about, *(format(getattr(one, name), form) for one in columns.values()))
    if found.readings:
        for about, name in READINGS.items():
            values = (getattr(found.readings[column], name) for column in columns)
            table.add_row(about, *map(_share, values))
    return table


def _languages(found: Evaluation) -> Table:
    read = found.readings_by_language
    names = ("read\nback", "truth\nread", "named") if read else ()
    table = quiet_table("language", "count", "DTW", "per\nvalue", "motion", "length\nerror", *names)
    for language, one in found.score.languages.items():
        figures = [
            *(f"{one.sentences:,}", f"{one.dtw:.2f}", f"{one.dtw_per_value:.4f}"),
            *(f"{one.motion:.2f}", f"{one.length_error:.1%}"),
        ]
        if read:
            made, truth = read["generated"][language], read["truth"][language]
            figures += map(_share, (made.read_back, truth.read_back, made.language))
        table.add_row(language, *figures)
    table.title = "\nby language"
    return table


def _glosses(found: Evaluation) -> Table:
    table = quiet_table("glosses", "BLEU-1", "BLEU-2", "BLEU-3", "BLEU-4", "WER")
    for language, one in {"all": found.glosses, **found.glosses_by_language}.items():
        if one is not None:
            scores = one.bleu or {}
            bleu = (_share(scores.get(f"bleu_{most}")) for most in range(1, 5))
            table.add_row(language, *bleu, _share(one.wer))
    table.title = "\nglosses"
    return table


def _share(value: float | None) -> str:
    return NONE if value is None else f"{value:.3f}"
