"""A trainer's manifest, validated like every file that a person writes."""

from __future__ import annotations

import pytest

from gpuops.core.trainer import parse
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
