"""The command lines of the two old guides, as they are typed there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from trainers.engine.config.config import resolve
from trainers.rvq.config import PRESETS, Config

README = Path(__file__).parents[3] / "trainers" / "rvq" / "README.md"
RATIOS = "--multi_length_training 0.5 0.75 1.0 1.25 1.5"
WINDOWS = "--window_size 64 --window_stride 20"
FIVE = (0.5, 0.75, 1.0, 1.25, 1.5)

GUIDE_YAML = """
batch_size: 1024
window_size: 64
window_stride: 20
multi_length_training: [0.5, 0.75, 1.0, 1.25, 1.5]
total_iter: 10000
lr: 0.0002
lr_scheduler: [5000, 8000]
nb_code: 1024
num_quantizers: 8
code_dim: 128
width: 512
depth: 3
recons_loss: "l1_smooth"
commit: 0.02
mu: 0.99
quantize_dropout_prob: 0.5
exp_name: "rvq_seamless_experiment"
out_dir: "experiments/rvq_seamless_experiment_whole"
seed: 42
print_iter: 100
eval_iter: 1000
"""

# Flags as typed, and what they must come to: setting -> value.
TYPED = [
    (
        f"--batch_size 256 {WINDOWS} {RATIOS}",
        {
            "loop.batch_size": 256,
            "dataset.window_size": 64,
            "dataset.window_stride": 20,
            "dataset.multi_length_training": FIVE,
        },
    ),
    (
        f"--batch_size 32 --max_samples 100 --total_iter 100 {WINDOWS} {RATIOS}",
        {"dataset.max_samples": 100, "loop.total_iter": 100},
    ),
    (f"--batch_size 1024 {WINDOWS} {RATIOS}", {"loop.batch_size": 1024}),
    (RATIOS.replace("_training", ""), {"dataset.multi_length_training": FIVE}),
    (
        f"--batch_size 1024 --cache_train a.npz --cache_val b.npz {WINDOWS} {RATIOS}",
        {"dataset.cache_train": Path("a.npz"), "dataset.cache_val": Path("b.npz")},
    ),
    (f"--batch_size 256 {WINDOWS} {RATIOS} --use_cache False", {"dataset.use_cache": False}),
    ("--batch_size 512", {"loop.batch_size": 512}),
    ("--gradient_checkpointing True", {"loop.gradient_checkpointing": True}),
    ("--gradient_checkpointing", {"loop.gradient_checkpointing": True}),
    ("--mixed_precision True", {"loop.mixed_precision": "auto"}),
    ("--mixed_precision", {"loop.mixed_precision": "auto"}),
    ("--mixed_precision False", {"loop.mixed_precision": "off"}),
    ("--num_workers 8", {"loader.num_workers": 8}),
    (
        f"--max_samples 10 --total_iter 10 --batch_size 2 {WINDOWS}",
        {"dataset.max_samples": 10, "loop.total_iter": 10, "loop.batch_size": 2},
    ),
    ("--batch_size 160", {"loop.batch_size": 160}),
    (
        "--width 1536 --depth 5 --num_quantizers 16 --batch_size 160",
        {"model.width": 1536, "model.depth": 5, "quantizer.num_quantizers": 16},
    ),
    ("--data_path /path/to/your/data", {"dataset.data": "/path/to/your/data"}),
    (
        "--window_size 160 --window_stride 60",
        {"dataset.window_size": 160, "dataset.window_stride": 60},
    ),
    (
        "--nb_code 1024 --down_t 3 --shared_codebook False",
        {
            "quantizer.nb_code": 1024,
            "model.down_t": 3,
            "quantizer.shared_codebook": False,
        },
    ),
    ("--shared_codebook", {"quantizer.shared_codebook": True}),
    ("--lr_scheduler 50000 200000 400000", {"optim.lr_scheduler": (50_000, 200_000, 400_000)}),
    ("--lr_scheduler [50000,200000,400000]", {"optim.lr_scheduler": (50_000, 200_000, 400_000)}),
    ("--lr 2e-4 --gamma 0.05", {"optim.lr": 2e-4, "optim.gamma": 0.05}),
    (
        "--commit 0.02 --loss_vel 0.5 --recons_loss l1_smooth",
        {"loss.commit": 0.02, "loss.loss_vel": 0.5, "loss.recons_loss": "l1_smooth"},
    ),
]


def resolved(flags):
    return resolve(Config, shlex.split(flags), name="rvq", presets=PRESETS)


@pytest.mark.parametrize(("flags", "wanted"), TYPED, ids=lambda value: str(value)[:60])
def test_flags_work_as_typed(flags, wanted):
    """Each flag of the guides is a setting, and takes its value as it stands there."""
    config = resolved(flags)
    for path, value in wanted.items():
        section, leaf = path.split(".")
        assert getattr(getattr(config, section), leaf) == value


def test_the_config_file_of_the_guide_works_as_it_stands(tmp_path):
    """Every key of it; milestones are numbers, and the folder is the one that it names."""
    file = tmp_path / "rvq_seamless_train.yaml"
    file.write_text(GUIDE_YAML)
    config = resolved(f"--config {file}")

    assert config.optim.lr_scheduler == (5000, 8000)
    assert config.dataset.multi_length_training == FIVE
    assert config.loss.recons_loss == "l1_smooth"
    assert config.run.exp_name == "rvq_seamless_experiment"
    assert config.run.folder == Path("experiments/rvq_seamless_experiment_whole")
    assert (config.quantizer.mu, config.quantizer.quantize_dropout_prob) == (0.99, 0.5)
    assert (config.run.seed, config.loop.print_iter, config.loop.eval_iter) == (42, 100, 1000)


def rows():
    """Old and new commands of the README's tables, by row."""
    section = README.read_text().split("## From the guide", 1)[1].split("\n## ", 1)[0]
    found = re.findall(r"^\| (.+?) \| (.+?) \|$", section, re.MULTILINE)
    cells = [[re.findall(r"`([^`]+)`", cell) for cell in row] for row in found]
    return [(old, new) for old, new in cells if old and new]


