#!/usr/bin/env bash
# Watch the GPUs and the jobs on them: monitor_gpu.sh [SECONDS] [--count N]; every 5 s if not said.
# Flags of `gpuops monitor` follow.
set -euo pipefail
PATH="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.venv/bin:$PATH"
interval=5
if [[ ${1:-} =~ ^[0-9.]+$ ]]; then
  interval=$1
  shift
fi
exec gpuops monitor --interval "$interval" "$@"
