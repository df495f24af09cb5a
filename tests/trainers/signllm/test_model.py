"""What the network must do whatever it has learned: gradients, padding, ends."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
import torch
from networks import load, network, only

from trainers.signllm.data import END, NO_GLOSS
from trainers.signllm.model.decoders import AutoregressiveDecoder, Decoded, Memory
from trainers.signllm.model.gloss import read_glosses
from trainers.signllm.model.timing import counters, locate

KINDS = [
    f"--mode {mode} --decoder {decoder} --decoding {decoding}"
    for mode, decoder, decoding in itertools.product(
        ("mlsf", "prompt2langgloss"), ("shared", "per-language"), ("parallel", "autoregressive")
    )
]
ALL = "--loss-rl 0.1 --loss-bone 0.1"


@pytest.mark.parametrize("kind", KINDS)
def test_every_parameter_is_trained(kind):
    """Of batches of one language too: so ranks exchange the same gradients."""
    model, loss, data = network(f"{kind} {ALL}")
    for rows in ((0, 1, 2, 3), (0, 2)):
        model.zero_grad()
        batch = load(data, *rows)
        loss(model(batch), batch)["loss"].backward()
        assert [n for n, p in model.named_parameters() if p.grad is None] == []

        idle = {n for n, p in model.named_parameters() if not p.grad.any()}
        unused = {"text.embedding.weight"} | {n for n in idle if "attn.in_proj_bias" in n}
        if rows == (0, 1, 2, 3):
            assert idle <= unused


def test_poses_alone_train_the_text_encoder_through_the_glosses():
    """Without any gloss known, straight through the draw."""
    model, loss, data = network("--mode prompt2langgloss --loss-length 0 --loss-gloss 0")
    batch = load(data, 0, 1)
    batch = only(batch, gloss=torch.full_like(batch.gloss, NO_GLOSS))
    loss(model(batch), batch)["loss"].backward()

    assert model.text.embedding.weight.grad.abs().sum() > 0
    assert model.gloss.logits.weight.grad.abs().sum() > 0


def test_a_gloss_that_is_known_is_what_the_poses_are_made_of():
    """Whatever the network would have drawn; one that is not known is drawn."""
    model, _, data = network("--mode prompt2langgloss")
    batch = load(data, 1)
    poses = model.eval()(batch).poses
    with torch.no_grad():
        model.gloss.logits.bias.copy_(torch.eye(7)[1] * 9)
    assert torch.allclose(model(batch).poses, poses, atol=1e-5)
    unknown = only(batch, gloss=torch.full_like(batch.gloss, NO_GLOSS))
    assert not torch.allclose(model(unknown).poses, poses, atol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_padding_and_order_change_nothing(kind):
    """A sentence alone, and as the third of four that are longer."""
    model, _, data = network(kind)
    model.eval()
    alone, together = model(load(data, 2)), model(load(data, 1, 0, 2, 3))

    frames = 6
    assert torch.allclose(alone.poses[0], together.poses[2, :frames], atol=1e-5)
    assert torch.allclose(alone.quality[0], together.quality[2, :frames], atol=1e-5)
    assert torch.allclose(alone.log_frames[0], together.log_frames[2], atol=1e-5)
    if alone.gloss is not None:
        assert torch.allclose(alone.gloss[0], together.gloss[2], atol=1e-5)


def test_what_is_generated_does_not_depend_on_its_company():
    """Nor on padding of the texts beside it."""
    for kind in KINDS:
        model, _, data = network(f"{kind} --max-frames 20")
        model.eval()
        alone = model.generate(load(data, 2).prompts)
        together = model.generate(load(data, 1, 0, 2).prompts)
        count = int(alone.frames[0])
        assert count == together.frames[2]
        assert torch.allclose(alone.poses[0], together.poses[2, :count], atol=1e-5)


def test_lengths_can_be_given():
    """And are what comes out."""
    for decoding in ("parallel", "autoregressive"):
        model, _, data = network(f"--decoding {decoding}")
        made = model.eval().generate(load(data, 0, 1).prompts, torch.tensor([5, 8]))
        assert made.frames.tolist() == [5, 8]
        assert made.poses.shape == (2, 8, 150)


def test_a_language_matters():
    """The same text in two languages gives two poses."""
    model, _, data = network()
    texts = data.prompts(["hello", "hello"], [0, 1])
    first, second = model.eval().generate(texts, torch.tensor([9, 9])).poses
    assert not torch.allclose(first, second, atol=1e-3)


def test_the_counter_ends_generation():
    """Each sentence where its own counter reaches 1, not where the longest does."""
    lengths = torch.tensor([7, 3])

    class Counting(AutoregressiveDecoder):
        def _decode(self, _memory, before, _counter):
            count = before.shape[1]
            progress = torch.arange(count) / (lengths[:, None] - 1)
            poses = torch.zeros(2, count, 150)
            return Decoded(poses=poses, quality=poses[..., 0], counter=progress.clamp_max(1))

    _, _, data = network()
    decoder = Counting(data.config.model, 1)
    memory = Memory(
        states=torch.zeros(2, 1, 16),
        mask=torch.ones(2, 1, dtype=torch.bool),
        language=torch.zeros(2, dtype=torch.long),
        languages=(0, 0),
        embedded=torch.zeros(2, 16),
        durations=torch.ones(2, 1),
    )
    poses, ends = decoder.generate(memory, lengths, 50)
    assert ends.tolist() == [7, 3]
    assert poses.shape[1] == 7
    assert decoder.generate(memory, lengths, 5)[1].tolist() == [5, 3]


def test_autoregression_sees_no_frame_ahead():
    """Poses up to a frame do not change with the frames behind it."""
    model, _, data = network("--decoding autoregressive --input-noise 0 --input-drop 0")
    batch = load(data, 1)
    changed = batch.poses.clone()
    changed[:, 8:] += 1
    before, after = model.eval()(batch).poses, model(only(batch, poses=changed)).poses
    assert torch.equal(before[:, :9], after[:, :9])
    assert not torch.allclose(before[:, 9:], after[:, 9:])


def test_counters_go_from_0_to_1():
    """For every length, one frame included."""
    found = counters(torch.tensor([5, 2, 1]), 5)
    assert found[0].tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert found[1, :2].tolist() == [0, 1]
    assert found[2, 0] == 0


def test_glosses_are_read_up_to_the_end():
    """And all of them if there is none."""
    logits = torch.zeros(2, 3, 4)
    for row, numbers in enumerate(((2, 1, END), (3, 3, 3))):
        for slot, number in enumerate(numbers):
            logits[row, slot, number] = 1
    assert read_glosses(logits, ("A", "B", "C")) == [("B", "A"), ("C", "C", "C")]


def test_recomputed_activations_give_the_same_gradients():
    """With --gradient-checkpointing."""
    grads = []
    for flag in ("", "--gradient-checkpointing"):
        model, loss, data = network(f"--dropout 0.1 {flag}")
        batch = load(data, 0, 1)
        torch.manual_seed(3)
        loss(model.train()(batch), batch)["loss"].backward()
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.equal(*grads)


def test_weights_fit_a_fresh_model():
    """No part is made while it runs."""
    for kind in KINDS:
        model, _, data = network(kind)
        model(load(data, 0, 1))
        fresh, _, _ = network(kind)
        fresh.load_state_dict(model.state_dict(), strict=True)


def test_a_text_encoder_that_is_not_there_is_a_sentence():
    """It says how to bring it; nothing is downloaded."""
    from trainers.engine.errors import TrainerError
    from trainers.signllm.model.text import build_text_encoder, tokenizer

    _, _, data = network()
    config = replace(data.config.text, text_encoder="bert-base-multilingual-cased")
    for build in (tokenizer, lambda text: build_text_encoder(text, data.config.model)):
        with pytest.raises(TrainerError, match="no folder bert-base") as error:
            build(config)
        assert "hf download" in error.value.hint
        assert "--text-encoder bytes" in error.value.hint


def test_a_frame_knows_its_token():
    """In the middle of a token it is the only one, half over; the unit of time is any."""
    durations = torch.tensor([[3.0, 1.0, 2.0, 0.0]])
    for scale in (1, 0.01):
        weights, over = locate(scale * durations, durations > 0, torch.tensor([60]), 60)
        assert weights[0, [14, 34, 49]].argmax(-1).tolist() == [0, 1, 2]
        assert (weights[0, [14, 34, 49]].max(-1).values > 0.99).all()
        assert torch.allclose(over[0, [14, 34, 49]], torch.tensor(0.5), atol=0.06)
        assert torch.allclose(weights.sum(-1), torch.ones(1, 60))
        assert not weights[..., 3].any()
        assert torch.allclose(over[0, :10], (torch.arange(10) + 0.5) / 30, atol=0.01)
