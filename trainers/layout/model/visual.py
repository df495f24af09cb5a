"""What is seen of an element's image: features of a small network, or of a pretrained one.

Shapes: N images, S pixels of a side, F features.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from PIL import Image as Pillow
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812 - the name everyone knows it by

from trainers.engine.errors import TrainerError
from trainers.engine.frozen import Frozen
from trainers.engine.pretrained import pretrained_folder
from trainers.layout.config import CNN, ENCODER

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from trainers.layout.config import VisualConfig
    from trainers.layout.layouts.corpus import Image

SHAPE = 3  # features beside those of a network: the logarithms of aspect, width and height


class Visual(Protocol):
    """What gives features of images."""

    features: int

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the features (N, F) of images (height, width, 4)."""


class SmallCnn(nn.Module):
    """An autoencoder of images, of which the encoder is used; never trained with the rest.

    Its weights are in each checkpoint of the run that trained it.
    """

    def __init__(self, config: VisualConfig) -> None:
        super().__init__()
        self.size, self.code = config.image_size, config.visual_dim
        self.features = self.code + SHAPE
        self.encoder = nn.Sequential(
            *(_down(4, 16), _down(16, 32), _down(32, 64)),
            nn.AdaptiveAvgPool2d(3),
            nn.Flatten(),
            nn.Linear(9 * 64, self.code),
        )
        self.requires_grad_(requires_grad=False)

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the features (N, F) of images (height, width, 4)."""
        with torch.inference_mode():
            device = next(self.parameters()).device
            code = self.encoder(scaled(images, self.size).to(device)).float().cpu().numpy()
        return with_shapes(code, images)


class Pretrained(nn.Module):
    """A vision tower of transformers from a folder: frozen, and in no checkpoint."""

    def __init__(self, name: str) -> None:
        super().__init__()
        folder = pretrained_folder(name, *ENCODER)
        try:
            from transformers import AutoImageProcessor, AutoModel  # noqa: PLC0415 - slow to load
        except ImportError:
            raise TrainerError(
                f"the visual encoder {name} needs the library transformers",
                "pip install 'gpuops[text]', or give --visual-encoder cnn",
            ) from None
        try:
            model = AutoModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            self._prepare: Any = AutoImageProcessor.from_pretrained(folder, local_files_only=True)
        except (OSError, ValueError) as error:
            raise TrainerError(
                f"{folder} holds no vision model that can be loaded: {str(error).splitlines()[0]}"
            ) from None
        tower = getattr(model, "vision_model", model)  # of CLIP and its like
        self.tower = Frozen(tower)
        self.features = int(tower.config.hidden_size) + SHAPE

    def encode(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the features (N, F) of images (height, width, 4)."""
        flat = [Pillow.fromarray(one).convert("RGB") for one in images]
        pixels = self._prepare(images=flat, return_tensors="pt")["pixel_values"]
        with torch.inference_mode():
            device = next(self.tower.module.parameters()).device
            found = self.tower(pixel_values=pixels.to(device)).last_hidden_state
        return with_shapes(found.mean(dim=1).float().cpu().numpy(), images)


def build_visual(config: VisualConfig) -> SmallCnn | Pretrained:
    """Return what the settings name.

    Raises:
        TrainerError: it is not on disk, or cannot be loaded.
    """
    name = config.visual_encoder
    return SmallCnn(config) if name == CNN else Pretrained(name)


def scaled(images: Sequence[Image], size: int) -> Tensor:
    """Return images as (N, 4, S, S) in -1..1, scaled without keeping their aspect."""
    small = np.stack([shrink(one, size) for one in images])
    return torch.from_numpy(small).permute(0, 3, 1, 2).float() / 127.5 - 1


def shrink(image: Image, size: int) -> Image:
    """Return an image (size, size, 4)."""
    scaled_down = Pillow.fromarray(image).resize((size, size), Pillow.Resampling.BILINEAR)
    return np.asarray(scaled_down)


def with_shapes(code: NDArray[np.float32], images: Sequence[Image]) -> NDArray[np.float32]:
    """Return codes (N, C) of unit deviation, and what scaling took: aspect, width and height."""
    code = (code - code.mean(axis=1, keepdims=True)) / (code.std(axis=1, keepdims=True) + 1e-6)
    sizes = np.log(np.array([one.shape[:2] for one in images], dtype=np.float32))
    shapes = np.stack([sizes[:, 1] - sizes[:, 0], sizes[:, 1] / 4, sizes[:, 0] / 4], axis=1)
    return np.concatenate([code, shapes], axis=1).astype(np.float32)


def train_small_cnn(cnn: SmallCnn, images: Sequence[Image], steps: int, seed: int) -> float:
    """Train the encoder to give codes that images can be drawn from again; return the last loss.

    The decoder is thrown away. Every image is seen as often as any other; half of each image's
    pixels are hidden in squares, so that the code is of what an image is like.
    """
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        unfold = nn.Linear(cnn.code, 9 * 64), nn.GELU(), nn.Unflatten(1, (64, 3, 3))
        draw = _up(64, 32), _up(32, 16), nn.Conv2d(16, 4, 3, padding=1)
        decoder = nn.Sequential(*unfold, *draw)
    device = next(cnn.parameters()).device
    pixels = scaled(images, cnn.size)
    decoder.to(device)
    encoder = cnn.encoder.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *decoder.parameters()], lr=2e-3)
    loss = torch.zeros(())
    for _ in range(steps):
        rows = torch.randint(len(pixels), (BATCH,), generator=generator)
        wanted = pixels[rows].to(device)
        squares = torch.rand(BATCH, 1, 4, 4, generator=generator).to(device) < HIDDEN
        hidden = F.interpolate(squares.float(), size=wanted.shape[-2:])
        drawn = decoder(encoder(wanted * (1 - hidden)))
        small = F.interpolate(wanted, size=drawn.shape[-2:], mode="area")
        loss = (drawn - small).abs().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    encoder.requires_grad_(requires_grad=False)
    return float(loss.detach())


BATCH, HIDDEN = 64, 0.25


def _down(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, stride=2, padding=1), nn.GroupNorm(4, after), nn.GELU()
    )


def _up(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Upsample(scale_factor=2), nn.Conv2d(before, after, 3, padding=1), nn.GELU()
    )
