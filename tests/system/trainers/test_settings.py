"""Settings are asked of the trainer itself, in the interpreter that will train."""

from __future__ import annotations

import sys

import pytest

from gpuops.errors import GpuopsError, UsageError
from gpuops.system.trainers import modules, settings


@pytest.fixture(name="ask")
def _ask(tmp_path, monkeypatch):
    """Asks a config module of some text."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    def ask(text, *arguments):
        (tmp_path / "toyconfig.py").write_text(text)
        return settings.resolve(sys.executable, "toyconfig", arguments, str(tmp_path))

    return ask


def test_settings_come_flat_by_name(ask):
    """Sections are the trainer's affair; names are unique over all of them."""
    text = 'print(\'{"optim": {"lr": 0.1}, "seed": 1, "deep": {"er": {"x": null}}}\')'

    assert {"lr": 0.1, "seed": 1, "x": None} == ask(text)


def test_arguments_arrive_as_they_are(ask):
    """Empty ones and odd ones too."""
    text = "import json, sys; print(json.dumps({'given': sys.argv[1:]}))"

    assert {"given": ["--a", "", "b c", "$x"]} == ask(text, "--a", "", "b c", "$x")


def test_a_refusal_is_in_the_trainers_words(ask):
    """Exit code 2, ``error:`` and ``hint:`` become a usage error."""
    text = "import sys; print('error: no --x.\\nhint: Try --y.', file=sys.stderr); sys.exit(2)"

    with pytest.raises(UsageError) as caught:
        ask(text)
    assert "no --x." == caught.value.message
    assert "Try --y." == caught.value.hint


def test_a_refusal_without_words_is_passed_on(ask):
    """argparse's own words, for example."""
    text = "import sys; print('usage: toy [-h]', file=sys.stderr); sys.exit(2)"

    with pytest.raises(UsageError, match=r"usage: toy \[-h\]"):
        ask(text)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("raise RuntimeError('boom')", "boom"),
        ("import sys; sys.exit(7)", "it printed nothing"),
        ("import os; os.kill(os.getpid(), 9)", "it printed nothing"),
        ("print('hello')", "did not print its settings as JSON"),
        ("print('[1, 2]')", "did not print its settings as JSON"),
        ("", "did not print its settings as JSON"),
        ("import sys; sys.stdout.buffer.write(b'\\xff\\xfe')", "did not print"),
    ],
)
def test_a_trainer_that_cannot_say_is_a_sentence(ask, text, sentence):
    """A broken trainer is named, with its last line."""
    with pytest.raises(GpuopsError, match="toyconfig") as caught:
        ask(text)
    assert sentence in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("python", ["/no/such/python", "/tmp"])  # noqa: S108
def test_an_interpreter_that_does_not_run_says_nothing(tmp_path, python):
    """Preflight will say so."""
    assert settings.resolve(python, "toyconfig", [], str(tmp_path)) is None


def test_another_interpreter_finds_these_trainers(monkeypatch):
    """Ours come first on its path; what was on it stays."""
    monkeypatch.setenv("PYTHONPATH", "/theirs")

    ours, theirs = modules.import_path("/another/python").split(":")

    assert "/theirs" == theirs
    assert f"{ours}/gpuops/system/trainers/modules.py" == modules.__file__
    assert modules.import_path(sys.executable) is None


def test_a_folder_of_the_same_name_here_is_another_one(tmp_path):
    """Who stands where a folder `trainers` lies still gets the installed trainers."""
    (tmp_path / "trainers").mkdir()
    (tmp_path / "trainers" / "__init__.py").write_text("raise SystemExit('mine')")

    resolved = settings.resolve(sys.executable, "trainers.rvq.config", [], str(tmp_path))

    assert 512 == resolved["width"]


def test_the_help_is_the_trainers_own(tmp_path, monkeypatch):
    """Printed as it is."""
    (tmp_path / "toyconfig.py").write_text("import sys; print('help', sys.argv[1:])")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))

    assert "help ['--help']\n" == settings.help_text(sys.executable, "toyconfig")