def test_the_table_names_every_command_of_the_guides():
    """What a reader of them may have typed stands in the left column."""
    typed = " ".join(command for old, _ in rows() for command in old)
    for word in (
        "rvq_seamless_train.py", "torch.distributed.launch", "rvq_seamless_multi_gpu.py",
        "train_multi_gpu_fixed_cache.sh", "train_multi_gpu_custom.sh", "train_complete.sh",
        "nvidia-smi", "ps aux", "pkill", "tail -f", "tail -n 50", "ls -la", "tensorboard --logdir",
        "test_seamless_dataset.py", "RQVAE", "train_8x4090.sh", "train_8x4090.py", "monitor_gpu.py",
        "--gradient_checkpointing", "--mixed_precision", "--data_path", "--nproc_per_node 4",
        "configs/rvq_seamless_train.yaml", "SeamlessInteractionDataset", "save_window_params.py",
        "check_cache_distribution.py", "test_fixed_cache.py", "--cache_train", "--use_cache",
    ):  # fmt: skip
        assert word in typed, word


def test_no_launch_of_the_table_trains_on_made_up_data():
    """Who follows the guides has motion; the built-in gaits would train without a word."""
    launches = [new for _, commands in rows() for new in commands if "gpuops launch" in new]
    assert len(launches) > 4
    for command in launches:
        assert "--data " in command or "--preset seamless" in command, command


def test_every_new_command_of_the_table_can_be_typed():
    """A gpuops command, a script that is there, or flags that the trainer takes.

    That gpuops takes the words is looked at in tests/contracts/test_documents.py.
    """
    new = [command for _, commands in rows() for command in commands]
    assert len(new) > 20
    for command in new:
        words = shlex.split(command)
        if words[0].startswith("shell/"):
            assert (README.parents[2] / words[0]).is_file(), command
        elif words[0].startswith("--"):
            resolve(Config, words, name="rvq", presets=PRESETS)
        else:
            assert words[0] == "gpuops", command
