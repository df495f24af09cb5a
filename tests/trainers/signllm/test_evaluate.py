"""What `gpuops evaluate` prints and writes of a run of signllm."""

from __future__ import annotations

import json
import sys
from contextlib import contextmanager
from dataclasses import replace

import pytest
from motion_data import ALONE

from trainers.engine.checkpoint import checkpoint
from trainers.engine.config.config import from_dict
from trainers.engine.errors import TrainerError
from trainers.engine.prepare import prepare, session
from trainers.signllm import evaluate as module
from trainers.signllm.config import Config
from trainers.signllm.data import SignData, Vocabulary, statistics_of
from trainers.signllm.metrics import recogniser
from trainers.signllm.model.model import SignModel
from trainers.signllm.model.text import tokenizer
from trainers.signllm.sentences.reading import open_corpus


@pytest.fixture(name="run", scope="module")
def _run(tmp_path_factory):
    """A run that has learned nothing, on a few of the built-in sentences."""
    folder = tmp_path_factory.mktemp("run")
    sections = {
        "run": {"out_dir": str(folder)},
        "dataset": {"data": "synthetic", "max_samples": 9},
        "model": {
            "mode": "prompt2langgloss",
            "width": 16,
            "heads": 2,
            "layers": 1,
            "gloss_layers": 1,
            "gloss_slots": 8,
        },
        "text": {"text_layers": 1},
        "loop": {"total_iter": 1},
    }
    config = from_dict(Config, sections, name="signllm", origin="the test")
    corpus = open_corpus(config.dataset, "train")
    vocabulary = Vocabulary(languages=corpus.languages, glosses=corpus.glosses)
    statistics = statistics_of(corpus, 0.1)
    data = SignData(corpus, config, vocabulary, statistics, tokenizer(config.text))
    model = SignModel(config, vocabulary, statistics)
    with session(config, "signllm") as (world, outputs):
        outputs.attach("vocabulary.json", vocabulary.to_dict())
        outputs.attach("statistics.json", statistics.to_dict())
        outputs.attach("data.json", {"train": corpus.describe()})
        state, _ = prepare(model, config, world, lengths=data.frames, load=data.load)
        checkpoint.save(state, outputs, world, keep=1, metrics={}, kept=False)
        return outputs.folder


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch):
    monkeypatch.setattr(recogniser, "LEAST_STEPS", 2)
    monkeypatch.setattr(recogniser, "PASSES", 1)


def test_dtw_stands_beside_motion_and_read_back(run, capsys):
    """In one table with the truth, the nearest training sentence and the mean pose."""
    assert module.main(["--checkpoint", str(run)]) == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    for column in ("generated", "truth", "nearest training", "mean pose"):
        assert column in printed
    for row in ("DTW per value", "motion", "read back", "found among 40", "language named"):
        assert any(line.startswith(row) for line in lines), row
    assert "by language" in printed
    assert "BLEU-1" in printed

    found = json.loads((run / "evaluation.json").read_text())
    assert found["beside"]["truth"]["dtw"] == pytest.approx(0, abs=1e-6)
    assert found["beside"]["truth"]["motion"] == pytest.approx(1)
    assert found["beside"]["mean pose"]["motion"] == 0
    assert found["beside"]["mean pose"]["length_error"] == 0
    assert found["beside"]["nearest training sentence"]["dtw"] > 0
    assert set(found["readings"]) == {"generated", *found["beside"]}
    assert found["readings"]["truth"]["retrieval"] == 1
    assert sum(one["sentences"] for one in found["languages"].values()) == found["sentences"]
    for one in found["languages"].values():
        assert set(one["readings"]) == {"generated", "truth"}
        assert 0 <= one["glosses"]["wer"]
    assert found["summary"]["gloss_wer"] == pytest.approx(found["glosses"]["wer"])


def test_a_second_evaluation_does_not_train_a_recogniser_again(run, capsys, monkeypatch):
    """It reads the run's own, and the same in it; also on another split."""
    first = module.evaluate(run)

    def fail(*_given):
        pytest.fail("trained again")

    monkeypatch.setattr(module, "train_recogniser", fail)
    assert module.evaluate(run).readings == first.readings
    assert module.main(["--checkpoint", str(run), "--split", "train", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "train"
    assert found["beside"]["nearest training sentence"]["dtw"] > 0  # not the sentence itself


def test_the_recogniser_can_be_left_out(run, capsys, monkeypatch):
    """Then nothing of it is reported, and all else is."""
    monkeypatch.setattr(module, "train_recogniser", None)
    monkeypatch.setattr(module, "load_recogniser", None)
    assert module.main(["--checkpoint", str(run), "--no-recogniser"]) == 0
    printed = capsys.readouterr().out
    assert "read back" not in printed
    assert "motion" in printed
    assert json.loads((run / "evaluation.json").read_text())["readings"] == {}


def test_without_its_training_sentences_it_says_what_is_missing(run, monkeypatch):
    """No nearest sentence; the recogniser is the one in the run's folder."""
    module.evaluate(run)

    def gone(*_given):
        raise TrainerError("there is no data set at /gone")

    monkeypatch.setattr(module, "open_corpus", gone)
    found = module.evaluate(run)
    assert "nearest training sentence" not in found.beside
    assert "/gone" in found.notes[0]
    assert found.readings
    (run / "recogniser.json").unlink()
    assert module.evaluate(run).readings == {}


def test_without_sacrebleu_it_says_how_to_get_it(run, capsys, monkeypatch):
    """The word error rate is there all the same."""
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics.bleu", None)
    module.main(["--checkpoint", str(run), "--no-recogniser"])
    printed = capsys.readouterr().out
    assert "pip install 'gpuops[text]'" in printed
    assert "WER" in printed


def test_several_ranks_are_refused(run, monkeypatch):
    """Each would hold a part of what was generated."""

    @contextmanager
    def two():
        yield replace(ALONE, world_size=2)

    monkeypatch.setattr(module.distributed, "world", two)
    with pytest.raises(TrainerError, match="one rank"):
        module.evaluate(run)
