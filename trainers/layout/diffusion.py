"""How noise is taken away from layouts, by the schedulers of diffusers.

Shapes: B layouts, N elements, 6 values of an element.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.engine.errors import TrainerError
from trainers.layout.extra import why_not
from trainers.layout.noise import Noise

if TYPE_CHECKING:
    from collections.abc import Callable

    from trainers.layout.config import DiffusionConfig
    from trainers.layout.data import Elements

    Denoise = Callable[[Tensor, Tensor, Elements], Tensor]
    Step = Callable[[Tensor, Tensor, Tensor], Tensor]  # found, time, state -> state before

BETAS = {"cosine": "squaredcos_cap_v2", "linear": "linear"}
PREDICTIONS = {"x0": "sample", "v": "v_prediction"}


class Diffusion(Noise):
    """The noise of a config, and how it is taken away."""

    def __init__(self, config: DiffusionConfig) -> None:
        try:
            from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # noqa: PLC0415 - slow
            from diffusers.schedulers.scheduling_ddpm import DDPMScheduler  # noqa: PLC0415 - slow
        except ImportError as error:
            raise TrainerError(*why_not(error)) from None
        super().__init__(config)
        ours: dict[str, Any] = {
            "num_train_timesteps": config.num_train_timesteps,
            "beta_schedule": BETAS[config.noise_schedule],
            "prediction_type": PREDICTIONS[config.prediction],
            "clip_sample": True,
            "timestep_spacing": "trailing",
        }
        self.samplers = {
            "ddim": lambda: DDIMScheduler(**ours, set_alpha_to_one=True),
            "ddpm": lambda: DDPMScheduler(**ours),
        }
        kept: Tensor = DDPMScheduler(**ours).alphas_cumprod
        self._kept = kept

    def kept(self, time_B: Tensor) -> Tensor:
        """Return the share (B,) of the variance that is not noise at a time in 0..1."""
        step = (time_B * self.config.num_train_timesteps).long()
        last = self.config.num_train_timesteps - 1
        return self._kept.to(time_B.device)[step.clamp(0, last)]

    @torch.no_grad()
    def draw(
        self,
        denoise: Denoise,
        elements: Elements,
        noise: Tensor,
        *,
        steps: int | None = None,
        start: Tensor | None = None,
        strength: float = 1.0,
    ) -> Tensor:
        """Return states (B, N, 6), drawn from noise (B, N, 6); known values stay as they are.

        With ``start`` (B, N, 6) it is refined (SDEdit, Meng et al. 2021): so much of the noise is
        added to it as there is at the time ``strength`` of 0..1, and taken away again. It stays as
        it is if that is less noise than there is in the last step.
        """
        sampler: Any = self.samplers[self.config.sampler]()
        sampler.set_timesteps(steps or self.config.num_inference_steps)
        times = sampler.timesteps
        state = noise
        if start is not None:
            times = times[times < max(1.0, strength * self.config.num_train_timesteps)]
            if not len(times):
                return start
            share = torch.full((len(noise),), float(times[0]))
            kept = self.kept(share.to(noise.device) / self.config.num_train_timesteps)
            state = self.add_noise(start, noise, kept)
        step = self._stepping(sampler, noise, elements.mask)
        for time in times:
            share = torch.full((len(noise),), int(time) / self.config.num_train_timesteps)
            found = denoise(state, share.to(noise.device), elements)
            state = step(found, time, state)
        return torch.where(elements.given, elements.known, state)

    def _stepping(self, sampler: Any, noise: Tensor, mask_BN: Tensor) -> Step:
        """Return what takes the noise of a step away.

        DDPM also adds some in every step. Each layout draws it from a generator of its own, which
        its first noise seeds: others in its batch, and padding, change nothing.
        """
        if self.config.sampler == "ddim":
            return lambda found, time, state: sampler.step(found, time, state).prev_sample
        seeds = noise[:, 0, 0].float().cpu().view(torch.int32).tolist()
        own = [torch.Generator().manual_seed(seed & 0x7FFFFFFF) for seed in seeds]
        counts = mask_BN.sum(1).tolist()

        def step(found: Tensor, time: Tensor, state: Tensor) -> Tensor:
            before = torch.zeros_like(state)
            for row, (generator, count) in enumerate(zip(own, counts, strict=True)):
                one = slice(row, row + 1), slice(count)
                stepped = sampler.step(found[one], time, state[one], generator=generator)
                before[one] = stepped.prev_sample
            return before

        return step
