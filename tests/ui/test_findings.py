"""How preflight's findings look."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from gpuops.core.finding import error, ok, warning
from gpuops.errors import UsageError
from gpuops.ui import findings

FOUND = [
    error("port", "port 29501 is in use", "Take another."),
    ok("torch", "torch 2.13"),
    warning("shm", "little", "Enlarge it."),
    ok("data", "8 train"),
]


def text_of(renderable, width=80, *, colour=False):
    """As a terminal of that width shows it."""
    console = Console(
        file=io.StringIO(), width=width, markup=False, emoji=False, force_terminal=colour
    )
    console.print(renderable)
    return console.file.getvalue()


def test_what_matters_most_stands_last():
    """Right above where one types: the quiet ones, the warnings, the errors, how many of each."""
    lines = text_of(findings.findings(FOUND)).splitlines()

    rows = [line.split()[:2] for line in lines if line[:1] in "✓!✗"]
    assert [["✓", "torch"], ["✓", "data"], ["!", "shm"], ["✗", "port"]] == rows
    assert "2 ok, 1 warning, 1 error" == lines[-1].strip()


def test_a_finding_shows_what_to_do():
    """Below the sentence, where there is anything to do."""
    lines = text_of(findings.findings(FOUND)).splitlines()

    for summary, hint in (("port 29501", "→ Take another."), ("little", "→ Enlarge it.")):
        place = next(n for n, line in enumerate(lines) if summary in line)
        assert hint == lines[place + 1].strip()
        assert lines[place].index(summary) == lines[place + 1].index("→")
    assert 2 == "".join(lines).count("→")


@pytest.mark.parametrize("width", [60, 80, 120])
def test_sentences_stand_below_each_other(width):
    """A long one is folded in its own column, and no line is too long."""
    found = [ok("a", "word " * 40), error("long-name", "other " * 40, "hint " * 40)]

    head, *rows, _ = text_of(findings.findings(found), width).splitlines()

    column = rows[0].index("word")
    assert "preflight" == head.strip()
    assert all(len(row) <= width for row in rows)
    assert all(row[column - 1] == " " and row[column] != " " for row in rows)
    assert 2 == sum(row[:column].strip() != "" for row in rows)


def test_the_quiet_ones_are_quiet():
    """In a terminal: no bold but for what is wrong."""
    quiet = text_of(findings.findings(FOUND[1:2]), colour=True).splitlines()[1]
    loud = text_of(findings.findings(FOUND[:1]), colour=True).splitlines()[1]

    assert "\x1b[1" not in quiet
    assert "\x1b[1;31m" in loud


def test_brief_is_one_quiet_line_where_all_is_well():
    """A launch has other things to show."""
    assert "preflight: 2 checks ok\n" == text_of(findings.brief([FOUND[1], FOUND[3]]))
    assert "preflight: 1 check ok\n" == text_of(findings.brief([FOUND[1]]))


def test_brief_shows_what_is_wrong():
    """Warnings and errors, with what to do; not the rest."""
    shown = text_of(findings.brief(FOUND))

    assert shown.startswith("preflight: 2 checks ok\n")
    assert "torch" not in shown
    assert shown.index("shm") < shown.index("Enlarge it.") < shown.index("port")
    assert "Take another." in shown


def test_a_report_of_a_simulated_machine_begins_so():
    """Both forms; one of this machine does not."""
    for form in (findings.findings, findings.brief):
        assert text_of(form(FOUND, "8x4090")).startswith("simulated: 8x4090\n")
        assert "simulated" not in text_of(form(FOUND))


def test_words_of_other_people_are_no_markup():
    """A path or a name may hold brackets."""
    shown = text_of(findings.findings([ok("data", "[bold]x[/] :warning:")]))

    assert "[bold]x[/] :warning:" in shown
    assert "[red]" in text_of(findings.error(UsageError("a [red] GPU", "leave [it]")))
