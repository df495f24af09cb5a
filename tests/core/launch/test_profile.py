"""A hardware profile is validated whole, and every refusal says where."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpuops.core.launch.profile import Profile, keys, parse, schema
from gpuops.errors import ExitCode, UsageError


def document(**changes):
    """A valid CPU profile, with changes."""
    return {"name": "two", "device": "cpu", "workers": 2, **changes}


def refusal(value):
    """The sentence with which a document is refused."""
    with pytest.raises(UsageError) as caught:
        parse(value, "two.yaml")
    assert ExitCode.USAGE == caught.value.exit_code
    assert caught.value.hint
    return caught.value.message


def test_a_cpu_profile_says_how_many_workers():
    """A CPU profile runs as many ranks as it has workers."""
    profile = parse(document(), "two.yaml")

    assert 2 == profile.nproc_per_node
    assert profile.gpus is None


def test_a_gpu_profile_runs_one_rank_a_gpu():
    """A GPU profile runs one rank per GPU, and ``cuda`` is the default device."""
    profile = parse({"name": "four", "gpus": {"count": 4, "model": "H100"}}, "four.yaml")

    assert ("cuda", 4) == (profile.device, profile.nproc_per_node)


def test_unsaid_keys_take_their_defaults():
    """Port and stop ladder have defaults; nothing else is invented."""
    profile = parse(document(), "two.yaml")

    assert 29501 == profile.torchrun.master_port
    assert (60.0, 10.0) == (profile.stop.save_s, profile.stop.terminate_s)
    assert ({}, {}) == (profile.environment, profile.trainers)


def test_a_profile_cannot_be_changed():
    """A parsed profile is a value."""
    profile = parse(document(), "two.yaml")

    with pytest.raises(ValueError, match="frozen"):
        profile.workers = 3


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": "2"}, "workers"),
        ({"workers": True}, "workers"),
        ({"workers": 2.0}, "workers"),
        ({"device": "tpu"}, "device"),
        ({"name": ""}, "name"),
        ({"name": 5}, "name"),
        ({"name": "a/b"}, "name"),
        ({"name": ".."}, "name"),
        ({"name": "two words"}, "name"),
        ({"name": "new\nline"}, "name"),
        ({"name": "n" * 101}, "name"),
        ({"name": "\ud800"}, "name"),
        ({"summary": "\x1b[2J"}, "summary"),
        ({"gpus": {"count": 0}}, "gpus.count"),
        ({"gpus": {"count": 1, "exclude": [-1]}}, "gpus.exclude.0"),
        ({"gpus": {"count": 1, "exclude": [0, "gpu"]}}, "gpus.exclude.1"),
        ({"gpus": {"count": 1, "exclude": [""]}}, "gpus.exclude.0"),
        ({"gpus": {"count": 1, "exclude": [2, 2]}}, "gpus.exclude"),
        ({"gpus": {"count": 1, "exclude": [2, "2"]}}, "gpus.exclude"),
        ({"gpus": {"count": 1, "exclude": ["GPU-1A", "gpu-1a"]}}, "gpus.exclude"),
        ({"gpus": {"count": 1, "model": ""}}, "gpus.model"),
        ({"gpus": {"count": 1, "memory_gib": math.inf}}, "gpus.memory_gib"),
        ({"gpus": {"count": 1, "memory_gib": 0.0}}, "gpus.memory_gib"),
        ({"gpus": {"model": "H100"}}, "gpus.count"),
        ({"gpus": []}, "gpus"),
        ({"torchrun": {"master_port": 65536}}, "torchrun.master_port"),
        ({"torchrun": {"master_port": "29501"}}, "torchrun.master_port"),
        ({"stop": {"save_s": 0}}, "stop.save_s"),
        ({"stop": {"save_s": math.nan}}, "stop.save_s"),
        ({"limits": {"temperature_c": 0}}, "limits.temperature_c"),
        ({"limits": {"memory_headroom": 1.0}}, "limits.memory_headroom"),
        ({"targets": {"utilization_pct": 101}}, "targets.utilization_pct"),
        ({"targets": {"memory_least": 0.9, "memory_most": 0.8}}, "targets.memory_most"),
        ({"targets": {"memory_most": 0.6}}, "targets.memory_most"),
        ({"environment": {"OMP_NUM_THREADS": 8}}, "environment.OMP_NUM_THREADS"),
        ({"environment": {"OMP_NUM_THREADS": True}}, "environment.OMP_NUM_THREADS"),
        ({"environment": {"TWO WORDS": "1"}}, "environment.TWO WORDS"),
        ({"environment": {"A=B": "1"}}, "environment.A=B"),
        ({"environment": {"NUL": "a\0b"}}, "environment.NUL"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "0"}}, "environment.CUDA_VISIBLE_DEVICES"),
        ({"environment": {"LOCAL_RANK": "0"}}, "environment.LOCAL_RANK"),
        ({"environment": {"GPUOPS_RUN_ID": "x"}}, "environment.GPUOPS_RUN_ID"),
        ({"trainers": {"rvq": 3}}, "trainers.rvq"),
        ({"trainers": {"rvq": {"lr": None}}}, "trainers.rvq.lr"),
        ({"trainers": {"rvq": {"lr": math.nan}}}, "trainers.rvq.lr"),
        ({"trainers": {"rvq": {"lr": [0.1, math.inf]}}}, "trainers.rvq.lr"),
        ({"trainers": {"rvq": {"data": "a\0b"}}}, "trainers.rvq.data"),
        ({"trainers": {"rvq": {"l=r": 1}}}, "trainers.rvq.l=r"),
        ({"trainers": {"rvq": {"lr": {"a": 1}}}}, "trainers.rvq.lr"),
        ({"trainers": {"rvq": {"lr": [[1]]}}}, "trainers.rvq.lr"),
    ],
)
def test_every_refusal_names_the_dotted_path(changes, path):
    """A wrong value is refused by the path at which a person finds it in the file."""
    message = refusal(document(**changes))

    assert message.startswith("two.yaml is not a valid profile: ")
    assert f" {path} is " in message or f" {path}." in message
    assert "constrained" not in message
    assert 1 == message.count(path)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"wrokers": 2}, "wrokers is not a key (the nearest is workers)"),
        ({"gpus": {"count": 1, "modle": "x"}}, "gpus.modle is not a key (the nearest is model)"),
        (
            {"torchrun": {"master_prot": 1}},
            "torchrun.master_prot is not a key (the nearest is master_port)",
        ),
        ({"stop": {"save": 1}}, "stop.save is not a key (the nearest is save_s)"),
        ({"zzzzzz": 2}, "zzzzzz is not a key"),
    ],
)
def test_an_unknown_key_is_answered_with_the_nearest(changes, sentence):
    """A key that does not exist is refused, and the nearest that does is offered."""
    assert sentence in refusal(document(**changes))


@pytest.mark.parametrize("value", [None, [], "cpu", 3, [["name", "cpu"]]])
def test_a_document_that_is_no_mapping_is_no_profile(value):
    """Whatever else a YAML file may hold is refused in a sentence."""
    assert "is not a profile: it must be a mapping" in refusal(value)


def test_all_that_is_wrong_is_said_at_once():
    """Two mistakes are two sentences, not two attempts."""
    message = refusal(document(workers=0, torchrun={"master_port": 0}))

    assert "workers" in message
    assert "torchrun.master_port" in message


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"environment": {"OMP_NUM_THREADS": 8}}, "text is wanted: put it in quotes"),
        ({"trainers": {"rvq": {"lr": math.nan}}}, "text, a finite number, true or false"),
        ({"gpus": {"count": 1, "exclude": ["gpu"]}}, "an index or a UUID (GPU-...) is wanted"),
        ({"gpus": {"count": 1, "exclude": [2, 2]}}, "2 is named twice"),
        ({"environment": {"CUDA_VISIBLE_DEVICES": "0"}}, "gpus.exclude leaves GPUs alone"),
        ({"environment": {"MASTER_PORT": "1"}}, "torchrun.master_port sets it"),
        ({"name": "a/b"}, "as in a file"),
        ({"gpus": 3}, "keys and values are wanted"),
    ],
)
def test_a_refusal_says_what_is_wanted(changes, words):
    """In words for people, not in those of a validator."""
    assert words in refusal(document(**changes))


@pytest.mark.parametrize("name", ["7x4090", "host-17", "box_17.lab", "größer"])
def test_a_name_is_one_that_a_file_can_have(name):
    """Letters of any language, digits, and what commonly stands between them."""
    assert name == parse(document(name=name), "x.yaml").name


def test_a_gpu_is_excluded_by_index_or_uuid():
    """As nvidia-smi shows them, and as far as is unique."""
    exclude = [0, "3", "GPU-1a2b3c4d", "gpu-ffff"]

    assert (
        exclude == parse({"name": "a", "gpus": {"count": 1, "exclude": exclude}}, "a").gpus.exclude
    )


def test_what_has_no_meaning_on_the_device_is_refused():
    """GPUs of a CPU profile, or workers of a GPU profile, would be ignored without a word."""
    assert "gpus has no meaning" in refusal(document(gpus={"count": 1}))
    assert "workers has no meaning" in refusal({"name": "a", "gpus": {"count": 1}, "workers": 2})


def test_every_key_says_what_it_means():
    """Completing editors show it, and so does docs/profiles.md."""
    assert {"name", "gpus.exclude", "torchrun.master_port", "limits.temperature_c"} <= set(keys())
    assert all(keys().values())


def test_the_schema_tells_an_editor_the_same():
    """It names the keys, and refuses others."""
    told = schema()

    assert set(Profile.model_fields) == set(told["properties"])
    assert told["additionalProperties"] is False
    assert told["$defs"]["Gpus"]["required"] == ["count"]
    assert json.dumps(told)


def test_a_gpu_profile_without_gpus_is_refused():
    """``device: cuda`` needs ``gpus``."""
    assert "gpus is missing" in refusal({"name": "none"})


def test_a_cpu_profile_without_workers_is_refused():
    """``device: cpu`` needs ``workers``."""
    assert "workers is missing" in refusal({"name": "none", "device": "cpu"})


def test_a_trainers_wishes_keep_their_types():
    """Settings for a trainer arrive as they were written: 1 is no 1.0 and no True."""
    wishes = {"a": 1, "b": 1.0, "c": True, "d": "1", "e": [0.5, 1], "f": ["x"]}

    kept = parse(document(trainers={"rvq": wishes}), "two.yaml").trainers["rvq"]

    assert wishes == kept
    assert {key: type(value) for key, value in wishes.items()} == {
        key: type(value) for key, value in kept.items()
    }


def test_a_huge_value_is_shown_short():
    """A refusal stays a sentence, whatever is in the file."""
    assert 400 > len(refusal(document(workers="9" * 100_000)))


def parsed(value):
    """A profile, or the sentence with which it was refused."""
    try:
        return parse(value, "any.yaml"), ""
    except UsageError as error:
        return None, error.message


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["cpu", "cuda", "name"])
)
names = st.sampled_from([*Profile.model_fields, "count", "exclude", "master_port", "save_s"])
documents = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(names | st.text(max_size=5), inner, max_size=5)
        | st.dictionaries(st.integers() | st.none() | names, inner, max_size=3)
    ),
    max_leaves=12,
)


@settings(max_examples=100)
@given(documents)
def test_any_document_parses_or_is_refused(value):
    """Whatever YAML can hold becomes a profile or one sentence of one line, nothing else."""
    profile, message = parsed(value)

    assert profile is None or 1 <= profile.nproc_per_node
    assert profile is not None or message.startswith("any.yaml is not a")
    assert "\n" not in message


@settings(max_examples=100)
@given(st.sampled_from(list(Profile.model_fields)), documents)
def test_any_value_under_a_known_key_parses_or_is_refused(key, value):
    """One odd value in an otherwise good profile never gets further than parsing."""
    profile, message = parsed(document(**{key: value}))

    assert profile is not None or "any.yaml" in message
    assert profile is None or all(isinstance(v, str) for v in profile.environment.values())
