"""The built-in sentences: 24 concepts, three languages, each with its own order of signs.

Texts are sentences of English, German and French. Signs follow a grammar of their own, in which
the verb comes last and, by language, the object first or the quality before it. They are made up
for this project: no person should learn American, German or French Sign Language from them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

SENTENCES = {"train": 200, "val": 20}  # of each language
HELD_OUT = 40  # of the combinations of person, verb and object; none of them is trained on
SEED = 7


@dataclass(frozen=True, slots=True)
class Words:
    """The words of a language, in one order of concepts; objects begin with their gender."""

    times: tuple[str, ...]
    persons: tuple[str, ...]
    verbs: tuple[str, ...]
    verb_glosses: tuple[str, ...]
    objects: tuple[str, ...]
    qualities: tuple[str, ...]
    order: str
    """Of the signs: t time, p person, v verb, o object, q quality."""


WORDS = {
    "ASL": Words(
        times=("today", "tomorrow", "now"),
        persons=("the mother", "the father", "the child", "the friend", "the teacher"),
        verbs=("buys", "sees", "brings", "paints", "wants"),
        verb_glosses=("BUY", "SEE", "BRING", "PAINT", "WANT"),
        objects=(
            *("- apple", "- book", "- ball", "- car"),
            *("- house", "- flower", "- shirt", "- dog"),
        ),
        qualities=("red", "yellow", "clean"),
        order="toqpv",
    ),
    "DGS": Words(
        times=("heute", "morgen", "jetzt"),
        persons=("die Mutter", "der Vater", "das Kind", "der Freund", "der Lehrer"),
        verbs=("kauft", "sieht", "bringt", "malt", "möchte"),
        verb_glosses=("KAUFEN", "SEHEN", "BRINGEN", "MALEN", "MÖCHTEN"),
        objects=(
            *("m Apfel", "n Buch", "m Ball", "n Auto"),
            *("n Haus", "f Blume", "n Hemd", "m Hund"),
        ),
        qualities=("rot", "gelb", "sauber"),
        order="tpqov",
    ),
    "LSF": Words(
        times=("aujourd'hui", "demain", "maintenant"),
        persons=("la mère", "le père", "l'enfant", "l'ami", "le professeur"),
        verbs=("achète", "voit", "apporte", "peint", "veut"),
        verb_glosses=("ACHETER", "VOIR", "APPORTER", "PEINDRE", "VOULOIR"),
        objects=(
            *("f pomme", "m livre", "m ballon", "f voiture"),
            *("f maison", "f fleur", "f chemise", "m chien"),
        ),
        qualities=("rouge", "jaune", "propre"),
        order="tpoqv",
    ),
}
GERMAN_ENDINGS = {"m": "en", "f": "e", "n": "es"}
GERMAN_ARTICLES = {"m": "einen", "f": "eine", "n": "ein"}


@dataclass(frozen=True, slots=True)
class Content:
    """What a sentence says: a concept for each role, by number; -1 for none."""

    t: int
    p: int
    v: int
    o: int
    q: int


def contents(language: str, split: str) -> list[Content]:
    """Choose what the sentences of a split say; no sentence occurs twice."""
    words = WORDS[language]
    sizes = (len(words.persons), len(words.verbs), len(words.objects))
    triples = np.random.default_rng(SEED).permutation(int(np.prod(sizes)))
    ours = triples[:HELD_OUT] if split == "val" else triples[HELD_OUT:]
    rng = np.random.default_rng((SEED, *numbers(language, split)))
    times, qualities = len(words.times) + 1, len(words.qualities) + 1
    drawn = rng.permutation(len(ours) * times * qualities)[: SENTENCES[split]]
    which, time, quality = np.unravel_index(drawn, (len(ours), times, qualities))
    p, v, o = np.unravel_index(ours[which], sizes)
    return [Content(*row) for row in _rows(time - 1, p, v, o, quality - 1)]


def numbers(language: str, split: str) -> tuple[int, int]:
    """Return numbers that stand for a language and a split, to seed generators with."""
    return list(WORDS).index(language), list(SENTENCES).index(split)


def _rows(*columns: NDArray[np.intp]) -> Sequence[list[int]]:
    rows: list[list[int]] = np.stack(columns, axis=1).tolist()
    return rows


def concepts(language: str, content: Content) -> list[tuple[str, int]]:
    """Return the concepts of a sentence in the order of its signs, as role and number."""
    found = [(role, int(getattr(content, role))) for role in WORDS[language].order]
    return [(role, number) for role, number in found if number >= 0]


def gloss(language: str, role: str, number: int) -> str:
    """Return the name of a concept's sign."""
    words = WORDS[language]
    names = {
        "t": words.times,
        "p": [person.replace("'", " ").split()[-1] for person in words.persons],
        "v": words.verb_glosses,
        "o": [noun.split()[-1] for noun in words.objects],
        "q": words.qualities,
    }
    return names[role][number].upper()


def text(language: str, content: Content) -> str:
    """Return the sentence in the words of the country."""
    words = WORDS[language]
    person, verb = words.persons[content.p], words.verbs[content.v]
    gender, noun = words.objects[content.o].split()
    quality = words.qualities[content.q] if content.q >= 0 else ""
    time = words.times[content.t] if content.t >= 0 else ""
    if language == "ASL":
        described = f"{quality} {noun}".strip()
        article = "an" if described[0] in "aeiou" else "a"
        parts = [time, person, verb, article, described]
    elif language == "DGS":
        described = f"{quality}{GERMAN_ENDINGS[gender]} {noun}" if quality else noun
        front = [time, verb, person] if time else [person, verb]
        parts = [*front, GERMAN_ARTICLES[gender], described]
    else:
        article = "une" if gender == "f" else "un"
        parts = [time, person, verb, article, noun, quality]
    return " ".join(part for part in parts if part)
