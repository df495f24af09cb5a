"""The guide's settings files and command lines, as they are typed there."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from trainers.engine.config.config import resolve
from trainers.signllm.config import PRESETS, Config
from trainers.signllm.guide_config import translate

README = Path(__file__).parents[3] / "trainers" / "signllm" / "README.md"

MINIMAL = """
{
  "model": {
    "mode": "mlsf",  // or "prompt2langgloss"
    "text_encoder": {"model_name": "bert-base-multilingual-cased", "max_length": 128},
    "pose_decoder": {
      "output_dim": 150,  // the values of a frame
      "num_layers": 4
    }
  },
  "data": {
    "dataset_path": "datasets/signllm_data_complete",
    "batch_size": 8,  // less if the GPU is small
    "max_frames": 500
  },
  "training": {"num_epochs": 50, "learning_rate": 1e-4, "save_every": 5}
}
"""

YOUR_DATA = """
{ // the schema of a user's own data
  "model": {
    "mode": "mlsf",
    "gloss_vocab_size": 10000, "hidden_dim": 512, "dropout": 0.1,
    "text_encoder": {
      "model_name": "bert-base-multilingual-cased", "max_length": 128, "hidden_dim": 768
    },
    "gloss_encoder": {
      "vocab_size": 10000, "embedding_dim": 256, "hidden_dim": 512, "num_layers": 2
    },
    "pose_decoder": {
      "input_dim": 512, "hidden_dim": 512, "output_dim": 150, "num_layers": 4, "dropout": 0.1
    },
    "priority_learning": {"enabled": true, "alpha": 0.1, "beta": 0.9}
  },
  "data": {
    "dataset_path": "datasets/signllm_data_complete",
    "languages": ["ASL"],
    "splits": {"train": "dev", "val": "dev"},
    "batch_size": 8,
    "max_frames": 500,
    "num_workers": 0,
    "pose_dim": 256
  },
  "training": {
    "num_epochs": 50, "learning_rate": 1e-4, "weight_decay": 0.01, "gradient_clip": 1.0,
    "use_scheduler": true, "warmup_steps": 100, "eval_every": 1, "save_every": 5
  },
  "checkpoint": {"save_dir": "checkpoints/signllm_your_data", "resume_from": null},
  "logging": {"log_dir": "logs/signllm_your_data", "log_every": 10, "use_tensorboard": true},
  "evaluation": {"metrics": ["dtw", "pose_similarity", "motion_smoothness"]}
}
"""

OTHER = """
{ // the schema of many languages
  "model": {
    "languages": ["ASL", "DGS"], "gloss_vocab_size": 10000, "hidden_dim": 1024, "pose_dim": 150
  },
  "data": {
    "data_dirs": {
      "ASL": "datasets/signllm_data_complete", "DGS": "datasets/signllm_data_complete"
    },
    "languages": ["ASL", "DGS"],
    "batch_size": 8,
    "num_workers": 4,
    "max_sequence_length": 256
  },
  "training": {
    "mode": "MODE", "epochs": 100, "grad_clip": 1.0,
    "log_interval": 100, "val_interval": 1, "save_interval": 10
  },
  "optimizer": {"type": "adamw", "lr": 1e-4, "weight_decay": 0.01},
  "scheduler": {"type": "cosine", "eta_min": 1e-6},
  "loss": {"use_rl_loss": true, "alpha": 0.1, "beta": 0.1}
}
"""


def resolved(*flags):
    words = [str(flag) for flag in flags]
    return resolve(Config, words, name="signllm", presets=PRESETS, translate=translate)


@pytest.mark.parametrize(
    ("preset", "text", "languages"),
    [
        ("your-data", YOUR_DATA, ["ASL"]),
        ("mlsf", OTHER.replace("MODE", "mlsf"), ["ASL", "DGS"]),
        ("prompt2langgloss", OTHER.replace("MODE", "prompt2langgloss"), ["ASL", "DGS"]),
    ],
)
def test_the_files_of_the_guide_are_the_presets(tmp_path, preset, text, languages):
    """Setting by setting, comments and all; BERT is a folder that only the user can bring."""
    file = tmp_path / f"signllm_{preset}_config.json"
    file.write_text(text)
    found = resolved("--config", file)
    wanted = resolved("--preset", preset, "--languages", *languages)

    assert found.text.text_encoder in {"bert-base-multilingual-cased", "bytes"}
    assert found.run.exp_name == "signllm"  # the files name no run
    assert wanted.run.exp_name == f"signllm_{preset.replace('-', '_')}"
    assert replace(found, text=replace(found.text, text_encoder="bytes"), run=wanted.run) == wanted


def test_the_keys_that_the_guide_explains(tmp_path):
    """As they stand there, each with its comment."""
    (tmp_path / "mine.json").write_text(MINIMAL)
    found = resolved("--config", tmp_path / "mine.json")

    assert (found.model.mode, found.model.layers) == ("mlsf", 4)
    assert (found.text.text_encoder, found.text.max_length) == ("bert-base-multilingual-cased", 128)
    assert found.dataset.data == "datasets/signllm_data_complete"
    assert (found.loop.batch_size, found.dataset.max_frames) == (8, 500)
    assert (found.loop.epochs, found.optim.lr, found.loop.save_epochs) == (50, 1e-4, 5)


def test_the_full_training_has_the_guide_s_values():
    """The preset of this trainer's own name."""
    found = resolved("--preset", "signllm")
    assert (found.loop.epochs, found.loop.batch_size, found.loop.save_epochs) == (50, 8, 5)
    assert (found.dataset.max_frames, found.optim.lr, found.model.width) == (500, 1e-4, 512)


