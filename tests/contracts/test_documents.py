"""What the documents promise: files that are there, commands that exist."""

from __future__ import annotations

import importlib.util
import re
import runpy
import shlex
import sys
from pathlib import Path

import pytest
import typer

from gpuops.cli import app
from gpuops.system.trainers import manifests

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    path
    for path in [
        *sorted(ROOT.glob("*.md")),
        *sorted(ROOT.glob("docs/*.md")),
        *sorted(ROOT.glob("trainers/*/README.md")),
    ]
    if path.is_file()
]
SOURCES = sorted([*ROOT.glob("gpuops/**/*.py"), *ROOT.glob("shell/*.sh")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)[^)]*\)")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(gpuops [^`]+)`")
SHELLS = {"bash", "sh", "console", "shell"}


def relative(path):
    """A path as a test name."""
    return str(path.relative_to(ROOT))


def anchors(path):
    """The headings of a document as GitHub links to them."""
    heads = re.findall(r"^#+ +(.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def shown(path):
    """The gpuops commands that a file shows: in code blocks, and between backquotes."""
    text = path.read_text()
    for kind, block in FENCE.findall(text) if path.suffix == ".md" else []:
        if kind in SHELLS:
            for line in block.replace("\\\n", " ").splitlines():
                command = re.match(r"(?:\$ )?(?:\w+=\S+ )*(gpuops .*)", line)
                if command:
                    yield command[1]
    prose = FENCE.sub("", text) if path.suffix == ".md" else text
    for command in INLINE.findall(prose):
        # A line of code may name variables in the place of a word, and go on in the next string.
        yield re.sub(r"\{[^}]*\}", "X", re.sub(r'"\s*f?"', "", command))


def words_of(command):
    """The words of a command line up to a pipe, without what stands for "and so on"."""
    words = []
    for word in shlex.split(command, comments=True)[1:]:
        if word in {"|", "&&", ";", ">", "&"}:
            break
        if word not in {"...", "…"}:
            words.append(word)
    return words


def parse(words):
    """Parse a command line as gpuops does, without running it: its name and its parsed context."""
    group = typer.main.get_command(app)
    context = group.make_context("gpuops", [], resilient_parsing=True)
    rest = list(words)
    if rest and rest[0].startswith("-"):
        known = {"--help", "-h", *(flag for option in group.params for flag in option.opts)}
        assert rest[0] in known, f"no such option: {rest[0]}"
        return context
    while rest and hasattr(group, "resolve_command"):
        word = rest[0]
        _, group, rest = group.resolve_command(context, rest)
        assert group is not None, f"no such command: {word}"
    if hasattr(group, "resolve_command"):
        return context  # a group alone: it shows its help
    # Prose names a command without its arguments.
    lenient = not rest or bool({"--help", "-h"} & set(rest))
    return group.make_context(group.name, rest, parent=context, resilient_parsing=lenient)


COMMANDS = sorted({(relative(path), c) for path in [*DOCUMENTS, *SOURCES] for c in shown(path)})


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_link_leads_somewhere(path):
    """Files, folders, pictures and headings that a document links to are there."""
    for target in LINK.findall(FENCE.sub("", path.read_text())):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        found = path.parent / name if name else path

        assert found.exists(), f"{target} is not there"
        assert found.resolve().is_relative_to(ROOT), f"{target} leads out of the project"
        assert not fragment or fragment in anchors(found), f"{target} has no such heading"


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_no_document_has_a_gap(path):
    """What was to be filled in is filled in."""
    assert not re.search(r"@@|\bTODO\b|\bTBD\b|\bXXX\b|\bFIXME\b", path.read_text())


@pytest.mark.parametrize("path", DOCUMENTS, ids=relative)
def test_every_test_named_is_there(path):
    """Who reads that a behaviour is tested finds the test."""
    tests = "\n".join(one.read_text() for one in ROOT.glob("tests/**/*.py"))
    for name in re.findall(r"`(test_\w+)`", path.read_text()):
        assert f"def {name}(" in tests, f"no test is called {name}"


@pytest.mark.parametrize(("where", "command"), COMMANDS, ids=lambda value: value)
def test_every_command_shown_exists(where, command):
    """Its name, its options and its arguments are those of the command line."""
    assert where
    parse(words_of(command))


@pytest.mark.parametrize("command", sorted({c for _, c in COMMANDS if "launch rvq" in c}))
def test_every_flag_shown_for_a_trainer_is_one(command, monkeypatch, capsys):
    """What follows gpuops' own options are settings of the trainer."""
    flags = [word for word in parse(words_of(command)).args if word != "--"]
    monkeypatch.setattr(sys, "argv", ["config", *flags])
    monkeypatch.chdir(ROOT)
    module = importlib.util.find_spec(manifests.load("rvq").answers.config)
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(module.origin, None, "__main__")

    assert not ended.value.code, capsys.readouterr().err


def test_a_wrong_command_would_be_found():
    """The test above can fail: names, options and missing arguments are looked at."""
    for words in (
        ["lunch"],
        ["--vresion"],
        ["runs", "lits"],
        ["runs", "list", "--jason"],
        ["logs", "--rank", "0"],
    ):
        with pytest.raises(Exception, match=r"(?i)no such|no command|missing"):
            parse(words)


def test_there_are_commands_to_look_at():
    """The README shows the main ones."""
    assert any(where == "README.md" and "launch rvq" in command for where, command in COMMANDS)
