"""The residual quantizer on one rank."""

from __future__ import annotations

import pytest
import torch
from allocated import peak_bytes
from motion_data import ALONE

from trainers.rvq.quantizer import DROPPED, ResidualQuantizer


def quantizer(**changes):
    sizes = {"num_quantizers": 3, "nb_code": 8, "code_dim": 4, "seed": 5}
    return ResidualQuantizer(**{**sizes, **changes})


def learnt(latents, steps=3, **changes):
    """A quantizer that has seen the latents."""
    found = quantizer(**changes)
    for _ in range(steps):
        found(latents)
        found.update_(ALONE)
    return found


def test_codes_are_the_nearest_layer_by_layer():
    """Each layer takes the nearest code to what the ones before it left."""
    x = torch.randn(2, 5, 4)
    found = learnt(x).eval()
    result = found(x)

    for b in range(2):
        for n in range(5):
            residual = x[b, n]
            for layer, codebook in enumerate(found.codebooks):
                nearest = (codebook - residual).norm(dim=-1).argmin()
                assert result.codes[b, n, layer] == nearest
                residual = residual - codebook[nearest]
    torch.testing.assert_close(found.decode(result.codes), result.latents, rtol=0, atol=0)


def test_gradients_pass_straight_through_and_commit_pulls():
    """The output hands its gradient on unchanged; the commitment's is 2 (x - codes) / values."""
    x = torch.randn(2, 5, 4, requires_grad=True)
    found = learnt(x.detach(), num_quantizers=1)
    result = found(x)

    weight = torch.randn_like(x)
    (direct,) = torch.autograd.grad((result.latents * weight).sum(), x, retain_graph=True)
    torch.testing.assert_close(direct, weight)
    (pull,) = torch.autograd.grad(result.commitment, x)
    torch.testing.assert_close(pull, 2 * (x - result.latents).detach() / x.numel())


def test_moving_averages_agree_with_a_plain_float64_reference():
    """n = mu n + (1 - mu) uses; s = mu s + (1 - mu) sum; c = s / n, over many steps."""
    torch.manual_seed(1)
    found = quantizer(mu=0.9, num_quantizers=2)
    first = torch.randn(6, 20, 4)
    found(first)
    found.update_(ALONE)
    codes = found.codebooks.double().clone()
    sums, counts = codes.clone(), torch.ones(2, 8, dtype=torch.float64)
    for _ in range(5):
        x = torch.randn(6, 20, 4)
        found(x)
        found.update_(ALONE)
        residual = x.double().reshape(-1, 4)
        for layer in range(2):
            nearest = torch.cdist(residual, codes[layer]).argmin(-1)
            uses = torch.zeros(8, dtype=torch.float64)
            total = torch.zeros(8, 4, dtype=torch.float64)
            for row, k in zip(residual, nearest.tolist(), strict=True):
                uses[k] += 1
                total[k] += row
            residual = residual - codes[layer][nearest]
            counts[layer] = 0.9 * counts[layer] + 0.1 * uses
            sums[layer] = 0.9 * sums[layer] + 0.1 * total
        assert (counts > 1).all(), "no code may die in this test"
        codes = sums / counts[..., None]
        torch.testing.assert_close(found.codebooks.double(), codes, rtol=1e-5, atol=1e-6)


def test_the_first_batch_passes_and_sets_the_codes():
    """Before there are codes, training passes latents on; then every layer codes what is left."""
    x = torch.randn(8, 16, 4)
    found = quantizer()
    result = found(x)
    assert torch.equal(result.latents, x)
    assert (result.codes == DROPPED).all()
    assert not found.initialised

    found.update_(ALONE)

    assert found.initialised
    errors = []
    for layers in (1, 2, 3):
        codes = found.eval()(x).codes.clone()
        codes[..., layers:] = DROPPED
        errors.append((found.decode(codes) - x).square().mean())
    assert x.square().mean() > errors[0] > errors[1] > errors[2]


def test_a_small_first_batch_leaves_something_to_every_layer():
    """Fewer latents than codes do not make the deeper codebooks start at nothing."""
    x = torch.randn(1, 5, 4)
    found = quantizer(nb_code=64)
    found(x)
    found.update_(ALONE)
    sizes = found.codebooks.norm(dim=-1).mean(-1)
    assert sizes[1] > 0.02 * sizes[0]
    assert sizes[2] > 0.02 * sizes[1]


