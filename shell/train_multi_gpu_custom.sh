#!/usr/bin/env bash
# Train the motion RVQ-VAE on windows of several lengths, on a given number of GPUs:
#
#   shell/train_multi_gpu_custom.sh --n_gpus 8 --batch_size 1024 --master_port 29501
#
# --batch_size is the sum over all GPUs (8 GPUs 1024, 4 GPUs 512), the --global-batch of gpuops.
# All other flags go to the trainer and to `gpuops launch`.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
words=()
while [ $# -gt 0 ]; do
  case $1 in
    --n[_-]gpus=* | --batch[_-]size=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --n[_-]gpus) words+=(--nproc-per-node "${2:?how many GPUs?}") && shift 2 ;;
    --batch[_-]size)
      words+=(--global-batch "${2:?how many windows a step?}")
      echo "batch_size $2: windows per step over all GPUs together (--global-batch $2)" >&2
      shift 2
      ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
    *) words+=("$1") && shift ;;
  esac
done
exec gpuops launch rvq --profile 8x4090 --data datasets/seamless_interaction --preset seamless "${words[@]}"
