"""Residual vector quantization with codebooks learned by moving averages (EMA).

Layer q replaces the residual r_q by its nearest code and hands on what is left (van den Oord et al.
2017, appendix A.1, for the moving averages; Zeghidour et al. 2021, SoundStream, for the residual
layers, their dropout and the revival of dead codes):

    i_q = argmin_k |r_q - c_qk|^2,   r_{q+1} = r_q - c_q[i_q],   output = sum_q c_q[i_q]

No layer projects and no code has a gradient, so decoding codes gives the very output of forward,
and a dropped layer leaves no parameter without one. `forward` only collects sums; `update_`, once
a step on every rank, adds them up over the ranks in one call. So the codebooks are equal on all
ranks at every step, and those of one rank on the whole batch.

If the layers share one codebook, it learns from the residuals of all of them.

Shapes: B batch, N tokens, M valid tokens of the batch, Q layers, K codes, D code width; P
codebooks: Q, or one that is shared.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from trainers.engine.distributed import all_gather_rows, all_reduce_sum, shared_generator

if TYPE_CHECKING:
    from trainers.engine.distributed import World

DROPPED = -1
"""The code of a layer that was dropped, and of a token that is not valid."""

Coded = tuple[Tensor, Tensor]
"""Latents (B, N, D) of a forward and their codes (B, N, Q)."""

# Purposes of the generators that all ranks share, so that no two draws use the same numbers.
DROPOUT, REVIVAL, INITIALISATION = range(3)
CANDIDATES = 64  # residuals that the dead codes of a layer may take in one step
JITTER = 0.3  # of the first codes, in standard deviations of what they code


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantized:
    """What the quantizer makes of a batch of latents."""

    latents: Tensor
    """(B, N, D) the sum of the chosen codes; gradients pass straight through to the input."""
    codes: Tensor  # (B, N, Q) indices, DROPPED if there is none
    commitment: Tensor
    """Scalar: mean over the active layers of |x - sum of codes so far|^2 per value."""
    perplexity: Tensor
    """Scalar: mean over the active layers of exp(entropy) of the codes' use in this batch."""


