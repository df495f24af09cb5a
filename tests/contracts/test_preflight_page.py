"""docs/preflight.md names every check, and nothing that is none."""

from __future__ import annotations

import ast
import re
from pathlib import Path

from gpuops.core.preflight.preflight import NAMES

ROOT = Path(__file__).parents[2]
FINDINGS = {"ok", "warning", "error"}


def first_arguments():
    """The name in every call that makes a finding."""
    for path in sorted((ROOT / "gpuops" / "core" / "preflight").glob("*.py")):
        for part in ast.walk(ast.parse(path.read_text())):
            if (
                isinstance(part, ast.Call)
                and isinstance(part.func, ast.Name)
                and part.func.id in FINDINGS
            ):
                yield path.name, part.lineno, part.args[0]


def test_every_name_can_be_read_in_the_source():
    """So that the next test knows them all."""
    found = list(first_arguments())

    assert found
    for name, line, argument in found:
        assert isinstance(argument, ast.Constant), f"{name}:{line} does not spell out its name"


def test_the_page_names_the_checks_that_there_are():
    """Each in a row of its own, once."""
    given = {argument.value for _, _, argument in first_arguments()}
    page = (ROOT / "docs" / "preflight.md").read_text()
    rows = re.findall(r"^\| `([a-z-]+)` \|", page, re.MULTILINE)

    assert sorted(given) == sorted(rows) == sorted(NAMES)
