#!/usr/bin/env bash
# Make .venv and install gpuops into it, unless that is done. With `dev`: also what the tests need.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
extras=${1:-}
venv=.venv
made="$venv/.made-by-gpuops"
stamp="$venv/.installed-${extras:-plain}"

say() { printf '%s\n' "$*" >&2; }
die() { say "error: $1"; say " hint: $2"; exit 2; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python3.10; do
    if command -v "$candidate" >/dev/null 2>&1 &&
      "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 10))' >/dev/null 2>&1; then
      printf '%s\n' "$candidate"
      return
    fi
  done
  die "no Python 3.10 or newer was found." "Install one, or name it: PYTHON=/path/to/python3 bash $0"
}

wanted=$(cat pyproject.toml constraints.txt | cksum)
# An installation for dev also serves plain.
for done_already in "$stamp" "$venv/.installed-dev"; do
  if [ -f "$done_already" ] && [ "$(cat "$done_already")" = "$wanted" ]; then exit 0; fi
done

if [ -e "$venv" ] && [ ! -e "$made" ]; then
  # Made by the user: used as it is if it has all that is needed.
  if "$venv/bin/gpuops" --version >/dev/null 2>&1 &&
    { [ -z "$extras" ] || "$venv/bin/lint-imports" --help >/dev/null 2>&1; }; then exit 0; fi
  die "the folder $PWD/$venv exists, but this script did not make it." \
    "Move it away, or install into it yourself: $venv/bin/pip install -e '.[dev]' -c constraints.txt"
fi
if [ ! -x "$venv/bin/python" ]; then
  python=$(find_python)
  mkdir -p "$venv" && : >"$made"
  "$python" -m venv "$venv" ||
    die "$python cannot make a virtual environment." "On Debian and Ubuntu: apt install python3-venv"
fi
say "installing into $PWD/$venv (about a minute; torch is large) ..."
log="$venv/install.log"
if ! "$venv/bin/python" -m pip install --disable-pip-version-check --no-input \
  ${extras:+--no-compile} -e ".${extras:+[$extras]}" -c constraints.txt 2>&1 |
  tee "$log" | { grep --line-buffered -E '^(Collecting|Installing|Successfully)' || true; } |
  cut -c1-100 >&2; then
  tail -n 5 "$log" >&2
  die "the installation failed." "The whole output of pip is in $PWD/$log"
fi
printf '%s\n' "$wanted" >"$stamp"
