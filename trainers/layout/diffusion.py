"""How noise is taken away from layouts, by the schedulers of diffusers.

Shapes: B layouts, N elements, 6 values of an element.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
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
ALL = 1 - 1e-6  # with 1, rounding may leave less than nothing, whose root is taken
PREDICTIONS = {"x0": "sample", "v": "v_prediction"}


class Diffusion(Noise):
    """The noise of a config, and how it is taken away."""

    def __init__(self, config: DiffusionConfig) -> None:
        try:
            from diffusers.schedulers.scheduling_ddim import DDIMScheduler  # noqa: PLC0415 - slow
        except ImportError as error:
            raise TrainerError(*why_not(error)) from None
        super().__init__(config)
        self._scheduler = partial(
            DDIMScheduler,
            num_train_timesteps=config.num_train_timesteps,
            beta_schedule=BETAS[config.noise_schedule],
            prediction_type=PREDICTIONS[config.prediction],
            clip_sample=True,
            timestep_spacing="trailing",
            set_alpha_to_one=True,
        )
        self._kept: Tensor = self._scheduler().alphas_cumprod

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
        added to it as there is at the time ``strength`` of 0..1, and taken away again in that share
        of the steps, but at least one. Without any noise it stays as it is.

        Raises:
            ConfigError: there are fewer timesteps than steps.
        """
        most = self.config.num_train_timesteps
        count = steps or self.config.num_inference_steps
        self.config.check_steps(count, "steps")
        sampler: Any = self._scheduler()
        state, until = noise, most
        if start is not None:
            until = math.ceil(strength * most)
            count = min(most, max(count, math.ceil(1 / strength) if strength else 1))
        sampler.set_timesteps(count)
        times = [time for time in sampler.timesteps.tolist() if time < until]
        if start is not None:
            begin = torch.full((len(noise),), (times or [0])[0] / most, device=noise.device)
            state = self.add_noise(start, noise, self.kept(begin)) if times else start
        # DDPM is DDIM that gives all of the variance back as noise (Song et al. 2021, eta = 1).
        adds = self.config.sampler == "ddpm"
        for time in times:
            now = torch.full((len(noise),), time / most, device=noise.device)
            after = sampler.step(
                denoise(state, now, elements),
                time,
                state,
                eta=ALL if adds else 0.0,
                use_clipped_model_output=adds,
                variance_noise=_later_noise(noise, time) if adds else None,
            )
            # The last answer is taken whole: a step may end just above no noise.
            state = after.pred_original_sample if time == times[-1] else after.prev_sample
        return torch.where(elements.given, elements.known, state)


def _later_noise(noise: Tensor, time: int) -> Tensor:
    """Return the noise (B, N, 6) of a later step: of each layout's own first noise, and the time.

    So a seed decides, and the other layouts of a batch and their lengths change nothing.
    """
    first = noise[:, 0].float().cpu().numpy().view(np.uint32)
    drawn = [
        np.random.default_rng([*own.tolist(), time]).standard_normal(noise.shape[1:], np.float32)
        for own in first
    ]
    return torch.from_numpy(np.stack(drawn)).to(noise)
