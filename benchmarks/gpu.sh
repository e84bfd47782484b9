#!/usr/bin/env bash
# What can be measured on one GPU in 8 minutes: the gpu tests, the speed of every part at full size, whole walks.
#
#   benchmarks/gpu.sh [OUT] [WHEELS]
#
# For a machine whose python3 has torch 2.11 or later and transformers 5.17 or later. WHEELS is a folder of wheels of
# what is missing there, which are installed into a temporary folder; made beforehand with
#   pip download --only-binary=:all: --no-deps --python-version 3.12 -d WHEELS pydantic pydantic-core ...
# (`benchmarks/gpu.sh missing` names them). OUT gets gpu-tests.txt, speed.json, walks.json and table.md.
# DEVICE=cpu tries the script on a machine without a GPU, at a small size.
set -u
cd "$(dirname "$0")/.."
NEEDED="torch transformers safetensors tokenizers huggingface_hub scipy numpy pyarrow pydantic pydantic_core
    annotated_types typing_inspection yaml jaxtyping typer rich tqdm jinja2 beartype hypothesis pytest pytest_timeout xdist"
missing() {
    for module in $NEEDED; do python3 -c "import $module" 2>/dev/null || echo "$module"; done
}
if [ "${1:-}" = missing ]; then missing; exit; fi

out=$(realpath -m "${1:-build/gpu}") wheels=${2:-} device=${DEVICE:-cuda} began=$SECONDS
mkdir -p "$out"
if [ -n "$wheels" ]; then
    site=$(mktemp -d)
    trap 'rm -rf "$site"' EXIT
    python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" "$wheels"/*.whl || exit 2
    export PYTHONPATH=$site
fi
if [ -n "$(missing)" ]; then echo "not installed here: $(missing | tr '\n' ' '); give a folder of wheels"; exit 2; fi
export PYTHONPATH=$PWD:${PYTHONPATH:-} HF_HUB_OFFLINE=1
if [ "$device" = cuda ]; then
    python3 -c 'import sys, torch; sys.exit(not torch.cuda.is_available())' || { echo "torch sees no GPU here"; exit 2; }
    speed="--shape qwen3-30b-a3b --dtype bfloat16 --tokens 16384 --side 8192 --seconds 60"
    walks="--shape qwen3-30b-a3b --layers 6 --sequences 3072 --dtype bfloat16 --methods reap ream reap-refit"
else
    speed="--shape demo --tokens 512 --seconds 5"
    walks="--shape demo --layers 2 --sequences 16 --methods reap ream"
fi

failed=0
step() { # NAME SECONDS COMMAND...: run a step, with what it prints in OUT/NAME.txt
    local name=$1 limit=$2
    shift 2
    echo "== $name (at most $limit s)"
    timeout "$limit" "$@" 2>&1 | tee "$out/$name.txt" | tail -n 40
    local code=${PIPESTATUS[0]}
    [ "$code" = 0 ] || { echo "$name: exit code $code"; failed=1; }
}
marked=gpu
[ "$device" = cuda ] || marked="not slow and not gpu"
step gpu-tests 120 python3 -m pytest -q -n 0 -p no:cacheprovider -m "$marked" tests/walk/test_devices.py tests/core/test_blocks.py
# shellcheck disable=SC2086
step speed 120 python3 -m benchmarks.speed --device "$device" $speed --out "$out/speed.json"
# shellcheck disable=SC2086
step walks 210 python3 -m benchmarks.walks --device "$device" $walks --out "$out/walks.json"
python3 -m benchmarks.gpu_table "$out" | tee "$out/table.md"
echo "$((SECONDS - began)) s; results in $out"
exit $failed
