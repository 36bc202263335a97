#!/usr/bin/env bash
# Everything that a borrowed NVIDIA GPU is asked, in one command of less than eight minutes:
#   bash bench/gpu/run.sh OUT
# writes OUT/gpu.json, OUT/gpu.md and OUT/report-*.html. Without a GPU it is a rehearsal: it goes as
# far as it gets, says what it would measure, and ends well. `make gpu-bundle` comes first, on a
# machine with a package index. docs/gpu.md has the rest.
#
# PYTHON: the interpreter that has torch. MOPT_GPU_BUNDLE: another folder than .gpu-bundle.
set -euo pipefail
started=$(date +%s)

if (($# != 1)); then
  echo "usage: bash bench/gpu/run.sh OUT" >&2
  exit 2
fi
mkdir -p "$1"
out=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
python=${PYTHON:-python3}
bundle=${MOPT_GPU_BUNDLE:-.gpu-bundle}
if [[ ! -f $bundle/bundle.json ]]; then
  echo "$bundle/bundle.json is missing: run \`make gpu-bundle\` first, and bring $bundle" >&2
  exit 2
fi
bundle=$(cd "$bundle" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

export PYTHONPATH="$PWD/crds:$PWD/optimizer_image:$bundle/weights${PYTHONPATH:+:$PYTHONPATH}"
export PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
# The models are ours; the machine's kernel may have no Landlock.
export MOPT_SANDBOX=${MOPT_SANDBOX:-BestEffort}
if "$python" -c 'import importlib.util as u, sys
sys.exit(None in map(u.find_spec, ("pydantic", "torchao", "minio")))'; then
  echo "what the bundle's wheels are for is installed already"
else
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
    --disable-pip-version-check --target "$work/site" "$bundle"/wheels/*.whl
  export PYTHONPATH="$work/site:$PYTHONPATH"
fi
"$python" -m bench.gpu --out "$out" --bundle "$bundle" --workdir "$work" --started "$started"
