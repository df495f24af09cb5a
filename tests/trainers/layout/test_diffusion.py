"""Noise and its removal, by the schedulers of diffusers."""

import sys
from dataclasses import replace

import pytest
import torch
from made_layouts import batch_of, data

from trainers.engine.errors import ConfigError, TrainerError
from trainers.layout.config import DiffusionConfig
from trainers.layout.diffusion import Diffusion

DDPMScheduler = pytest.importorskip("diffusers.schedulers.scheduling_ddpm").DDPMScheduler


def test_more_steps_than_timesteps():
    """Refused before anything is trained."""
    with pytest.raises(ConfigError, match="num_inference_steps is 20, and the noise has 10 times"):
        DiffusionConfig(num_train_timesteps=10)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ModuleNotFoundError("no", name="diffusers"), "which is not installed"),
        (ImportError("cannot import name x"), "is installed and cannot be .*: cannot import name"),
        (ModuleNotFoundError("No module y", name="y"), "is installed and .*: No module y"),
    ],
)
def test_why_diffusers_cannot_be_used(monkeypatch, error, words):
    """It may be there, and lack a library of its own."""

    class Broken:
        def find_spec(self, name, *_):
            if name == "diffusers.schedulers.scheduling_ddim":
                raise error

    monkeypatch.delitem(sys.modules, "diffusers.schedulers.scheduling_ddim", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    with pytest.raises(TrainerError, match=words):
        Diffusion(DiffusionConfig())


def perfect(diffusion, batch):
    """A network that knows the layout, and says so as the settings want it."""

    def denoise(noisy, time, _elements):
        kept = diffusion.kept(time)
        share = kept[:, None, None]
        noise = (noisy - share.sqrt() * batch.state) / (1 - share).sqrt()
        return diffusion.target(batch.state, noise, kept)

    return denoise


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
@pytest.mark.parametrize("prediction", ["x0", "v"])
@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_a_perfect_network_gives_the_layout(sampler, prediction, schedule):
    """From noise alone, in twenty steps."""
    diffusion = Diffusion(
        DiffusionConfig(sampler=sampler, prediction=prediction, noise_schedule=schedule)
    )
    batch = batch_of(data(3, 5), 0, 1)

    found = diffusion.draw(perfect(diffusion, batch), batch.elements, batch.noise)

    there = batch.elements.mask
    torch.testing.assert_close(found[there], batch.state[there], rtol=0, atol=0.02)


def test_what_is_known_stays():
    """Whatever the network says of it."""
    diffusion = Diffusion(DiffusionConfig())
    batch = batch_of(data(4), 0)
    given = torch.zeros_like(batch.elements.given)
    given[..., 2:4] = True
    elements = replace(batch.elements, given=given, known=batch.state * given)

    found = diffusion.draw(lambda *_: torch.zeros_like(batch.state), elements, batch.noise)

    torch.testing.assert_close(found[given], batch.state[given])
    assert not found[~given].any()


def test_a_layout_is_refined_from_where_it_is():
    """The weaker, the less of it changes; the network says 0 for everything."""
    diffusion = Diffusion(DiffusionConfig(num_inference_steps=50))
    batch = batch_of(data(6), 0)

    def stay(noisy, time, _elements):
        return noisy / diffusion.kept(time)[:, None, None].sqrt().clamp_min(0.1)

    moved = [
        (
            diffusion.draw(stay, batch.elements, batch.noise, start=batch.state, strength=strength)
            - batch.state
        )
        .abs()
        .mean()
        for strength in (0.05, 0.3, 0.9)
    ]

    assert moved[0] < moved[1] < moved[2]
    assert moved[0] < 0.2


def test_a_layout_stays_without_noise():
    """And any noise at all takes a step to remove."""
    diffusion = Diffusion(DiffusionConfig(num_inference_steps=2))
    batch = batch_of(data(6), 0)
    asked = []

    def denoise(noisy, time, _elements):
        asked.append(time.item())
        return torch.zeros_like(noisy)

    def refined(strength):
        return diffusion.draw(
            denoise, batch.elements, batch.noise, start=batch.state, strength=strength
        )

    assert torch.equal(refined(0), batch.state)
    assert not asked
    assert not refined(0.01).any()
    assert asked == [pytest.approx(0.009)]


def test_one_noise_gives_one_layout():
    """Also by DDPM, which draws in every step, whatever else is in the batch."""
    diffusion = Diffusion(DiffusionConfig(sampler="ddpm"))
    made = data(4, 9)
    alone, both = batch_of(made, 0), batch_of(made, 0, 1)

    def drawn(batch, noise):
        return diffusion.draw(lambda noisy, *_: 0.5 * noisy, batch.elements, noise)[0, :4]

    first = drawn(alone, alone.noise)

    assert torch.equal(first, drawn(alone, alone.noise))
    assert torch.equal(first, drawn(both, both.noise))
    assert not torch.equal(first, drawn(alone, 2 * alone.noise))


@pytest.mark.parametrize("prediction", ["x0", "v"])
def test_ddpm_is_that_of_diffusers(prediction, monkeypatch):
    """Step by step, with the same noise."""
    config = DiffusionConfig(sampler="ddpm", prediction=prediction, num_inference_steps=10)
    batch = batch_of(data(5), 0)
    later = torch.randn_like(batch.noise)
    monkeypatch.setattr("trainers.layout.diffusion._later_noise", lambda *_: later)
    monkeypatch.setattr("diffusers.schedulers.scheduling_ddpm.randn_tensor", lambda *_, **__: later)
    theirs = DDPMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type={"x0": "sample", "v": "v_prediction"}[prediction],
        timestep_spacing="trailing",
    )
    theirs.set_timesteps(10)
    wanted = batch.noise
    for time in theirs.timesteps:
        wanted = theirs.step(torch.tanh(wanted), time, wanted).prev_sample

    found = Diffusion(config).draw(lambda x, *_: torch.tanh(x), batch.elements, batch.noise)

    torch.testing.assert_close(found, wanted, rtol=0, atol=2e-3)


def test_more_steps_than_timesteps_are_refused():
    """In a single drawing."""
    batch = batch_of(data(4), 0)
    diffusion = Diffusion(DiffusionConfig(num_train_timesteps=30))
    with pytest.raises(ConfigError, match="steps is 31, and the noise has 30"):
        diffusion.draw(lambda x, *_: x, batch.elements, batch.noise, steps=31)


@pytest.mark.parametrize("steps", [1, 3, 7, 35, 60])
def test_no_noise_is_left(steps):
    """However the steps divide the timesteps."""
    batch = batch_of(data(5), 0)
    diffusion = Diffusion(DiffusionConfig(num_inference_steps=steps))

    found = diffusion.draw(lambda *_: batch.state, batch.elements, batch.noise)

    torch.testing.assert_close(found, batch.state, rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", ["ddim", "ddpm"])
def test_a_layout_alone_is_as_among_others(sampler):
    """Others in its batch and padding change nothing."""
    diffusion = Diffusion(DiffusionConfig(sampler=sampler, num_inference_steps=5))
    made = data(4, 2, 6)

    def denoise(noisy, *_):
        return 0.5 * noisy

    def drawn(*rows):
        batch = batch_of(made, *rows)
        return diffusion.draw(denoise, batch.elements, batch.noise)

    alone, among = drawn(1)[0, :2], drawn(0, 1, 2)[1, :2]

    torch.testing.assert_close(alone, among)
