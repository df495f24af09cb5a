"""The layout of a run's folder: what is spelled can be read back."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpuops.core.run import paths

ATTEMPTS = st.integers(1, 10**8)


@given(st.sampled_from(["/data/runs/r", "/state/attempt-7/beats/r", "/a b\n/ü"]), ATTEMPTS)
def test_a_run_and_its_attempt_can_be_read_from_the_folder_of_beats(root, attempt):
    assert (root, attempt) == paths.parse_beats(f"{root}/{paths.beats(attempt)}")


def test_other_folders_of_beats_belong_to_no_run():
    odd = ["", "/beats", "/runs/r/state/attempt-x/beats", "/runs/r/state/attempt-1", "state/beats"]

    assert not any(map(paths.parse_beats, odd))


@given(ATTEMPTS, st.sampled_from(["suspected", "hung", "crashed"]))
def test_a_diagnosis_is_known_by_its_name(attempt, what):
    folder, _, name = paths.diagnosis(attempt, what).partition("/")

    assert paths.DIAGNOSES == folder
    assert (attempt, what) == paths.parse_diagnosis(name)


def test_other_files_are_not_diagnoses():
    odd = ["attempt-1-hung.md", "attempt--hung.json", "attempt-1.json", ".attempt-1-hung.json"]

    assert not any(map(paths.parse_diagnosis, odd))
