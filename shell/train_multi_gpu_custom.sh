#!/usr/bin/env bash
# Train the motion RVQ-VAE on windows of several lengths, on as many GPUs of a host as you say:
#
#   shell/train_multi_gpu_custom.sh --n_gpus 8 --batch_size 1024 --master_port 29501
#
# --batch_size is the total of all GPUs together (8 GPUs 1024, 4 GPUs 512): --global-batch of
# gpuops, which deals it out. All other flags are the trainer's and those of `gpuops launch`.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
words=()
while [ $# -gt 0 ]; do
  case $1 in
    --n[_-]gpus=* | --batch[_-]size=*) set -- "${1%%=*}" "${1#*=}" "${@:2}" ;;
    --n[_-]gpus) words+=(--nproc-per-node "${2:?how many GPUs?}") && shift 2 ;;
    --batch[_-]size)
      words+=(--global-batch "${2:?how many windows a step?}")
      echo "batch_size $2: so many windows a step over all GPUs together (--global-batch $2)" >&2
      shift 2
      ;;
    -h | --help) sed -n '2,/^set/s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" && exit ;;
    *) words+=("$1") && shift ;;
  esac
done
exec gpuops launch rvq --profile 8x4090 --data datasets/seamless_interaction --preset seamless "${words[@]}"
