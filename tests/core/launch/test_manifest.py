"""A trainer's manifest, validated like every file that a person writes."""

from __future__ import annotations

import pytest

from gpuops.core.launch.manifest import parse
from gpuops.errors import UsageError

MANIFEST = {"name": "toy", "summary": "a toy", "train": "toy.train", "config": "toy.config"}


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
        ({"data": {"setting": "data"}}, "data.splits"),
        ({"data": {"setting": "data", "splits": {"train": "t"}}}, "data.splits.train"),
        ({"memory_per_worker_gib": 0}, "memory_per_worker_gib"),
        ({"disk_gib": -1}, "disk_gib"),
        ({"verbs": ["evaluate"]}, "verbs"),
        ({"check": ["toy.check"]}, "check"),
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

    assert names == parse({**MANIFEST, "batch": names}, "trainer.yaml").batch.model_dump()
    assert parse(MANIFEST, "trainer.yaml").batch is None


DATA = {"setting": "data", "built_in": ["made-up"], "splits": {}, "sample_files": []}


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
    manifest = parse({**MANIFEST, "check": "toy.check", "data": DATA}, "trainer.yaml")
    unchecked = parse({**MANIFEST, "data": DATA}, "trainer.yaml")

    assert worth == manifest.worth_checking(settings)
    assert not unchecked.worth_checking(settings)


def test_a_trainer_without_data_is_checked_for_what_it_resumes():
    """Not every trainer has a data set."""
    manifest = parse({**MANIFEST, "check": "toy.check"}, "trainer.yaml")

    assert manifest.worth_checking({"resume": "auto", "data": "x"})
    assert not manifest.worth_checking({"resume": "none", "data": "x"})
