#!/usr/bin/env bash
# The complete training of the guide on eight GPUs: checks first, 1024 windows a step over all GPUs,
# lengths of 32 to 96 frames. Your flags are added.
set -euo pipefail
exec bash "$(dirname "${BASH_SOURCE[0]}")/train_multi_gpu_custom.sh" \
  --n_gpus 8 --batch_size 1024 --master_port 29501 \
  --window_size 64 --window_stride 20 --multi_length_training 0.5 0.75 1.0 1.25 1.5 "$@"
