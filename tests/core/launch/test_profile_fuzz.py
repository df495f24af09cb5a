"""Broken profiles: each is a profile all the same, or refused where it is wrong."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpuops.core.launch.profile import keys, parse
from gpuops.errors import UsageError
from gpuops.system.yaml_files import parse_yaml

GPUS = r"""
name: two
summary: two GPUs
device: cuda
gpus: {count: 2, model: RTX 4090, memory_gib: 24, exclude: [0, GPU-1a2b]}
torchrun: {master_port: 29501}
environment:
  NCCL_DEBUG: WARN
  OMP_NUM_THREADS: '8'
trainers:
  rvq: {preset: demo, batch_size: 80, lr: 0.1, lr_scheduler: [1, 2]}
limits:
  temperature_c: 85
  memory_headroom: 0.1
stop: {save_s: 60, terminate_s: 10}
"""
CORES = "name: small\ndevice: cpu\nworkers: 2\nenvironment: {OMP_NUM_THREADS: '1'}\n"
ODD = r"""
~ '' "" 'a' "\0" "\e" "\ud800" -1 0 1 1.5 1e3 .nan .inf -.inf 0x10 0o17 1_000 1:30 65536
99999999999999999999 0xffffffffffffffffffff true no on null 2024-01-01 2024-99-99
[] {} [[1]] [0,0] [~] {a:1} {count: 1} # - : ? | > % @ ` << &a *a
!!int !!set !!binary !!timestamp !!python/name:os.system a/b .. A=B
GPU-1 RANK CUDA_VISIBLE_DEVICES
"""
UNSEEN = ["\t", "\0", "\x7f", "\x85", "\u2028", "\ufeff", "\U0001f600", "{count: 1}", "x" * 9000]
UNSEEN += ["0x" + "f" * 5000, "9" * 5000]
PLACES = ["spare", "stop.save", "gpus.exclude.0", "environment.A", "environment.A B"]
PLACES += ["trainers.rvq", "trainers.rvq.lr", "trainers.x=y"]
REFUSED = re.compile(r"any\.yaml(, line \d+: | is not a (valid )?profile: )")

odd = st.sampled_from([*ODD.split(), *UNSEEN])
names = st.sampled_from(sorted({part for path in keys() for part in path.split(".")}))
scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6) | odd
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(names, scalars, max_size=2)
edits = st.tuples(
    st.sampled_from(["word", "value", "insert", "twice", "indent", "gone"]),
    st.integers(0, 99),
    odd | names,
)
changes = st.tuples(st.sampled_from([*keys(), *PLACES]), values)
pieces = odd | names | st.sampled_from("\n :") | st.text(max_size=20)


def edited(text, several):
    """A profile in which some words or lines are others."""
    for how, where, word in several:
        lines = text.splitlines() or [""]
        number = where % len(lines)
        line = lines[number]
        words = re.split(r"([ ,{}\[\]]+)", line)
        words[where % len(words)] = word
        lines[number : number + 1] = {
            "word": ["".join(words)],
            "value": [f"{line.partition(':')[0]}: {word}"],
            "insert": [line, f"{word}: {word}"],
            "twice": [line, line],
            "indent": [f" {line}"],
            "gone": [],
        }[how]
        text = "\n".join(lines) + "\n"
    return text


def changed(text, several):
    """A profile in which some values are others."""
    document = parse_yaml(text, "good.yaml")
    for path, value in several:
        document = put(document, path, value)
    return json.dumps(document).replace("NaN", ".nan").replace("Infinity", ".inf")


def put(document, path, value):
    """A mapping with a value at a dotted path."""
    head, _, rest = path.partition(".")
    below = document.get(head) if isinstance(document.get(head), dict) else {}
    return {**document, head: put(below, rest, value) if rest else value}


good = st.sampled_from([GPUS, CORES])
documents = st.one_of(
    st.builds(edited, good, st.lists(edits, min_size=1, max_size=3)),
    st.builds(changed, good, st.lists(changes, min_size=1, max_size=2)),
    st.lists(pieces, max_size=8).map("".join),
)


def outcome(text):
    """The profile that a text stands for, or the sentence with which it is refused."""
    try:
        return parse(parse_yaml(text, "any.yaml"), "any.yaml")
    except UsageError as error:
        return error.message


# Other examples in each run; one that fails is printed, and how to have it again.
fuzz = settings(
    database=None, deadline=None, print_blob=True, suppress_health_check=list(HealthCheck)
)


@settings(fuzz, max_examples=500)
@given(documents)
def test_any_text_is_a_profile_or_refused_where_it_is_wrong(text):
    """A profile that can be used, or one short line with the dotted path or the file's line."""
    check(text)


@pytest.mark.long
@settings(fuzz, max_examples=10_000)
@given(documents)
def test_ten_thousand_texts_are_profiles_or_refused_where_they_are_wrong(text):
    """The same with twenty times as many examples."""
    check(text)


def check(text):
    found = outcome(text)

    if isinstance(found, str):
        assert REFUSED.match(found)
        assert "\n" not in found
        assert len(found) < 1000
        assert found.encode()
    else:
        assert 1 <= found.nproc_per_node
        assert json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()


def test_the_fuzz_begins_at_profiles_that_are_good():
    """Else every mutation would be refused for the same reason."""
    assert [2, 2] == [outcome(text).nproc_per_node for text in (GPUS, CORES)]
