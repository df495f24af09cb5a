"""The import of text files of ProgressiveTransformers, and of folders with JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
from sign_data import TEXTS, poses, write_folder, write_parallel

from trainers.engine.errors import TrainerError
from trainers.signllm.config import DatasetConfig
from trainers.signllm.importers.skels import import_skels, main
from trainers.signllm.sentences.reading import open_corpus


def test_the_guides_conversion(tmp_path, capsys):
    """Its flags in either spelling; what comes out is read as it was."""
    for split in ("train", "dev"):
        write_parallel(tmp_path / "src", split)

    command = [str(tmp_path / "src"), "--out", str(tmp_path / "out"), "--language", "ASL"]
    main([*command, "--splits", "dev", "--max_samples", "2", "--json"])

    told = json.loads(capsys.readouterr().out)
    assert (told["clips"], told["languages"], told["with_gloss"]) == ({"dev": 2}, {"ASL": 2}, 2)
    corpus = open_corpus(DatasetConfig(data=str(tmp_path / "out")), "val")
    assert [one.text for one in corpus.sentences] == sorted([TEXTS[0], TEXTS[1]], reverse=True)
    assert corpus.sentences[0].gloss == ("WEATHER", "FINE")
    np.testing.assert_allclose(corpus.poses(0), poses(4, 4), atol=1e-5)


def test_joints_that_were_not_seen_become_nan(tmp_path):
    """Files of keypoints write them as 0; the public converter's folders are read too."""
    values = poses(4)
    values[2, 87:] = 0
    write_folder(tmp_path / "src" / "ASL" / "dev" / "a/b".replace("/", "_"), values, as_json=True)

    summary = import_skels(tmp_path / "src", tmp_path / "out")

    stored = np.load(tmp_path / "out/ASL/dev/a_b/pose.npy")
    assert (stored.shape, stored.dtype) == ((4, 150), np.float32)
    assert np.isnan(stored[2, 87:]).all()
    assert np.isfinite(stored).sum() == 600 - 63
    assert summary.seen == pytest.approx(1 - 63 / 600, abs=1e-4)
    assert (tmp_path / "out/ASL/dev/a_b/text.txt").read_text() == "a text\n"


def test_a_bad_line_stops_the_import_or_is_skipped(tmp_path):
    """It is named; nothing is written unless bad lines may be left out."""
    write_parallel(tmp_path / "src", "dev")
    (tmp_path / "src" / "dev.text").write_text("one\n \nthree\n")

    with pytest.raises(TrainerError, match=r"dev\.text line 2: the text is empty"):
        import_skels(tmp_path / "src", tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["src"]

    summary = import_skels(tmp_path / "src", tmp_path / "out", skip_bad=True)
    assert (summary.clips, len(summary.skipped)) == ({"dev": 2}, 1)


@pytest.mark.parametrize("name", ["..", "dev/.", "../../../escaped"])
def test_names_do_not_lead_out_of_the_folder(tmp_path, name):
    """A name is one folder, whatever it holds."""
    write_parallel(tmp_path / "src", "dev", frames=(4, 4, 4))
    (tmp_path / "src" / "dev.files").write_text(f"one\n{name}\nthree")

    summary = import_skels(tmp_path / "src", tmp_path / "out", skip_bad=True)

    written = sorted(path.name for path in (tmp_path / "out" / "unknown" / "dev").iterdir())
    assert written in (["one", "three"], ["__..__..__escaped", "one", "three"])
    assert sum(summary.clips.values()) == len(written)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "src"]


@pytest.mark.parametrize("name", ["a\0b", "a\x1b[31m", "\u202ea", "n" * 300])
def test_names_that_no_folder_should_have(tmp_path, name):
    """The sentence is named, and the others can be imported; the same holds for languages."""
    write_parallel(tmp_path / "src", "dev", frames=(4, 4, 4))
    (tmp_path / "src" / "dev.files").write_text(f"{name}\ntwo\nthree\n")

    with pytest.raises(TrainerError, match=r"dev\.skels line 1: its name .* cannot be the name of"):
        import_skels(tmp_path / "src", tmp_path / "out")
    assert import_skels(tmp_path / "src", tmp_path / "out", skip_bad=True).clips == {"dev": 2}
    for language in (name, ".hidden", "..", "a/b", ""):
        with pytest.raises(TrainerError, match=r"its language .* cannot be the name of a folder"):
            import_skels(tmp_path / "src", tmp_path / "other", language=language)


def test_what_cannot_be_imported(tmp_path):
    """A split that is not there, none at all, nothing that can be used."""
    write_parallel(tmp_path / "src", "dev")
    with pytest.raises(TrainerError, match="has no split test; it has: dev"):
        import_skels(tmp_path / "src", tmp_path / "out", splits=["dev", "test"])
    with pytest.raises(TrainerError, match="--max-samples 0 leaves nothing"):
        import_skels(tmp_path / "src", tmp_path / "out", max_samples=0)
    (tmp_path / "src" / "dev.text").write_bytes(b"\xff\n\xff\n\xff\n")
    with pytest.raises(TrainerError, match="no sentence could be imported"):
        import_skels(tmp_path / "src", tmp_path / "out", skip_bad=True)
