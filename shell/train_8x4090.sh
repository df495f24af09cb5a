#!/usr/bin/env bash
# Train the motion RVQ-VAE on a host with eight RTX 4090, GPU 0 left alone: 80 windows of 128 frames on
# each of seven GPUs. Takes the flags of the trainer and of `gpuops launch`; --batch_size is per GPU.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
exec gpuops launch rvq --profile 7x4090 --data datasets/seamless_interaction "$@"
