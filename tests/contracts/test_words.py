"""The project's texts are plain technical English: phrases that readers stumbled over stay out."""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXTS = ("gpuops", "trainers", "docs", "README.md", "CONTRIBUTING.md", "shell", "profiles")
SUFFIXES = {".py", ".md", ".sh", ".yaml", ".css", ".js"}

# What stands there, and what to write instead.
PHRASES = {
    "anew": (r"\banew\b", "again"),
    "somebody": (r"\bsomebody\b", "another user, another process"),
    "nobody": (r"\bnobody\b", "no user, no process, nothing"),
    "whoever": (r"\bwhoever\b", "the user who, the process that"),
    "for want of": (r"\bwant of\b", "out of memory, because there is no"),
    "is to be": (r"\b(?:is|are)(?: not)? to be\b", "must be, cannot be"),
    "likewise": (r"\blikewise\b", "what it does"),
    "is no": (r"(?<!there )\bis no (?!longer\b|more\b|other\b|single\b)", "is not a"),
    "accused": (r"\baccus|\bguilty\b|\bblamed?\b", "culprit, suspect"),
    "verdict": (r"\bverdicts?\b|\bcrimes?\b", "assessment, finding"),
    "to be thought": (r"\bto be thought\b|\bis thought of\b", "assessment, health"),
    "overrule": (r"\boverrul", "override"),
    "tell": (r"\b(?:does|did|could) not tell\b", "does not report, did not print, is not clear"),
    "also if": (r"\balso if\b", "even if"),
    "mend": (r"\bmend(?:s|ed|ing)?\b", "fix, correct, repair"),
    "card": (r"(?<![-\w])cards?\b(?!`|:)", "GPU"),
    "in words": (r"\bin_words\b|\bdef (?:told|said|noted|who|doing)\b", "format_*, describe_*"),
}


def texts() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--", *TEXTS], cwd=ROOT, capture_output=True, text=True, check=True
    )
    paths = (Path(line) for line in listed.stdout.splitlines())
    return [path for path in paths if path.suffix in SUFFIXES and (ROOT / path).is_file()]


def found(path: Path) -> list[tuple[str, int, str]]:
    """Each phrase in a file, with its line."""
    lines = (ROOT / path).read_text(encoding="utf-8").splitlines()
    return [
        (name, number, line.strip())
        for number, line in enumerate(lines, 1)
        for name, (pattern, _) in PHRASES.items()
        if re.search(pattern, line, re.IGNORECASE)
    ]


def test_texts_keep_to_plain_words():
    """A phrase of the list is reported with its place, and with what to write instead."""
    wrong = [
        f"{path}:{number}: {name!r}, write {PHRASES[name][1]}: {line}"
        for path in texts()
        for name, number, line in found(path)
    ]

    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("it starts anew", "anew"),
        ("90x is no time to wait", "is no"),
        ("the accused rank", "accused"),
        ("a GPU that is not to be seen", "is to be"),
        ("also if it is stopped", "also if"),
        ("all 8 cards", "card"),
    ],
)
def test_the_phrases_are_found(text, name):
    """The patterns above can fail."""
    assert re.search(PHRASES[name][0], text, re.IGNORECASE)


@pytest.mark.parametrize("text", ["there is no GPU", "it is no longer there", "on an SD-card"])
def test_plain_sentences_pass(text):
    """What is fine is not reported."""
    assert not [name for name, (p, _) in PHRASES.items() if re.search(p, text, re.IGNORECASE)]
