#!/usr/bin/env bash
# Everything that needs a GPU, in one go: builds the library for the GPU at hand, runs the tests marked gpu, the kernels
# under compute-sanitizer, the TensorRT plugins through their own methods, and the benchmarks. Every step runs, whatever
# became of those before; the last line says which failed, and the exit status is 1 if any did.
#
#   tools/check_gpu.sh [--wheels DIR] [--out DIR] [--steps LIST]
#
#   --wheels DIR  for a machine without a package index: recblr's wheel and those of what its tests need beside PyTorch
#   --out DIR     where logs and results go (build/gpu/out)
#   --steps LIST  of build,tests,sanitizer,plugins,benchmarks,profile (all, in this order)
set -uo pipefail
cd "$(dirname "$0")/.."

wheels="" out=build/gpu/out steps=build,tests,sanitizer,plugins,benchmarks,profile
while [ $# -gt 0 ]; do
  case $1 in
    --wheels) wheels=$2; shift 2 ;;
    --out) out=$2; shift 2 ;;
    --steps) steps=$2; shift 2 ;;
    *) echo "check_gpu: unknown argument $1; see the head of $0" >&2; exit 2 ;;
  esac
done
mkdir -p "$out" build/gpu
out=$(realpath "$out")
failed=()

nvidia-smi --query-gpu=name,driver_version,compute_cap --format=csv 2>&1 | tee "$out/gpu.txt"
[ "${PIPESTATUS[0]}" -eq 0 ] || { echo "check_gpu: nvidia-smi finds no GPU: run this on a machine with one" >&2; exit 1; }

python=${PYTHON:-python3}
[ -n "$wheels" ] || [ ! -x .venv/bin/python ] || python=${PYTHON:-.venv/bin/python}
if [ -n "$wheels" ]; then
  "$python" -m pip install --quiet --no-index --no-deps --upgrade --target build/gpu/site "$wheels"/*.whl || exit 1
  export PYTHONPATH=$PWD/build/gpu/site
fi
export RECBLR_PLUGINS_LIBRARY=$PWD/build/gpu/plugins/librecblr_plugins.so

# step NAME COMMAND...: runs the command if NAME is asked for, with its output in NAME's log and the end of it here.
step() {
  local name=$1 group=${1%%-*}
  shift
  case ",$steps," in *",$group,"*) ;; *) return ;; esac
  echo "== $name"
  if "$@" >"$out/$name.log" 2>&1; then tail -n 3 "$out/$name.log"; else tail -n 30 "$out/$name.log"; failed+=("$name"); fi
}

build() {
  cmake -S . -B build/gpu -DCMAKE_BUILD_TYPE=Release -DRECBLR_CUDA=ON -DRECBLR_BUILD_TESTS=ON \
    -DRECBLR_CUDA_ARCHITECTURES="${RECBLR_CUDA_ARCHITECTURES:-AUTO}" && cmake --build build/gpu --parallel &&
    cmake -S tests/plugins/tensorrt_host -B build/gpu-host && cmake --build build/gpu-host --parallel
}

step build build
step tests "$python" -m pytest -m gpu -p no:cacheprovider --junitxml="$out/tests.xml"
step tests-kernels build/gpu/plugins/cuda_check 2000
for tool in memcheck racecheck initcheck; do
  step "sanitizer-$tool" compute-sanitizer --tool $tool --error-exitcode 9 build/gpu/plugins/cuda_check 60
done
step plugins build/gpu-host/recblr_plugin_host "$RECBLR_PLUGINS_LIBRARY" --gpu
step sanitizer-plugins compute-sanitizer --tool memcheck --error-exitcode 9 \
  build/gpu-host/recblr_plugin_host "$RECBLR_PLUGINS_LIBRARY" --gpu
step benchmarks-kernels "$python" benchmarks/kernels.py --device cuda
step benchmarks-training "$python" benchmarks/training.py
step profile ncu --set full --kernel-name regex:'scan_rows|convolve' --launch-count 24 --export "$out/kernels" --force-overwrite \
  "$python" benchmarks/kernels.py --device cuda --quick
cp benchmarks/results/*.json "$out" 2>/dev/null

if [ ${#failed[@]} -gt 0 ]; then
  echo "check_gpu: failed: ${failed[*]} (logs in $out)"
  exit 1
fi
echo "check_gpu: all steps passed"