def test_dead_codes_start_again_from_the_data():
    """A code that nothing takes moves to a latent of the batch, sums and counts with it."""
    x = torch.randn(4, 16, 4)
    found = learnt(x, num_quantizers=1)
    found.counts[0, 2] = 1e-3
    found.codebooks[0, 2] = 1e3
    found(x)
    found.update_(ALONE)

    distance = (x.reshape(-1, 4) - found.codebooks[0, 2]).norm(dim=-1).min()
    assert distance < 1e-4
    torch.testing.assert_close(found.counts[0, 2], found.counts[0].mean(), rtol=0.2, atol=0)
    torch.testing.assert_close(found.sums[0, 2] / found.counts[0, 2], found.codebooks[0, 2])


def test_most_codes_stay_alive_when_the_batch_is_small():
    """With fewer latents a step than codes, codes still live long enough to be learnt."""
    torch.manual_seed(2)
    found = quantizer(nb_code=64, num_quantizers=1, mu=0.95)
    for _ in range(60):
        before = found.codebooks.clone()
        found(torch.randn(1, 16, 4))
        found.update_(ALONE)
    moved = (found.codebooks - before).norm(dim=-1) > 0.5
    assert moved.float().mean() < 0.2


def test_masked_tokens_count_nowhere():
    """Not in codes, commitment or perplexity, and not in what is learnt."""
    x = torch.randn(3, 6, 4)
    mask = torch.arange(6) < torch.tensor([6, 2, 4])[:, None]
    spoilt = torch.where(mask[..., None], x, torch.full_like(x, 1e4))
    flat = x[mask][None]
    whole, masked = learnt(flat), learnt(flat)
    for step in range(4):
        one, other = whole(flat), masked(spoilt, mask)
        torch.testing.assert_close(other.latents[mask], one.latents[0])
        torch.testing.assert_close(other.commitment, one.commitment)
        torch.testing.assert_close(other.perplexity, one.perplexity)
        assert (other.latents[~mask] == 0).all()
        assert (other.codes[~mask] == DROPPED).all()
        if step < 3:
            whole._collected.last = masked._collected.last = (spoilt, other.codes)
            whole.update_(ALONE)
            masked.update_(ALONE)
            assert masked.codebooks.abs().max() < 1e3
    torch.testing.assert_close(masked.sums, whole.sums)


def test_dropout_draws_every_depth_and_learns_only_what_was_used():
    """Depths come from (seed, step); layers that were dropped keep their averages."""
    x = torch.randn(4, 16, 4)
    found = learnt(x, dropout=0.9)
    depths = set()
    for _ in range(60):
        layers = found.active_layers()
        assert layers == found.active_layers()
        depths.add(layers)
        before = found.counts.clone()
        result = found(x)
        assert (result.codes[..., layers:] == DROPPED).all()
        assert (result.codes[..., :layers] != DROPPED).all()
        found.update_(ALONE)
        assert torch.equal(found.counts[layers:], before[layers:])
        assert not torch.equal(found.counts[layers - 1], before[layers - 1])
    assert depths == {1, 2, 3}
    assert (found.eval()(x).codes != DROPPED).all()


def test_sampling_prefers_near_codes():
    """The frequencies are softmax(-distance^2 / temperature)."""
    found = quantizer(num_quantizers=1, nb_code=3, code_dim=1, temperature=0.5)
    found.initialised.fill_(True)
    found._is_initialised = True
    found.codebooks.copy_(torch.tensor([[[0.0], [0.5], [1.0]]]))
    x = torch.full((1, 40_000, 1), 0.3)
    codes = found(x).codes.flatten()

    expected = torch.softmax(-((0.3 - torch.tensor([0.0, 0.5, 1.0])) ** 2) / 0.5, 0)
    frequencies = torch.bincount(codes, minlength=3) / len(codes)
    torch.testing.assert_close(frequencies, expected, atol=0.01, rtol=0)
    assert (found.eval()(x).codes == 1).all()


