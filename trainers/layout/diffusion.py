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
        added to it as there is at the time ``strength`` of 0..1, and taken away again.
        """
        sampler: Any = self.samplers[self.config.sampler]()
        sampler.set_timesteps(steps or self.config.num_inference_steps)
        times = sampler.timesteps
        state = noise
        if start is not None:
            times = times[times < max(1.0, strength * self.config.num_train_timesteps)]
            share = torch.full((len(noise),), float(times[0] if len(times) else 0))
            kept = self.kept(share.to(noise.device) / self.config.num_train_timesteps)
            state = self.add_noise(start, noise, kept)
        # DDPM draws in every step: from the first layout's noise, so that a seed decides.
        generator = torch.Generator().manual_seed(
            int(noise[0, 0, 0].view(torch.int32)) & 0x7FFFFFFF
        )
        for time in times:
            share = torch.full((len(noise),), int(time) / self.config.num_train_timesteps)
            found = denoise(state, share.to(noise.device), elements)
            state = sampler.step(found, time, state, generator=generator).prev_sample
        return torch.where(elements.given, elements.known, state)
