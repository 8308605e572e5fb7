#!/bin/sh
# Two processes of the tool train one network (examples/mpi): the loss of one process within
# rounding, the same file from run to run, disjoint halves of the images. A process that is killed
# at a random moment ends the run and leaves a checkpoint from which it ends as if nothing had
# happened; one that is asked to stop, or cannot read an image, ends it with one sentence. Skipped
# where MPI is not installed or cannot start.
#
#   KILLS=10 sh tests/test_mpi.sh                                  more kills than the usual two
#   MPICC=mpicc.mpich MPIRUN=mpirun.mpich sh tests/test_mpi.sh     another MPI
#   MPI_TOOL=build/boundarydpt-mpi sh tests/test_mpi.sh            a tool that is built already
MPICC=${MPICC:-mpicc}
MPIRUN=${MPIRUN:-mpirun}
KILLS=${KILLS:-2}
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
mpi_tool() { # FILES AND FLAGS...
  "$MPICC" -std=c99 -O1 -w "$here/examples/mpi/boundarydpt_mpi.c" "$@" -o "$work/tool" -lm \
    > "$work/log" 2>&1
}
command -v "$MPICC" > /dev/null 2>&1 || skip "no $MPICC"
command -v "$MPIRUN" > /dev/null 2>&1 || skip "no $MPIRUN"
# What make has built is linked, with OpenMP if it was built so; otherwise all is compiled here.
modules="$here/build/tool.a $here/build/library.o"
if [ -n "$MPI_TOOL" ]; then cp "$MPI_TOOL" "$work/tool" || exit 1
elif [ "$here/build/tool.a" -nt "$here/boundarydpt.h" ] &&
  { mpi_tool $modules -fopenmp || mpi_tool $modules; }; then :
else
  modules=$(ls "$here"/examples/tool/*.c "$here"/examples/tool/*/*.c |
    grep -v -e '/tool/boundarydpt.c$' -e '/tool/page/')
  mpi_tool -DBDPT_NO_VECTORS $modules || skip "$MPICC does not compile: $(head -n 1 "$work/log")"
fi
cd "$work" || exit 1
root=
if "$MPIRUN" --version 2> /dev/null | grep -q "Open MPI"; then
  root=--oversubscribe
  [ "$(id -u)" -ne 0 ] || root="--allow-run-as-root --oversubscribe"
fi
export OMPI_MCA_btl=self,vader OMPI_MCA_mpi_yield_when_idle=1 OMP_NUM_THREADS=1
many() { # PROCESSES ARGUMENTS...
  n=$1
  shift
  # shellcheck disable=SC2086
  "$MPIRUN" $root -n "$n" ./tool "$@" 2> err
}
train="train --generated --patch 8 --width 16 --heads 2 --depth 2 --images 1280 --batch 64 \
  --threads 1 --seed 3 --held 200 --json --quiet"
# shellcheck disable=SC2086
many 1 $train --epochs 1 --out one.safetensors > one ||
  skip "$MPIRUN cannot start: $(tail -n 1 err)"
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
# Kills, spread over the time that the whole takes; the seed of the moments is the time.
began=$(date +%s)
# shellcheck disable=SC2086
many 2 $train --epochs 6 --out whole.safetensors > /dev/null
took=$(($(date +%s) - began + 1))
kill_one() { # SECONDS SIGNAL: of the processes that train part.safetensors
  sleep "$1"
  for victim in $(pgrep -f "^./tool train.*part.safetensors" | tail -n 1); do
    kill "-$2" "$victim" 2> /dev/null
  done
}
number=1
while [ "$number" -le "$KILLS" ]; do
  moment=$(awk -v n="$number" -v t="$took" -v s="$(date +%s)" \
    'BEGIN { srand(s + n); printf "%.2f", 0.2 + rand() * t }')
  rm -f part.safetensors*
  # shellcheck disable=SC2086
  many 2 $train --epochs 6 --out part.safetensors > /dev/null &
  kill_one "$moment" KILL
  wait
  # shellcheck disable=SC2086
  many 2 $train --epochs 6 --out part.safetensors > /dev/null
  check "killed after $moment of $took s and resumed: the same file" \
    cmp -s whole.safetensors part.safetensors
  number=$((number + 1))
done

# Process 1 is asked to stop: both stop, with one sentence and a checkpoint that goes on.
rm -f part.safetensors*
: > err
# shellcheck disable=SC2086
many 2 $train --epochs 60 --out part.safetensors > /dev/null &
seconds=0
while [ "$seconds" -lt 120 ] && ! grep -q "each trains on" err; do # a loaded machine starts slowly
  sleep 1
  seconds=$((seconds + 1))
done
kill_one 1 TERM
wait
check "one stops all" [ ! -e part.safetensors ]
check "a stop leaves a checkpoint" [ -s part.safetensors.ckpt ]
check "and one sentence" [ "$(grep -c 'boundarydpt train: stopped' err)" -eq 1 ]

# Pictures that cannot be read: the first to meet one says so.
mkdir -p set/a set/b
for i in $(seq 40); do
  for class in a b; do
    { printf 'P6 8 8 255\n'; head -c 192 /dev/zero | tr '\0' "$class"; } > "set/$class/$i.ppm"
  done
done
folder="train --data set --holdout 4 --image 8 --patch 4 --width 16 --heads 2 --depth 2 --batch 8 \
  --threads 1 --epochs 3 --held 8 --out pictures.safetensors --quiet"
# shellcheck disable=SC2086
many 2 $folder > /dev/null
check "class folders" [ -s pictures.safetensors ]
rm -f pictures.safetensors*
for i in 3 7 11 15 19 23 27 31; do printf 'P6 8 8 255\n' > "set/b/$i.ppm"; done
# shellcheck disable=SC2086
many 2 $folder > /dev/null
check "a picture that cannot be read ends all" [ ! -e pictures.safetensors ]
check "with its name: $(tail -n 1 err)" [ "$(grep -c 'set/b/.*ppm' err)" -eq 1 ]

# What all processes find out at the same time is said once.
many 2 reproduce --list --data nowhere > /dev/null
check "all fail, one speaks" [ "$(grep -c 'boundarydpt reproduce: ' err)" -eq 1 ]

# The other commands.
# shellcheck disable=SC2086
many 2 prune two.safetensors --attention 1 --activation 1 --start skip-fit --generated --threads 1 \
  --out less.safetensors --quiet > /dev/null
check "prune" [ -s less.safetensors ]
echo "mpi: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
