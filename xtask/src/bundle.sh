#!/usr/bin/env bash
# Runs what the bundle holds on this machine: ./run.sh [MiB of the file to hash]. Needs a Vulkan loader and a driver.
# Never stops at the first failure; prints a summary, and writes everything to $OUT (default: ./out).
set -u
cd "$(dirname "$0")"
OUT=${OUT:-$PWD/out}
MIB=${1:-2048}
DEVICE=${VYRE_DEVICE:-auto}
mkdir -p "$OUT"
export VYRE_BIN=$PWD/vyre VYRE_TEST_DEVICE=${VYRE_TEST_DEVICE:-gpu}
results=()

step() { # step NAME SECONDS COMMAND...
  local name=$1 seconds=$2
  shift 2
  printf '\n== %s: %s\n' "$name" "$*"
  if timeout --kill-after=10 "$seconds" "$@" > >(tee "$OUT/$name.log") 2>&1; then
    results+=("ok      $name")
  else
    results+=("FAILED  $name ($?)")
  fi
}

same_hash() { # the resident kernel, on the device and on the reference engine, must agree
  head -c "${MIB}M" /dev/urandom > "$OUT/random" || return 1
  ./vyre hash --device "$DEVICE" --stats "$OUT/random" > "$OUT/hash.device" || return 1
  ./vyre hash --device reference --stats "$OUT/random" > "$OUT/hash.reference" || return 1
  rm -f "$OUT/random"
  cat "$OUT/hash.device"
  cmp "$OUT/hash.device" "$OUT/hash.reference"
}

bench_all() { # leaves one JSON and one HTML report
  ./vyre bench all --device "$DEVICE" --json --html "$OUT/bench.html" > "$OUT/bench.json"
}

wgpu() { # on the device of that report
  ./vyre-rival-wgpu "$(sed -n 's/^{"machine":{"device":"\([^"]*\)".*/\1/p' "$OUT/bench.json")" 20000 300
}

# `timeout` runs programs only, so functions go through a shell of their own.
export OUT MIB DEVICE
export -f same_hash bench_all wgpu

command -v nvidia-smi > /dev/null && step gpu 60 nvidia-smi
step devices 60 ./vyre devices
step doctor 300 ./vyre doctor --device "$DEVICE" --tries 1000000
for tests in vyre-vk vyre-runtime vyre-cli; do
  step "test-$tests" 300 "./tests/$tests" --ignored device --test-threads=1
done
step stale-blocks 300 env VYRE_STALE_MIB=2048 ./tests/vyre-runtime --ignored device::recycled --test-threads=1 --nocapture
step soak 300 ./soak --device "$DEVICE" --slots 2000000
step bench 600 bash -c bench_all
# With more bytes than bench all takes, so that submitting and waiting weigh little.
step ops 300 ./vyre bench ops --device "$DEVICE" --mib 512
step stream 600 ./vyre bench stream --device "$DEVICE" --mib "$MIB"
step wgpu 120 bash -c wgpu
step latency-one-worker 300 ./vyre bench latency --device "$DEVICE" --workers 1
step hash 600 bash -c same_hash

printf '\n== summary\n'
printf '%s\n' "${results[@]}" | tee "$OUT/summary"
! grep -q FAILED "$OUT/summary"