def test_float32_also_under_autocast():
    """Half precision latents are coded in full precision."""
    x = torch.randn(2, 5, 4)
    found = learnt(x).eval()
    with torch.autocast("cpu", torch.bfloat16):
        result = found(x.bfloat16())
    assert result.latents.dtype == torch.float32
    assert torch.equal(result.codes, found(x.bfloat16().float()).codes)


def test_codes_are_counted_without_a_table_of_them():
    """Beside the distances of one layer, tokens x codes, nothing of that size is made."""
    x = torch.randn(4, 256, 4)
    found = learnt(x, nb_code=512)

    assert peak_bytes(lambda: found(x)) < 1.5 * 4 * 256 * 512 * 4


def test_state_comes_back_whole():
    """Codes, averages, flag and step; what is loaded goes on as the original does."""
    x = torch.randn(4, 8, 4)
    one = learnt(x, dropout=0.5)
    other = quantizer(dropout=0.5)
    other.load_state_dict(one.state_dict())
    for _ in range(3):
        y = torch.randn(4, 8, 4)
        for found in (one, other):
            found(y)
            found.update_(ALONE)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_evaluation_learns_nothing():
    """Nor does an update after it."""
    x = torch.randn(4, 8, 4)
    found = learnt(x)
    before = {name: value.clone() for name, value in found.state_dict().items()}
    found.eval()(x + 1)
    found.update_(ALONE)
    del before["step"]
    for name, value in before.items():
        assert torch.equal(value, found.state_dict()[name]), name


@pytest.mark.parametrize("tokens", [1, 3])
def test_tiny_batches_pass(tokens):
    """One latent is enough to start from."""
    found = learnt(torch.randn(1, tokens, 4))
    assert torch.isfinite(found.codebooks).all()


def test_a_shared_codebook_serves_all_layers():
    """One codebook, taken by every layer in turn; the codes of a step give the output back."""
    x = torch.randn(2, 40, 4)
    found = learnt(x, steps=20, shared=True).eval()
    result = found(x)

    assert found.codebooks.shape == (1, 8, 4)
    assert len(found.dead_codes()) == 3
    residual = x.flatten(0, 1)
    for layer in range(3):
        nearest = torch.cdist(residual, found.codebooks[0]).argmin(-1)
        assert torch.equal(result.codes[..., layer].flatten(), nearest)
        residual = residual - found.codebooks[0][nearest]
    torch.testing.assert_close(found.decode(result.codes), result.latents, rtol=0, atol=0)


def test_a_shared_codebook_learns_from_all_layers():
    """n = mu n + (1 - mu) uses, over the residuals of every layer; s likewise."""
    x = torch.randn(2, 40, 4)
    found = learnt(x, steps=1, shared=True, mu=0.5)
    codes, sums, counts = (b[0].clone() for b in (found.codebooks, found.sums, found.counts))
    sums, counts = sums * 0.5, counts * 0.5
    residual = x.flatten(0, 1)
    for _ in range(3):
        nearest = torch.cdist(residual, codes).argmin(-1)
        sums.index_add_(0, nearest, residual, alpha=0.5)
        counts += 0.5 * torch.bincount(nearest, minlength=8)
        residual = residual - codes[nearest]
    found(x)
    found.update_(ALONE)

    alive = counts >= 1
    assert alive.sum() > 4
    torch.testing.assert_close(found.codebooks[0][alive], (sums / counts[:, None])[alive])


def test_a_shared_codebook_is_worth_its_layers():
    """Each further layer leaves less; and it leaves more than codebooks of one's own do."""
    x = torch.randn(8, 200, 4)
    left = {}
    for shared in (True, False):
        found = learnt(x, steps=60, shared=shared, nb_code=32, mu=0.9).eval()
        codes = found(x).codes
        for layers in (1, 2, 3):
            some = codes.clone()
            some[..., layers:] = DROPPED
            left[shared, layers] = float((x - found.decode(some)).square().mean())

    assert left[True, 1] > 1.5 * left[True, 2] > 2 * left[True, 3]
    assert left[False, 3] < left[True, 3]


def test_more_layers_than_shared_codes():
    """Some layers then set no part of the codebook at its start, and all is well."""
    found = learnt(torch.randn(2, 5, 4), shared=True, nb_code=2, num_quantizers=4)
    assert torch.isfinite(found.codebooks).all()
