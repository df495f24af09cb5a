"""Settings and presets."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from trainers.engine.config.config import resolve
from trainers.engine.errors import ConfigError
from trainers.rvq.config import PRESETS, Config


def config(*argv):
    return resolve(Config, argv, name="rvq", presets=PRESETS)


def test_answers_without_torch():
    """The launcher asks before it starts anything, so it must not wait for torch."""
    program = (
        "import sys; from trainers.rvq import config;"
        "from trainers.engine.config.config import main;"
        "sys.argv[1:] = ['--preset', 'demo', '--lr', '3e-4'];\n"
        "try: main(config.Config, name='rvq', presets=config.PRESETS)\n"
        "except SystemExit as end: assert not end.code, end.code\n"
        "assert 'torch' not in sys.modules, 'torch'"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    assert json.loads(ended.stdout)["optim"]["lr"] == 3e-4


def test_flags_of_the_guides_work_as_typed():
    """Underscores, lists and switches with values."""
    found = config(
        *[
            "--batch_size",
            "1024",
            "--window_size",
            "64",
            "--window_stride",
            "20",
            "--nb_code",
            "1024",
        ],
        *["--multi_length_training", "0.5", "0.75", "1.0", "1.25", "1.5", "--num_quantizers", "8"],
        *[
            "--gradient_checkpointing",
            "True",
            "--mixed_precision",
            "--max_samples",
            "10",
            "--total_iter",
            "10",
        ],
        *[
            "--quantize_dropout_prob",
            "0.5",
            "--recons_loss",
            "l1_smooth",
            "--commit",
            "0.02",
            "--mu",
            "0.99",
        ],
    )
    assert found.dataset.multi_length_training == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert found.loop.gradient_checkpointing
    assert found.loop.mixed_precision == "auto"


def test_the_seamless_preset_is_the_first_guide():
    """Window 64 and 20, five ratios, 8 codebooks, 10,000 steps, milestones at half and 0.8."""
    found = config("--preset", "seamless")
    assert found.dataset.data == "datasets/seamless_interaction"
    assert (found.dataset.window_size, found.dataset.window_stride) == (64, 20)
    assert found.dataset.multi_length_training == (0.5, 0.75, 1.0, 1.25, 1.5)
    assert (found.quantizer.num_quantizers, found.quantizer.quantize_dropout_prob) == (8, 0.5)
    assert (found.loop.total_iter, found.optim.lr) == (10_000, 2e-4)
    assert found.optim.lr_scheduler == (5_000, 8_000)


def test_the_beat_preset_is_the_second_guide():
    """Window 128 and 64, 6 codebooks, 300,000 steps of 80 a GPU, three milestones, gamma 0.05."""
    found = config("--preset", "beat-7x4090")
    assert (found.dataset.window_size, found.dataset.window_stride) == (128, 64)
    assert (found.loop.batch_size, found.loop.total_iter) == (80, 300_000)
    assert found.optim.lr_scheduler == (50_000, 200_000, 400_000)
    assert (found.optim.gamma, found.quantizer.num_quantizers) == (0.05, 6)
    assert (found.loss.commit, found.loss.loss_vel) == (0.02, 0.5)


def test_the_large_preset_is_the_bigger_model():
    """Width 1024, depth 4, three halvings, 12 codebooks."""
    found = config("--preset", "large")
    model = found.model
    assert (model.width, model.depth, model.down_t) == (1024, 4, 3)
    assert found.quantizer.num_quantizers == 12


@pytest.mark.parametrize("preset", sorted(path.stem for path in PRESETS.glob("*.yaml")))
def test_every_preset_resolves(preset):
    """And names a run after itself."""
    assert preset.split("-")[0] in config("--preset", preset).run.exp_name


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["--widht", "3"], "widht.*nearest is.*width"),
        (["--width", "0"], r"model.width cannot be"),
        (["--quantize-dropout-prob", "1.5"], "quantizer.quantize_dropout_prob cannot be"),
        (["--preset", "seemless"], "seamless"),
    ],
)
def test_what_cannot_be_is_refused(argv, sentence):
    """With a sentence, before anything starts."""
    with pytest.raises(ConfigError, match=sentence):
        config(*argv)


@pytest.mark.parametrize("flags", [["--global-batch", "2048"], ["--scale-lr"]])
def test_a_number_of_windows_where_there_is_none_is_refused(flags):
    """Batches by frames have no fixed number of windows to scale by."""
    with pytest.raises(ConfigError, match=r"dataset.frames_per_batch makes their number differ"):
        config("--frames-per-batch", "4096", *flags)
