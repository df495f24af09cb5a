"""The autoencoder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from motion_data import ALONE, SMALL, small_model

from trainers.rvq.config import ModelConfig, QuantizerConfig
from trainers.rvq.model import RVQVAE


def trained(features=12, **changes):
    """A small model whose codebooks know the data, in evaluation mode."""
    model = small_model(features, **changes)
    for _ in range(3):
        model(torch.randn(8, 16, features))
        model.quantizer.update_(ALONE)
    return model.eval()


def test_sizes_are_those_of_the_published_model():
    """8.83 M parameters in the encoder, 9.10 M in the decoder; codebooks are buffers."""
    model = RVQVAE(156, ModelConfig(), QuantizerConfig())
    count = {
        name: sum(p.numel() for p in part.parameters()) for name, part in model.named_children()
    }
    assert round(count["encoder"] / 1e6, 2) == 8.83
    assert round(count["decoder"] / 1e6, 2) == 9.10
    assert count["quantizer"] == 0
    # The published 18.03 M are these and 0.099 M of the projections that we do without.
    assert round((sum(count.values()) + 6 * (128 * 128 + 128)) / 1e6, 2) == 18.03
    assert model.quantizer.codebooks.numel() == 6 * 1024 * 128


@pytest.mark.parametrize("down_t", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 7, 16, 33])
def test_clips_of_any_length_pass(down_t, length):
    """The output has the input's length; tokens are ceil(T / 2**down_t)."""
    model = trained(model=replace(SMALL, down_t=down_t))
    x = torch.randn(2, length, 12)
    result = model(x)
    assert result.output.shape == x.shape
    assert result.quantized.codes.shape[1] == -(-length // 2**down_t)


@pytest.mark.parametrize("length", [16, 13])
def test_decoding_the_codes_is_the_forward_pass(length):
    """decode(encode(x)) == forward(x), to the bit."""
    model = trained()
    x = torch.randn(3, length, 12)
    with torch.no_grad():
        decoded = model.decode(model.encode(x), length)
        assert torch.equal(decoded, model.denormalise(model(x).output))


def test_masked_equals_cropped():
    """A clip padded in its batch gives what it gives on its own, whatever the padding holds."""
    model = trained()
    lengths = [16, 9, 4, 1]
    x = torch.randn(4, 16, 12)
    mask = torch.arange(16) < torch.tensor(lengths)[:, None]
    spoilt = torch.where(mask[..., None], x, torch.full_like(x, 50.0))
    with torch.no_grad():
        batch = model(spoilt, mask)
        codes = model.encode(spoilt, mask)
        decoded = model.decode(codes, 16)
        for row, length in enumerate(lengths):
            alone = model(x[row : row + 1, :length])
            tokens = -(-length // 4)
            assert torch.equal(codes[row, :tokens], alone.quantized.codes[0])
            assert (codes[row, tokens:] == -1).all()
            found = batch.output[row, :length]
            torch.testing.assert_close(found, alone.output[0], atol=1e-5, rtol=1e-5)
            torch.testing.assert_close(decoded[row, :length], found, atol=1e-5, rtol=1e-5)


def test_masked_gradients_equal_cropped():
    """What is not there teaches nothing."""
    model = trained().train()
    model.quantizer.eval()
    x = torch.randn(1, 16, 12)
    mask = torch.arange(16)[None] < 8

    def gradients(*inputs):
        model.zero_grad()
        model(*inputs).output[:, :8].square().sum().backward()
        return [p.grad.clone() for p in model.parameters()]

    for masked, cropped in zip(gradients(x, mask), gradients(x[:, :8]), strict=True):
        torch.testing.assert_close(masked, cropped, atol=1e-4, rtol=1e-4)


def test_gradient_checkpointing_saves_activations_and_changes_nothing():
    """The same gradients from fewer tensors kept for the backward pass."""
    x = torch.randn(2, 16, 12)
    kept, gradients = [], []
    for recompute in (False, True):
        torch.manual_seed(4)
        model = small_model(model=replace(SMALL, dropout=0.3))
        if recompute:
            model.use_gradient_checkpointing()
        bytes_kept = 0

        def count(tensor):
            nonlocal bytes_kept
            bytes_kept += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            torch.manual_seed(5)
            loss = model(x).output.square().mean()
        loss.backward()
        kept.append(bytes_kept)
        gradients.append([p.grad for p in model.parameters()])
    assert kept[1] < 0.7 * kept[0]
    for plain, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, recomputed)


def test_the_statistics_are_part_of_the_model():
    """Features of the data go in and come out; the network sees them normalised."""
    model = trained()
    model.mean.fill_(3.0)
    model.std.fill_(2.0)
    x = torch.randn(1, 8, 12)
    assert torch.equal(model(x).target, (x - 3) / 2)
    torch.testing.assert_close(model.denormalise(model.normalise(x)), x)
    assert {"mean", "std", "quantizer.codebooks"} <= set(model.state_dict())


def test_every_parameter_gets_a_gradient():
    """Also where the quantizer drops layers, so that no rank ever waits for one."""
    model = small_model(quantize_dropout_prob=1.0)
    for _ in range(3):
        model.zero_grad()
        result = model(torch.randn(4, 16, 12))
        (result.output.square().mean() + result.quantized.commitment).backward()
        assert all(p.grad is not None for p in model.parameters())
        model.quantizer.update_(ALONE)
