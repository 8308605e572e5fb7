#!/bin/sh
# Two processes of the tool train one network (examples/mpi): the loss of one process within
# rounding, the same file from run to run, disjoint halves of the images, and a process that is
# killed ends the run and leaves a checkpoint from which it ends as if nothing had happened. Skipped
# where MPI is not installed or cannot start.
here=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0
failed=0
check() { # TEXT COMMAND...: counts
  text=$1
  shift
  if "$@"; then passed=$((passed + 1)); else
    failed=$((failed + 1))
    echo "test_mpi.sh: failed: $text"
  fi
}
skip() {
  echo "test_mpi.sh: skipped: $1"
  echo "mpi: 0 passed, 0 failed"
  exit 0
}
command -v mpicc > /dev/null 2>&1 || skip "no mpicc"
command -v mpirun > /dev/null 2>&1 || skip "no mpirun"
modules=$(ls "$here"/examples/tool/*.c "$here"/examples/tool/*/*.c |
  grep -v -e '/tool/boundarydpt.c$' -e '/tool/page/')
# shellcheck disable=SC2086
mpicc -std=c99 -O1 -w -DBDPT_NO_VECTORS "$here/examples/mpi/boundarydpt_mpi.c" $modules \
  -o "$work/tool" -lm > "$work/log" 2>&1 || skip "mpicc does not compile: $(head -n 1 "$work/log")"
cd "$work" || exit 1
root=
if mpirun --version 2> /dev/null | grep -q "Open MPI"; then
  root=--oversubscribe
  [ "$(id -u)" -ne 0 ] || root="--allow-run-as-root --oversubscribe"
fi
many() { # PROCESSES ARGUMENTS...
  n=$1
  shift
  # shellcheck disable=SC2086
  OMPI_MCA_btl=self,vader OMP_NUM_THREADS=1 mpirun $root -n "$n" ./tool "$@" 2> err
}
train="train --generated --patch 8 --width 16 --heads 2 --depth 2 --images 1280 --batch 64 \
  --threads 1 --seed 3 --held 200 --json --quiet"
# shellcheck disable=SC2086
many 1 $train --epochs 1 --out one.safetensors > one || skip "mpirun cannot start: $(tail -n 1 err)"
# shellcheck disable=SC2086
many 2 $train --epochs 1 --out two.safetensors > two
check "two processes end well" [ -s two.safetensors ]
check "each has its half" grep -q "2 processes, each trains on 640 of 1280 images an epoch" err
# shellcheck disable=SC2086
many 2 $train --epochs 1 --out again.safetensors > /dev/null
check "the same bits from run to run" cmp -s two.safetensors again.safetensors
loss() { sed -n 's/.*"loss": *\([0-9.]*\).*/\1/p' "$1" | tail -n 1; }
check "the loss of one process: $(loss one) and $(loss two)" awk -v a="$(loss one)" \
  -v b="$(loss two)" 'BEGIN { d = a - b; if (d < 0) d = -d; exit !(a > 0 && d <= 1e-5 * a) }'
# shellcheck disable=SC2086
many 2 $train --epochs 6 --out whole.safetensors > /dev/null
for moment in 1 2; do
  # shellcheck disable=SC2086
  many 2 $train --epochs 6 --out part.safetensors > /dev/null &
  sleep $moment
  victim=$(pgrep -f "^./tool train.*part.safetensors" | tail -n 1)
  [ -z "$victim" ] || kill -9 "$victim" 2> /dev/null
  wait
  # shellcheck disable=SC2086
  many 2 $train --epochs 6 --out part.safetensors > /dev/null
  check "killed after $moment s and resumed: the same file" \
    cmp -s whole.safetensors part.safetensors
  rm -f part.safetensors*
done
echo "mpi: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
