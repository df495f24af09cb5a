"""What looks like a secret is masked, and comes back whole."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.launch import secrets

WORDS = {
    "--hf-token=x1": "--hf-token=***",
    "--password x1": "--password ***",
    "--API_KEY x1": "--API_KEY ***",
    "--my.secret=x1 --lr 3": "--my.secret=*** --lr 3",
    "--credentials x1": "--credentials ***",
    "-key -x1": "-key ***",
    "--use-keys --lr 3": "--use-keys --lr 3",
    "WANDB_API_KEY=x1": "WANDB_API_KEY=***",
    "--defaults lr=1 hf_token=x1": "--defaults lr=1 hf_token=***",
    "--data https://me:x1@host/set": "--data https://***@host/set",
    "--data s3://b/set?access_key=x1&part=2": "--data s3://b/set?access_key=***&part=2",
    '--env {"api_key":"x1","n":1}': '--env {"api_key":***,"n":1}',
    "--data git@host:set": "--data git@host:set",
    "--max-tokens 4096 --tokenizer bert": "--max-tokens 4096 --tokenizer bert",
    "--keypoints 25 --keyframes=3": "--keypoints 25 --keyframes=3",
    "--token": "--token",
}


@pytest.mark.parametrize(("typed", "shown"), WORDS.items())
def test_what_looks_like_a_secret_is_masked(typed, shown):
    """By the name of its flag or variable, in any spelling; and nothing else."""
    assert shown.split() == secrets.mask_words(typed.split())


def test_a_header_is_masked_to_its_end():
    """Not only its first word."""
    header = "Authorization: Bearer x1"

    assert ["-H", "Authorization: ***"] == secrets.mask_words(["-H", header])
    assert "curl -H 'authorization: ***" == secrets.mask_text("curl -H 'authorization: bearer x1")


def test_a_file_of_settings_is_masked_line_by_line():
    """A password may have blanks; what stands around it stays."""
    text = "lr: 1\n  db_password: two words\nname: key-less\n"

    assert "lr: 1\n  db_password: ***\nname: key-less\n" == secrets.mask_lines(text)


def test_variables_are_masked_by_name():
    """So that a command line still shows the harmless ones."""
    assert {"HF_TOKEN": "***", "NCCL_DEBUG": "WARN"} == secrets.mask_variables(
        {"HF_TOKEN": "x1", "NCCL_DEBUG": "WARN"}
    )


def test_all_that_a_profile_sets_and_hooks_are_secret():
    """Whatever they are called."""
    plan = {
        "options": {"on_exit": "curl x1", "on_hang": None, "profile": "p"},
        "profile_environment": {"PLAIN": "x1"},
        "run_dir": "/runs/key=3",
    }

    assert {
        "options": {"on_exit": "***", "on_hang": None, "profile": "p"},
        "profile_environment": {"PLAIN": "***"},
        "run_dir": "/runs/key=3",
    } == secrets.mask_plan(plan)


scalars = st.none() | st.booleans() | st.integers() | st.text()
words = st.lists(st.sampled_from(["--token", "--key=1", "x", "a:b@c", "s://u:p@h"]) | st.text())
values = scalars | words | st.dictionaries(st.sampled_from(["key", "lr"]) | st.text(), scalars)


@settings(max_examples=100)
@given(
    st.dictionaries(
        st.sampled_from(["options", "arguments", "defaults", "profile_environment", "target"]),
        values,
    )
)
def test_any_plan_comes_back_whole(plan):
    """And masking what is masked changes nothing more."""
    masked = secrets.mask_plan(plan)

    assert plan == secrets.unmask(masked, secrets.secret_part(plan, masked))
    assert masked == secrets.mask_plan(json.loads(json.dumps(masked)))


@pytest.mark.parametrize("piece", ["key", "a://", 'token="', "key:", "a ", "key='\""])
def test_a_hostile_text_takes_no_time(piece):
    """Each pattern is linear in it."""
    before_s = time.process_time()
    secrets.mask_words([piece * 20_000])

    assert time.process_time() - before_s < 1.0
