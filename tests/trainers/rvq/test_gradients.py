"""A training step of the whole model against one written plainly, in float64."""

from __future__ import annotations

import torch
from motion_data import ALONE, small_model
from torch.nn.functional import conv1d, relu

from trainers.rvq.config import LossConfig
from trainers.rvq.losses import MotionLoss


def blocks(x, weights, name):
    """The residual blocks of one time scale: dilations 3 and 1."""
    for block, dilation in enumerate((3, 1)):
        at = f"{name}.blocks.{block}"
        h = relu(x)
        h = conv1d(h, *weights(f"{at}.dilated"), padding=dilation, dilation=dilation)
        x = x + conv1d(relu(h), *weights(f"{at}.pointwise"))
    return x


def encoder(x, weights):
    x = relu(conv1d(x, *weights("encoder.inward"), padding=1))
    for scale in range(2):
        x = conv1d(x, *weights(f"encoder.down.{scale}"), stride=2, padding=1)
        x = blocks(x, weights, f"encoder.stacks.{scale}")
    return conv1d(x, *weights("encoder.outward"), padding=1)


def decoder(x, weights):
    x = relu(conv1d(x, *weights("decoder.inward"), padding=1))
    for scale in range(2):
        x = blocks(x, weights, f"decoder.stacks.{scale}")
        x = torch.stack([x, x], dim=-1).flatten(-2)
        x = conv1d(x, *weights(f"decoder.up.{scale}"), padding=1)
    x = relu(conv1d(x, *weights("decoder.hidden"), padding=1))
    return conv1d(x, *weights("decoder.outward"), padding=1)


def smooth_l1(a, b):
    far = (a - b).abs()
    return torch.where(far < 1, far**2 / 2, far - 0.5).mean()


def reference(values, x_BTF):
    """The loss and the layers' codes, with every intermediate step of the method spelt out."""

    def weights(name):
        return values[f"{name}.weight"], values[f"{name}.bias"]

    latents = encoder(x_BTF.mT, weights).mT
    total, commitment, chosen = torch.zeros_like(latents), 0.0, []
    for codebook in values["quantizer.codebooks"]:
        nearest = torch.cdist((latents - total).detach(), codebook[None]).argmin(-1)
        total = total + codebook[nearest]
        commitment = commitment + (latents - total).square().mean() / 3
        chosen.append(nearest)
    straight = latents + (total - latents).detach()
    output = decoder(straight.mT, weights).mT
    loss = smooth_l1(output, x_BTF) + 0.02 * commitment
    loss = loss + 0.5 * smooth_l1(output.diff(dim=1), x_BTF.diff(dim=1))
    return loss, torch.stack(chosen, dim=-1)


def test_loss_and_gradients_agree_with_a_plain_float64_reference():
    """For every parameter: reconstruction, velocity and commitment, through codes and layers."""
    model = small_model()
    x = torch.randn(4, 16, 12)
    for _ in range(3):
        model(x)
        model.quantizer.update_(ALONE)
    exact = {name: value.double() for name, value in model.state_dict().items()}
    trained = dict(model.named_parameters())
    for name in trained:
        exact[name].requires_grad_()

    found = model(x)
    loss = MotionLoss(LossConfig())(found)["loss"]
    loss.backward()
    wanted, codes = reference(exact, x.double())
    wanted.backward()

    assert torch.equal(found.quantized.codes, codes)
    torch.testing.assert_close(loss.double(), wanted, rtol=1e-6, atol=0)
    for name, parameter in trained.items():
        far = (parameter.grad - exact[name].grad).norm() / exact[name].grad.norm()
        assert far < 1e-5, name
