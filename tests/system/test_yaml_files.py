"""YAML that a person wrote, or somebody else."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.errors import UsageError
from gpuops.system.yaml_files import parse_yaml, read_yaml


@pytest.fixture(name="read")
def _read(tmp_path):
    """Reads a text as a file."""

    def read(content):
        path = tmp_path / "host.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return read_yaml(path)

    return read


@pytest.fixture(name="refusal")
def _refusal(read):
    """The refusal of a text: one sentence of one line, and its hint."""

    def refusal(content):
        with pytest.raises(UsageError) as caught:
            read(content)
        assert "\n" not in caught.value.message
        assert "\n" not in caught.value.hint
        assert "host.yaml" in caught.value.message
        return caught.value

    return refusal


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("", None),
        ("# only a comment\n", None),
        ("name: cpu\nworkers: 2\n", {"name": "cpu", "workers": 2}),
        ("\ufeffname: cpu\n", {"name": "cpu"}),
        ("name: cpu\r\nworkers: 2\r\n", {"name": "cpu", "workers": 2}),
        ("a: {b: [1, 2.5, true, null, 'x']}", {"a": {"b": [1, 2.5, True, None, "x"]}}),
        ("ü: ß", {"ü": "ß"}),
    ],
)
def test_plain_yaml_is_read(read, text, value):
    """What people write is what they get."""
    assert value == read(text)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: [1, 2\nc: 3\n", 3),
        ("a:\n\t- b\n", 2),
        ("a: 1\n b: 2\n", 2),
        ("a: 'open\n", 2),
        ("a: 1\n---\nb: 2\n", 2),
        ("a: 1\nb: @x\n", 2),
        ("a: 1\n? [1]\n: 2\n", 2),
    ],
)
def test_what_does_not_parse_is_named_by_line(refusal, text, line):
    """File and line, and the line itself where there is one."""
    assert f"host.yaml, line {line}: " in refusal(text).message


def test_the_line_is_shown(refusal):
    """The hint quotes what was written there."""
    assert "The line reads: b: @x" == refusal("a: 1\nb: @x\n").hint


def test_an_alias_is_refused(refusal):
    """A profile has no use for aliases."""
    error = refusal("a: &x 1\nb: *x\n")

    assert "line 2: aliases are not allowed" in error.message


def test_a_billion_laughs_are_refused_at_once(refusal):
    """A small file that would grow to gigabytes costs no time."""
    rows = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    rows += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 12)]
    begin = time.monotonic()

    assert "aliases" in refusal("\n".join(rows)).message
    assert 1 > time.monotonic() - begin


READ = """
import sys
from pathlib import Path
from gpuops.errors import UsageError
from gpuops.system.yaml_files import read_yaml
try:
    read_yaml(Path(sys.argv[1]))
except UsageError as error:
    print(error.message)
"""


@pytest.mark.parametrize("opening", ["[", "{a: ", "- ", "? "])
def test_deep_nesting_is_refused_and_not_a_crash(tmp_path, opening):
    """Ninety thousand brackets end neither the stack nor the patience."""
    path = tmp_path / "deep.yaml"
    path.write_text(opening * (90_000 // len(opening)))
    ran = subprocess.run(
        [sys.executable, "-c", READ, str(path)],
        capture_output=True,
        text=True,
        check=False,
        timeout=20,
    )

    assert 0 == ran.returncode, ran.stderr
    assert "nest" in ran.stdout  # libyaml has a limit of its own, from PyYAML 6.0.4 on


def test_the_depth_that_people_use_is_read(read):
    """A dozen levels are no bomb."""
    assert read("{a: " * 12 + "1" + "}" * 12)


@pytest.mark.parametrize(
    "text",
    [
        "a: !!python/object/apply:os.system ['touch pwned']",
        "a: !!python/name:os.system ''",
        "!!python/object/new:os.system [echo]",
        "a: !custom 1",
    ],
)
def test_tags_that_build_objects_are_refused(refusal, tmp_path, monkeypatch, text):
    """A profile is data; it runs nothing."""
    monkeypatch.chdir(tmp_path)

    assert "line 1" in refusal(text).message
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    "text",
    [
        "a: !!timestamp soon",
        "a: !!bool perhaps",
        "a: !!int ''",
        "a: !!float .",
        "a: 2024-99-99",
        f"a: {'9' * 5000}",
        "a: \x00",
        "a: \x01",
        "a: !!binary 'a'",
        "<<: 3",
    ],
)
def test_a_value_that_is_not_what_it_says_is_refused(refusal, text):
    """PyYAML's own constructors stumble over these; people get a sentence."""
    assert refusal(text).message


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a: 1\nb: !!timestamp soon", 2),
        ("a: 1\nb: 2024-99-99", 2),
        ("a:\n  - 1\n  - !!int ''", 3),
        ("a: 1\nb: \x01", 2),
        ("ü: ü\n\nb: \x00", 3),
        ("a: 1\n<<: 3", 2),
        (f"a: 1\nb: {'9' * 5000}", 2),
    ],
)
def test_an_odd_value_is_named_by_line(refusal, text, line):
    """Also where the parser itself does not say where it stumbled."""
    assert f"line {line}: " in refusal(text).message


