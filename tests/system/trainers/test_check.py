"""A trainer's own check: whatever it prints, or does not, becomes findings."""

from __future__ import annotations

import json
import sys

import pytest

from gpuops.core.finding import Finding, error, ok
from gpuops.system.trainers import check

WHOLE = {"check": "cache", "severity": "ok", "summary": "it fits"}


@pytest.fixture(name="ask")
def _ask(tmp_path, monkeypatch):
    """Runs a module of some lines as a trainer's check."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def ask(lines, *arguments):
        (tmp_path / "toycheck.py").write_text(f"import json, sys, time\n{lines}\n")
        return check.check(sys.executable, "toycheck", arguments, str(tmp_path))

    return ask


@pytest.fixture(name="trouble")
def _trouble(ask):
    """The one warning that a check becomes which went wrong."""

    def trouble(lines, *arguments):
        (found,) = ask(lines, *arguments)
        assert ("trainer", "warning") == (found.check, found.severity)
        assert found.summary.startswith("toycheck ")
        assert "python -m toycheck" in found.hint
        assert found.summary.isprintable()
        return found.summary

    return trouble


def test_findings_are_taken_as_they_are(ask):
    """Severity, sentence, hint and figures."""
    bad = {**WHOLE, "severity": "error", "hint": "Build it.", "measured": 3, "wanted": "4 GiB"}
    found = ask(f"print(json.dumps({[WHOLE, bad]!r}))")

    assert ok("cache", "it fits") == found[0]
    assert error("cache", "it fits", "Build it.", measured=3, wanted="4 GiB") == found[1]


def test_nothing_found_is_no_finding(ask):
    """An empty list is an answer."""
    assert () == ask("print('[]')")


def test_it_gets_the_trainings_arguments_in_its_folder(ask, tmp_path):
    """So that it resolves the same settings, and paths mean the same."""
    lines = "import os\nprint(json.dumps([{**%r, 'summary': os.getcwd() + str(sys.argv[1:])}]))"
    (found,) = ask(lines % WHOLE, "--data", "a b")

    assert f"{tmp_path}['--data', 'a b']" == found.summary


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        ("raise KeyError('lost')", "ended with exit code 1: KeyError: 'lost'"),
        ("print('error: no such flag\\nhint: x', file=sys.stderr); sys.exit(2)", "error: no such"),
        ("sys.exit(3)", "ended with exit code 3: it printed nothing"),
        ("import os; os.kill(os.getpid(), 9)", "ended with exit code -9"),
        ("sys.stderr.buffer.write(b'\\xff\\x1b[2J'); sys.exit(1)", "exit code 1"),
        ("", "its output: invalid json"),
        ("print('looking ...')\nprint('[]')", "its output: invalid json"),
        ("sys.stdout.buffer.write(b'\\xff')", "its output: invalid json"),
        ("print('[' * 100000)", "its output: invalid json"),
        ("print('{}')", "its output: input should be a valid array"),
        ("print('[3]')", "0: input should be an object"),
        ("print('[{}]')", "0.check: field required"),
    ],
)
def test_a_check_that_goes_wrong_is_one_warning(trouble, lines, words):
    """It must not stop a training that may well run."""
    assert words in trouble(lines)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"severity": "fatal"}, "0.severity: input should be 'ok', 'warning' or 'error'"),
        ({"check": 3}, "0.check"),
        ({"summary": None}, "0.summary"),
        ({"hint": ["a"]}, "0.hint"),
        ({"measured": [1]}, "0.measured"),
        ({"wanted": True}, "0.wanted"),
    ],
)
def test_a_finding_that_is_none_is_told_by_its_place(trouble, changes, words):
    """Whoever wrote the check finds it."""
    assert words in trouble(f"print(json.dumps({[{**WHOLE, **changes}]!r}))")


def test_too_many_findings_are_one_warning(trouble):
    """A report has an end."""
    assert "at most 50" in trouble(f"print(json.dumps({[WHOLE]!r} * 51))")


def test_sentences_are_printable(ask):
    """One line each, however the trainer wrote them, and not without end."""
    long = {**WHOLE, "summary": "a\nb\x1b[31m", "hint": "x" * 100_000, "later": "ignored"}
    (found,) = ask(f"print({json.dumps([long])!r})")

    assert "a b?[31m" == found.summary
    assert 2000 == len(found.hint)


def test_a_check_that_does_not_end_is_ended(trouble, monkeypatch):
    """After a while; the launch goes on."""
    monkeypatch.setattr(check, "TIMEOUT_S", 0.2)

    assert "did not end within 0 s" in trouble("time.sleep(60)")


def test_an_interpreter_that_does_not_run_is_one_warning(tmp_path):
    """Preflight says more about it elsewhere."""
    (found,) = check.check("/no/such/python", "toycheck", [], str(tmp_path))

    assert isinstance(found, Finding)
    assert "does not run with /no/such/python: No such file or directory" in found.summary
