#!/bin/sh
# The study shared out among N programs on this machine, or on several that see the same folder:
#   sh examples/mpi/study.sh 4 --out build/shares [options of boundarydpt reproduce]
# A round computes what can be computed; some cells need others of the round before. --gather ends
# the study when nothing is missing. Interrupted, the same command goes on.
tool=${TOOL:-build/boundarydpt}
shares=${1:?how many shares}
shift
round=1
while [ "$round" -le 20 ]; do
  running=
  k=1
  while [ "$k" -le "$shares" ]; do
    "$tool" reproduce --shard "$k/$shares" --threads "${THREADS:-1}" --quiet "$@" &
    running="$running $!"
    k=$((k + 1))
  done
  for one in $running; do
    wait "$one" || exit 1
  done
  "$tool" reproduce --gather "$@" && exit 0
  round=$((round + 1))
done
exit 1
