#!/bin/sh
# Runs a part of make faults and make killtest: one point in fifty of every short command and of the
# library's calls. Needs the programs in build/faults; skipped where they cannot be built.
cd "$(dirname "$0")/.." || exit 1
passed=0
failed=0
for mode in io oom kill; do
  [ -x build/faults/inject ] || { echo "test_faults.sh: skipped: no Linux on x86-64"; break; }
  if ! log=$(QUICK=1 sh tests/faults/run $mode 50); then
    failed=$((failed + 1))
    echo "$log" | grep inject
  fi
  for word in $(echo "$log" | awk -v m=$mode '$1 == m && $3 == "points" { print $4 }'); do
    passed=$((passed + word))
  done
done
echo "faults: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
