"""A text encoder of transformers, from a folder that the user brought."""

from __future__ import annotations

import pytest
import torch
from networks import load, network, settings
from sign_data import write_parallel

from trainers.engine.errors import TrainerError
from trainers.signllm import trained
from trainers.signllm.model.text import tokenizer
from trainers.signllm.train import train

WORDS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "hello", "guten", "tag", "good", "day")


@pytest.fixture(name="folder", scope="module")
def _folder(tmp_path_factory):
    """A BERT of one layer that knows five words."""
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    size = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = transformers.BertConfig(vocab_size=len(WORDS), hidden_size=32, **size)
    transformers.BertModel(config).save_pretrained(folder)
    transformers.BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


def test_its_tokens_are_those_of_its_own_tokenizer(folder):
    """No more of them than the settings allow."""
    tokenize = tokenizer(settings(f"--text-encoder {folder} --max-length 4").text)
    assert tokenize("Hello") == [2, 5, 3]
    assert tokenize("guten tag good day") == [2, 6, 7, 3]


def test_it_learns_and_its_padding_changes_nothing(folder):
    """Each of its parameters that the text reaches; a sentence alone is as it is among others."""
    model, loss, data = network(f"--text-encoder {folder}")
    batch = load(data, 0, 1, 2, 3)
    loss(model(batch), batch)["loss"].backward()
    assert all(
        p.grad is not None for name, p in model.text.named_parameters() if "pool" not in name
    )

    model.eval()
    alone, together = model(load(data, 2)), model(load(data, 1, 0, 2))
    assert torch.allclose(alone.poses[0], together.poses[2, :6], atol=1e-5)


@pytest.mark.parametrize("ratio", [0.1, 0])
def test_it_is_trained_at_a_rate_of_its_own(folder, tmp_path, ratio):
    """With 0 it stays as it is, and then no checkpoint holds it."""
    from transformers import AutoModel

    for split in ("train", "dev"):
        write_parallel(tmp_path / "data", split)
    rate, steps = 1e-2, 2
    config = settings(
        f"--data {tmp_path / 'data'} --out-dir {tmp_path / 'run'} --text-encoder {folder} "
        f"--text-lr-ratio {ratio} --lr {rate} --warmup-iter 0 --schedule constant --batch-size 2 "
        f"--total-iter {steps} --eval-iter {steps} --save-iter {steps}"
    )
    assert train(config) == 0

    before = AutoModel.from_pretrained(folder).state_dict()
    after = trained.load(tmp_path / "run").model.text.pretrained.state_dict()
    moved = [float((after[name] - before[name]).abs().max()) for name in after]
    if ratio:
        assert ratio * rate / 2 < max(moved) < ratio * rate * steps * 1.1
    else:
        assert moved == []


def test_a_folder_without_a_model_is_a_sentence(folder, tmp_path):
    """And one that is not there never becomes a download."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(TrainerError, match="holds no model of transformers"):
        network(f"--text-encoder {tmp_path / 'empty'}")
    with pytest.raises(TrainerError, match="none is downloaded"):
        network(f"--text-encoder {folder}-of-another")
