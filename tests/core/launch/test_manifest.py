"""A trainer's manifest, validated like every file that a person writes."""

from __future__ import annotations

import pytest

from gpuops.core.launch.manifest import parse
from gpuops.errors import UsageError

ANSWERS = {"config": "toy.config"}
MANIFEST = {"name": "toy", "summary": "a toy", "train": "toy.train", "answers": ANSWERS}
VERB = {"module": "toy.sing", "of": "run", "does": "sing"}
CHECKED = {**ANSWERS, "check": "toy.check"}
LAYOUT = {"splits": {}, "sample_files": []}
DATA = {"setting": "data", "about": "<root>/*", "built_in": ["made-up"], "layout": LAYOUT}


def test_a_small_manifest_is_enough():
    """Four keys make a trainer."""
    manifest = parse(MANIFEST, "trainer.yaml")

    assert "toy.train" == manifest.train
    assert manifest.data is None


@pytest.mark.parametrize(
    ("changes", "path"),
    [
        ({"train": None}, "train"),
        ({"trian": "x"}, "trian"),
        ({"data": {**DATA, "about": None}}, "data.about"),
        ({"data": {**DATA, "layout": {"sample_files": []}}}, "data.layout.splits"),
        ({"data": {**DATA, "layout": {**LAYOUT, "splits": {"a": "t"}}}}, "data.layout.splits.a"),
        ({"data": {**DATA, "layout": None}}, "data"),
        ({"data": DATA, "answers": {**ANSWERS, "count": "toy.count"}}, "data"),
        ({"memory_per_worker_gib": 0}, "memory_per_worker_gib"),
        ({"disk_gib": -1}, "disk_gib"),
        ({"verbs": ["evaluate"]}, "verbs"),
        ({"verbs": {"sing": "toy.sing"}}, "verbs.sing"),
        ({"verbs": {"sing": {**VERB, "of": "songs"}}}, "verbs.sing.of.0"),
        ({"verbs": {"sing": {**VERB, "of": []}}}, "verbs.sing.of"),
        ({"verbs": {"--sing": VERB}}, "verbs.--sing.[key]"),
        ({"answers": {}}, "answers.config"),
        ({"answers": {**ANSWERS, "check": ["toy.check"]}}, "answers.check"),
        ({"config": "toy.config"}, "config"),
        ({"batch": {"size": "batch_size"}}, "batch.accumulate"),
        ({"batch": {"size": "b", "accumulate": "a", "total": "t", "step": "s"}}, "batch.step"),
        ({1: 2}, "1"),
    ],
)
def test_a_refusal_names_the_dotted_path(changes, path):
    """Whoever wrote the manifest finds the place."""
    with pytest.raises(UsageError) as caught:
        parse({**MANIFEST, **changes}, "trainer.yaml")

    assert f"trainer.yaml is not a valid trainer manifest: {path}: " in caught.value.message


@pytest.mark.parametrize("document", [None, [], "rvq", 3])
def test_a_document_that_is_no_mapping_is_no_manifest(document):
    """It is not a mapping that lacks keys."""
    with pytest.raises(UsageError, match="must be a mapping"):
        parse(document, "trainer.yaml")


def test_the_settings_of_the_batch_have_names():
    """What a launch on fewer GPUs changes, so that a step stays the same."""
    names = {"size": "batch_size", "accumulate": "passes", "total": "global_batch"}

    batch = parse({**MANIFEST, "batch": names}, "trainer.yaml").batch
    assert {**names, "fill": None} == batch.model_dump()
    assert parse(MANIFEST, "trainer.yaml").batch is None


def test_a_verb_may_be_of_several_things():
    """One subject is a list of one."""
    several = {**VERB, "of": ["run", "settings"]}
    verbs = parse({**MANIFEST, "verbs": {"sing": VERB, "sing-2": several}}, "t").verbs

    assert (("run",), ("run", "settings")) == (verbs["sing"].of, verbs["sing-2"].of)


def test_data_is_counted_by_its_layout_or_by_the_trainer():
    """Never by both."""
    counted = {"answers": {**ANSWERS, "count": "toy.count"}, "data": {**DATA, "layout": None}}

    assert parse({**MANIFEST, **counted}, "t").data.layout is None
    assert parse({**MANIFEST, "data": DATA}, "t").data.layout is not None


@pytest.mark.parametrize(
    ("settings", "worth"),
    [
        ({"resume": "none", "data": "made-up"}, False),
        ({"resume": None, "data": None}, False),
        ({}, False),
        ({"resume": "auto", "data": "made-up"}, True),
        ({"resume": "runs/x"}, True),
        ({"resume": "none", "data": "datasets/mine"}, True),
    ],
)
def test_the_trainers_check_runs_where_it_has_something_to_look_at(settings, worth):
    """A fifth of a second is saved where all is built in and nothing is resumed."""
    manifest = parse({**MANIFEST, "answers": CHECKED, "data": DATA}, "trainer.yaml")
    unchecked = parse({**MANIFEST, "data": DATA}, "trainer.yaml")

    assert worth == manifest.has_to_check(settings)
    assert not unchecked.has_to_check(settings)


def test_a_trainer_without_data_is_checked_for_what_it_resumes():
    """Not every trainer has a data set."""
    manifest = parse({**MANIFEST, "answers": CHECKED}, "trainer.yaml")

    assert manifest.has_to_check({"resume": "auto", "data": "x"})
    assert not manifest.has_to_check({"resume": "none", "data": "x"})


BATCH = {"size": "batch_size", "accumulate": "accumulate", "total": "global_batch"}


@pytest.mark.parametrize(
    ("size", "tail"),
    [
        ("loop.batch_size", "; batch_size is one, without its section."),
        ("loop.size", "."),
    ],
)
def test_a_setting_that_the_trainer_does_not_have_is_named(size, tail):
    """A batch that cannot be kept must not look like one that can."""
    settings = {"data": "x", "batch_size": 8, "accumulate": 1, "global_batch": None}
    good = parse({**MANIFEST, "data": DATA, "batch": BATCH}, "trainer.yaml")
    wrong = parse({**MANIFEST, "data": DATA, "batch": {**BATCH, "size": size}}, "trainer.yaml")

    assert good.unknown_setting(settings) is None
    sentence = f"batch.size: {size} is not a setting that toy.config prints{tail}"
    assert sentence == wrong.unknown_setting(settings)