class ResidualQuantizer(nn.Module):
    """Q codebooks in sequence, each coding what the ones before it left.

    Args:
        mu: decay of the moving averages.
        dropout: chance that a step trains only the first 1..Q layers, drawn alike on all ranks.
        temperature: 0 takes the nearest code; else training draws codes with probability
            softmax(-distance^2 / temperature).
        seed: of the draws that all ranks share.
        shared: one codebook serves all layers.
    """

    codebooks: Tensor
    sums: Tensor
    counts: Tensor
    initialised: Tensor
    step: Tensor

    def __init__(
        self,
        *,
        num_quantizers: int,
        nb_code: int,
        code_dim: int,
        mu: float = 0.99,
        dropout: float = 0.0,
        temperature: float = 0.0,
        seed: int = 0,
        shared: bool = False,
    ) -> None:
        super().__init__()
        self.num_quantizers = num_quantizers
        self.mu, self.dropout, self.temperature, self.seed = mu, dropout, temperature, seed
        books = 1 if shared else num_quantizers
        codebooks = torch.randn(books, nb_code, code_dim) * code_dim**-0.5
        self.register_buffer("codebooks", codebooks)
        self.register_buffer("sums", codebooks.clone())
        self.register_buffer("counts", torch.ones(books, nb_code))
        self.register_buffer("initialised", torch.tensor(False))
        self.register_buffer("step", torch.tensor(0))
        # The same two on the host: reading a buffer would make the host wait for the device.
        self._is_initialised, self._step = False, 0
        self.register_load_state_dict_post_hook(_read_back)  # type: ignore[no-untyped-call]
        self._first: list[Tensor] = []
        self._collected: _Collected | None = None

    @property
    def nb_code(self) -> int:
        """K, the number of codes of a codebook."""
        return self.codebooks.shape[1]

    @property
    def layers(self) -> Tensor:
        """(Q, K, D) a view of the codebook of each layer."""
        return self.codebooks.expand(self.num_quantizers, -1, -1)

    def forward(self, x_BND: Tensor, mask_BN: Tensor | None = None) -> Quantized:
        """Code latents. In training also collect what `update_` needs.

        Before the codebooks have been initialised, training passes latents on as they are.

        Args:
            x_BND: latents of any floating type; all is computed in float32.
            mask_BN: valid tokens; the others are coded as DROPPED, give zeros and count nowhere.
        """
        with torch.autocast(x_BND.device.type, enabled=False):
            return self._quantize(x_BND.float(), mask_BN)

    def _quantize(self, x_BND: Tensor, mask_BN: Tensor | None) -> Quantized:
        x_MD = x_BND.flatten(0, 1) if mask_BN is None else x_BND[mask_BN]
        if self.training and not self._is_initialised:
            return self._pass_on(x_BND, x_MD, mask_BN)
        layers = self.active_layers() if self.training else self.num_quantizers
        collected = self._collection() if self.training else None
        total_MD = torch.zeros_like(x_MD)
        codes_MQ = torch.full(
            (len(x_MD), self.num_quantizers), DROPPED, dtype=torch.long, device=x_MD.device
        )
        commitment, perplexity = x_MD.new_zeros(()), x_MD.new_zeros(())
        residual_MD, ones_M = x_MD, x_MD.new_ones(len(x_MD))
        for layer, codebook_KD in enumerate(self.layers[:layers]):
            chosen_M = self._choose(residual_MD.detach(), codebook_KD)
            # Not bincount: on a GPU it makes the host wait.
            uses_K = x_MD.new_zeros(len(codebook_KD)).scatter_add_(0, chosen_M, ones_M)
            if collected is not None:
                collected.add(layer, chosen_M, uses_K, residual_MD.detach())
            codes_MQ[:, layer] = chosen_M
            total_MD = total_MD + codebook_KD[chosen_M]
            residual_MD = x_MD - total_MD
            commitment = commitment + residual_MD.square().mean()
            perplexity = perplexity + _perplexity(uses_K)
        codes_BNQ = _spread(codes_MQ, x_BND.shape[:2], mask_BN, DROPPED)
        if collected is not None:
            collected.last = (x_BND.detach(), codes_BNQ)
        # x - x is zero to the bit, so the value is that of the codes and the gradient that of x
        total_MD = total_MD + (x_MD - x_MD.detach())
        return Quantized(
            latents=_spread(total_MD, x_BND.shape[:2], mask_BN, 0),
            codes=codes_BNQ,
            commitment=commitment / layers,
            perplexity=perplexity / layers,
        )

    def _pass_on(self, x_BND: Tensor, x_MD: Tensor, mask_BN: Tensor | None) -> Quantized:
        self._first.append(x_MD.detach())
        codes = torch.full((*x_BND.shape[:2], self.num_quantizers), DROPPED, device=x_BND.device)
        zero = x_MD.new_zeros(())
        latents = x_BND if mask_BN is None else x_BND * mask_BN[..., None]
        return Quantized(latents=latents, codes=codes, commitment=zero, perplexity=zero)

    def _choose(self, residual_MD: Tensor, codebook_KD: Tensor) -> Tensor:
        """Index of each row's code: |r - c|^2 less |r|^2, which all codes of a row share."""
        lengths_K = codebook_KD.square().sum(-1)
        distances_MK = torch.addmm(lengths_K, residual_MD, codebook_KD.T, alpha=-2)
        if self.training and self.temperature:
            # Gumbel-max: argmax(logit + g), g = -log(-log u) and u uniform
            noise = torch.rand_like(distances_MK).log_().neg_().log_()
            distances_MK = distances_MK.add_(noise, alpha=self.temperature)
        return distances_MK.argmin(-1)

    def decode(self, codes_BNQ: Tensor) -> Tensor:
        """(B, N, Q) codes -> (B, N, D) latents; a DROPPED code adds nothing."""
        total = self.codebooks.new_zeros((*codes_BNQ.shape[:2], self.codebooks.shape[-1]))
        for layer, chosen_BN in enumerate(codes_BNQ.unbind(-1)):
            added = self.layers[layer][chosen_BN.clamp_min(0)]
            total = total + added * (chosen_BN != DROPPED)[..., None]
        return total

    def active_layers(self) -> int:
        """Layers that this step trains: drawn from (seed, step), so every rank draws the same."""
        if not self.dropout:
            return self.num_quantizers
        generator = shared_generator(self.seed, self._step, DROPOUT)
        chance, share = torch.rand(2, generator=generator, dtype=torch.float64).tolist()
        drops = chance < self.dropout
        return 1 + int(share * self.num_quantizers) if drops else self.num_quantizers

    @torch.no_grad()
    def update_(self, world: World) -> None:
        """Learn from the forwards since the last call; every rank calls it once after each step.

        n_k = mu n_k + (1 - mu) uses_k,  s_k = mu s_k + (1 - mu) (its residuals),  c_k = s_k / n_k.
        A code is dead when n_k falls below 1, or below a quarter of the mean if the batch is so
        small that the mean is below 4; it starts again from a residual of this batch.
        """
        if self._first:
            self._initialise_(world)
        elif self._collected is not None and self._collected.last is not None:
            self._average_(self._collected, self._collected.last, world)
            self._collected.clear_()
        self._step += 1
        self.step.fill_(self._step)

    def _average_(self, collected: _Collected, last: Coded, world: World) -> None:
        layers = self.active_layers()
        candidates = self._candidates(last, layers, world)
        # From here on by codebook; the first `layers` of one that is shared are that one.
        parts = [collected.sums[:layers], collected.counts[:layers], candidates]
        fused = all_reduce_sum(torch.cat([part.flatten() for part in parts]), world)
        sums_PKD, counts_PK, candidates = (
            flat.view_as(part)
            for flat, part in zip(fused.split([p.numel() for p in parts]), parts, strict=True)
        )
        sums, counts = self.sums[:layers], self.counts[:layers]
        sums.lerp_(sums_PKD, 1 - self.mu)
        counts.lerp_(counts_PK, 1 - self.mu)
        mean = counts.mean(-1, keepdim=True)
        dead = _is_dead(counts)
        # Usable candidates first, then the n-th dead code of a layer takes the n-th of them.
        rows, usable = candidates[..., :-1], candidates[..., -1:]
        order = usable.argsort(dim=1, descending=True, stable=True)
        rows = rows.gather(1, order.expand_as(rows))
        place = dead.cumsum(-1) - 1
        revived = dead & (place < usable.sum(1))
        fresh = rows.gather(1, place.clamp(0, CANDIDATES - 1)[..., None].expand_as(sums))
        counts.copy_(torch.where(revived, mean, counts))
        sums.copy_(torch.where(revived[..., None], fresh * mean[..., None], sums))
        alive = revived | ~dead
        codes = sums / counts[..., None]
        self.codebooks[:layers] = torch.where(alive[..., None], codes, self.codebooks[:layers])

    def _candidates(self, last: Coded, layers: int, world: World) -> Tensor:
        """(P, CANDIDATES, D + 1): this rank's rows for dead codes, 1 after them; else zeros.

        The places are drawn over the batch of all ranks laid end to end, so they fall on the same
        latents however many ranks share them. A shared codebook is offered rows of all layers.
        """
        latents_BND, codes_BNQ = last
        latents_ND, codes_NQ = latents_BND.flatten(0, 1), codes_BNQ.flatten(0, 1)
        generator = shared_generator(self.seed, self._step, REVIVAL)
        shape = (layers, CANDIDATES)
        place = torch.rand(shape, generator=generator, dtype=torch.float64)
        if latents_ND.is_cuda:  # pinned: the CPU does not wait for the copy
            place = place.pin_memory().to(latents_ND.device, non_blocking=True)
        place = place * world.world_size
        mine = place.long() == world.rank
        row = ((place - world.rank) * len(latents_ND)).long().clamp(0, len(latents_ND) - 1)
        residual, codes = latents_ND[row], codes_NQ[row]  # (layers, CANDIDATES, D), (.., Q)
        for layer in range(layers - 1):
            deeper = codes[layer + 1 :, :, layer].clamp_min(0)
            residual[layer + 1 :] -= self.layers[layer][deeper]
        usable = (mine & (codes[..., 0] != DROPPED)).to(residual.dtype)[..., None]
        rows = torch.cat([residual * usable, usable], dim=-1)
        if len(self.codebooks) == self.num_quantizers:
            return rows
        turn = torch.arange(CANDIDATES, device=rows.device)
        return rows[turn % layers, turn][None]

    def _initialise_(self, world: World) -> None:
        """Set each layer's codes to residuals of the first batch of all ranks, jittered.

        The jitter keeps a small batch from being coded without remainder, which would leave the
        deeper layers nothing to start from. Of a shared codebook each layer sets a part.
        """
        residual_MD = all_gather_rows(torch.cat(self._first), world)
        generator = shared_generator(self.seed, self._step, INITIALISATION)
        codes = self.codebooks.flatten(0, 1)
        for codebook_KD in codes.tensor_split(min(len(codes), self.num_quantizers)):
            rows = torch.randperm(len(residual_MD), generator=generator)
            rows = rows.repeat(-(-len(codebook_KD) // len(rows)))[: len(codebook_KD)]
            jitter = torch.randn(codebook_KD.shape, generator=generator) * JITTER
            spread = residual_MD.std(dim=0, correction=0)
            codebook_KD.copy_(
                residual_MD[rows.to(residual_MD.device)] + jitter.to(residual_MD.device) * spread
            )
            lengths = codebook_KD.square().sum(-1)
            nearest = torch.addmm(lengths, residual_MD, codebook_KD.T, alpha=-2).argmin(-1)
            residual_MD = residual_MD - codebook_KD[nearest]
        self.sums.copy_(self.codebooks)
        self.counts.fill_(1.0)
        self.initialised.fill_(True)
        self._is_initialised = True
        self._first.clear()

    def dead_codes(self) -> list[int]:
        """How many codes of each layer training no longer uses."""
        dead = _is_dead(self.counts).expand(self.num_quantizers, -1)
        return [int(layer.sum()) for layer in dead]

    def _collection(self) -> _Collected:
        if self._collected is None:
            self._collected = _Collected(torch.zeros_like(self.sums), torch.zeros_like(self.counts))
        return self._collected


class _Collected:
    """What the forwards of one step saw: never saved, for a step is saved whole or not at all."""

    def __init__(self, sums: Tensor, counts: Tensor) -> None:
        self.sums, self.counts = sums, counts
        self.last: Coded | None = None

    def add(self, layer: int, chosen_M: Tensor, uses_K: Tensor, residual_MD: Tensor) -> None:
        book = layer % len(self.sums)
        index = chosen_M[:, None].expand_as(residual_MD)
        self.sums[book].scatter_add_(0, index, residual_MD)
        self.counts[book] += uses_K

    def clear_(self) -> None:
        self.sums.zero_()
        self.counts.zero_()
        self.last = None


def _spread(rows: Tensor, shape: torch.Size, mask_BN: Tensor | None, fill: float) -> Tensor:
    """Put the rows of the valid tokens back in their places."""
    if mask_BN is None:
        return torch.unflatten(rows, 0, shape)
    spread = rows.new_full((*shape, rows.shape[-1]), fill)
    return spread.masked_scatter(mask_BN[..., None], rows)


def _is_dead(counts_QK: Tensor) -> Tensor:
    return counts_QK < (counts_QK.mean(-1, keepdim=True) / 4).clamp_max(1.0)


def _perplexity(uses_K: Tensor) -> Tensor:
    """exp(-sum p log p), p the share of the tokens that took each code."""
    share = uses_K / uses_K.sum().clamp_min(1)
    entropy: Tensor = torch.special.entr(share).sum()
    return entropy.exp()


def _read_back(module: ResidualQuantizer, _keys: Any) -> None:
    module._is_initialised = bool(module.initialised)  # noqa: SLF001 - its own hook
    module._step = int(module.step)  # noqa: SLF001
