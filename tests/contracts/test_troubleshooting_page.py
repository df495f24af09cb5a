"""docs/troubleshooting.md: every entry says three things, and names tests that provoke it."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
TEST = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


@pytest.mark.parametrize("entry", ENTRIES)
def test_an_entry_is_whole(entry):
    """The symptom there, what happens here, what is left to do, at least one test."""
    text = ENTRIES[entry]
    for part in ("**There**", "**Here**", "**Left to do**", "Tests:"):
        assert part in text
    assert TEST.search(text)


@pytest.mark.parametrize(("path", "name"), TEST.findall(PAGE))
def test_a_named_test_exists(path, name):
    """By this very name, in that file."""
    tree = ast.parse((ROOT / path).read_text())
    assert name in {part.name for part in tree.body if isinstance(part, ast.FunctionDef)}


def test_every_entry_can_be_found_by_its_symptom():
    """The table at the top leads to each section."""
    anchors = re.findall(r"\]\(#([\w-]+)\) \|$", PAGE, re.MULTILINE)
    assert [entry.lower().replace(" ", "-") for entry in ENTRIES] == anchors