@pytest.mark.parametrize("preset", ["signllm", "your-data", "mlsf", "quick"])
def test_debug_makes_less_of_any_settings(preset):
    """64 sentences, 10 epochs; everything else stays."""
    found, full = resolved("--preset", preset, "--debug"), resolved("--preset", preset)
    assert (found.dataset.max_samples, found.loop.epochs) == (64, 10)
    assert (found.dataset.data, found.model) == (full.dataset.data, full.model)


def test_flags_work_as_the_guide_types_them():
    """With underscores or dashes, by the guide's names."""
    found = resolved(
        *shlex.split(
            "--batch_size 2 --learning_rate 1e-3 --gradient_clip 1.0 --warmup_steps 1000 "
            "--num_workers 0 --num_epochs 3 --dry_run --resume a/last_model.pth --max_frames 256"
        )
    )
    assert (found.loop.batch_size, found.loop.epochs, found.loader.num_workers) == (2, 3, 0)
    assert (found.optim.lr, found.optim.grad_clip, found.optim.warmup_iter) == (1e-3, 1.0, 1000)
    assert (found.run.dry_run, found.run.resume) == (True, "a/last_model.pth")
    assert found.dataset.max_frames == 256


def rows():
    """The guide's commands and ours, by row of the README's tables."""
    section = README.read_text().split("## From the guide", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    cells = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in found]
    return [(old, new) for old, new in cells if old and new]


def test_the_table_names_all_that_the_guide_types():
    """Commands, files and folders."""
    typed = " ".join(command for old, _ in rows() for command in old)
    for word in (
        "ls -la datasets/signllm_data_complete/ASL/dev/", "pip install -r requirements.txt",
        "torch.cuda.is_available()", "quick_train.py", "start_training.py", "--debug", "--dry_run",
        "--config configs/signllm_your_data_config.json", "train_signllm.py",
        "configs/signllm_mlsf_config.json", "configs/signllm_prompt2langgloss_config.json",
        "tensorboard --logdir logs/signllm_your_data", "final_convert_data.py", "last_model.pth",
        "--resume checkpoints/signllm_your_data/best_model.pth", "evaluation.py --model_path",
        "inference_signllm.py", "visualize_skeleton_data.py --mode animation", "train.log",
        "epoch_5.pth", "training_stats.json", "config_used.json", "events.out.tfevents", "samples/",
        '"batch_size": 2', '"num_workers": 0', '"learning_rate": 1e-3', '"gradient_clip": 1.0',
        '"warmup_steps": 1000',
    ):  # fmt: skip
        assert word in typed, word


def test_every_command_of_the_table_can_be_typed():
    """gpuops' own, or flags that the trainer takes; the presets of launches are there."""
    new = [command for _, commands in rows() for command in commands]
    assert len(new) > 20
    for command in new:
        words = shlex.split(command)
        if words[0].startswith("--") and words[0] != "--config":
            resolved(*words)
        if words[:3] == ["gpuops", "launch", "signllm"] and "--preset" in words:
            resolved("--preset", words[words.index("--preset") + 1])
