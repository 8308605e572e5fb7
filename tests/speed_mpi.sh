#!/bin/sh
# How fast are two processes of one thread beside one process with two threads? Alternating, ROUNDS
# times each, on images of 64 pixels, the network of data/dense.safetensors; prints both rates and
# the ratio, by the clock and by the processor's seconds. On a quiet machine of two cores, three
# minutes: make mpi && sh tests/speed_mpi.sh
tool=${MPI_TOOL:-build/boundarydpt-mpi}
images=${IMAGES:-2560}
root=
if mpirun --version | grep -q "Open MPI"; then
  root="--bind-to none"
  [ "$(id -u)" -ne 0 ] || root="--allow-run-as-root $root"
fi
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
one() { # PROCESSES THREADS: seconds by the clock and by the processor
  # shellcheck disable=SC2086
  OMP_NUM_THREADS=$2 bash -c 'TIMEFORMAT="%R %U %S"; time "$@"' time mpirun $root -n "$1" "$tool" \
    train --from data/dense.safetensors --image 64 --generated --epochs 1 --images "$images" \
    --batch 64 --held 64 --threads "$2" --fresh --quiet --out "$work/m" 2>&1 > /dev/null | tail -n 1
}
round=1
while [ "$round" -le "${ROUNDS:-5}" ]; do
  echo "$(one 1 2) $(one 2 1)"
  round=$((round + 1))
done | awk -v n="$images" '
  { a[NR] = n / $1; b[NR] = n / $4; r[NR] = b[NR] / a[NR]; c += $2 + $3; d += $5 + $6
    printf "1 x 2: %.1f images/s   2 x 1: %.1f   ratio %.3f\n", a[NR], b[NR], r[NR] }
  END { for (i = 1; i <= NR; i++) for (k = i + 1; k <= NR; k++)
          if (r[k] < r[i]) { t = r[i]; r[i] = r[k]; r[k] = t }
        printf "ratio: median %.3f, %.3f to %.3f; processor seconds %.1f against %.1f\n",
               r[int((NR + 1) / 2)], r[1], r[NR], c, d }'