@pytest.mark.parametrize(
    "number", ["9223372036854775808", "-0x8000000000000001", "0x" + "f" * 5000]
)
def test_a_number_that_no_machine_has_is_refused(refusal, number):
    """Python has integers without end, and then cannot print them."""
    assert "line 2: the number is too large" in refusal(f"a: 1\nb: {number}").message
    assert "line 1: the number is too large" in refusal(f"? {number}\n: 1").message


def test_the_largest_numbers_are_read(read):
    """64 bits."""
    assert {"a": 2**63 - 1, "b": -(2**63)} == read(f"a: {2**63 - 1}\nb: {-(2**63)}")


def test_a_text_at_hand_is_read_likewise():
    """Its name is the one that is given; half a surrogate is no text."""
    assert {"a": 1} == parse_yaml("a: 1", "here")
    with pytest.raises(UsageError, match="here, line 2: aliases"):
        parse_yaml("a: &x 1\nb: *x", "here")
    with pytest.raises(UsageError, match="here, line 2: it has a character that is not text"):
        parse_yaml("a: 1\nb: \ud800", "here")


def test_the_slow_parser_refuses_the_same(tmp_path):
    """PyYAML built without libyaml: other words perhaps, the same lines."""
    code = """
import sys, yaml
del yaml.CSafeLoader
from gpuops.errors import UsageError
from gpuops.system.yaml_files import SafeLoader, parse_yaml
assert SafeLoader is yaml.SafeLoader
for text in sys.argv[1:]:
    try:
        print(parse_yaml(text, "here"))
    except UsageError as error:
        print(error.message.partition(": ")[0])
"""
    texts = ["a: [1, b]", "a: 1\nb: @x", "a: &x 1\nb: *x", "a: 1\nb: !!int ''", "a: 1\na: 2"]
    texts += ["a: 1\nb: \x01", "[" * 50, "a: 99999999999999999999", "!custom 1"]
    ran = subprocess.run(
        [sys.executable, "-c", code, *texts],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )

    lines = [2, 2, 2, 2, 2, 1, 1, 1]
    assert ["{'a': [1, 'b']}", *[f"here, line {n}" for n in lines]] == ran.stdout.splitlines()


def test_a_key_given_twice_is_refused(refusal):
    """The last of two would win without a word."""
    error = refusal("name: a\nworkers: 2\nstop: {save_s: 1}\nworkers: 8\n")

    assert "line 4: the key workers is given twice" in error.message
    assert "given twice" in refusal("a:\n  - {b: 1, b: 2}\n").message
    assert refusal('"two\\nlines": 1\n"two\\nlines": 2\n').message


def test_the_same_key_in_two_places_is_fine(read):
    """Only one mapping may not have it twice."""
    assert {"a": {"x": 1}, "b": {"x": 2}} == read("a: {x: 1}\nb: {x: 2}\n")


def test_a_file_that_is_no_text_is_refused(refusal):
    """Latin-1 and binaries."""
    assert "not UTF-8" in refusal(b"name: caf\xe9").message
    assert refusal(b"\x7fELF\x02\x01\x01\x00")


def test_a_huge_file_is_refused_unread(refusal):
    """No profile is a megabyte long."""
    assert "larger than" in refusal(b"#" * 1_000_001).message


def test_a_file_that_is_not_there_is_refused(tmp_path):
    """And so is a folder."""
    for path, reason in ((tmp_path / "no.yaml", "No such file"), (tmp_path, "Is a directory")):
        with pytest.raises(UsageError, match=reason):
            read_yaml(path)


WORDS = """a b : - [ ] { } , ' " &x *x !! int !!set !!omap | > ? # % @ 1 0x 1e9 ~ << --- ...
!!timestamp !!binary !!float !!bool !!null 2024-01-01 2024-99-99"""
tokens = st.sampled_from([*WORDS.split(), " ", "\n", "\n  ", "\t"])


@settings(max_examples=150)
@given(text=st.lists(tokens, max_size=14).map("".join) | st.text(max_size=30))
def test_any_text_is_read_or_refused(tmp_path_factory, text):
    """No file gives a traceback, and no refusal is more than a line."""
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text, encoding="utf-8")
    message = "any.yaml"
    try:
        read_yaml(path)
    except UsageError as error:
        message = error.message

    assert "any.yaml" in message
    assert 1 == len(message.split("\n"))


def test_a_fifo_is_refused(tmp_path):
    """It would wait for a writer for ever."""
    os.mkfifo(tmp_path / "profile.yaml")

    with pytest.raises(UsageError, match="it is not a regular file"):
        read_yaml(tmp_path / "profile.yaml")
