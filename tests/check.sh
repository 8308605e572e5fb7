# What the shell tests of texts and programs share; sourced in the project's folder. A folder of its
# own that goes at the end, and a count of what held.
CC=${CC:-cc}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0
failed=0

check() { # check STATUS WHAT
  if [ "$1" -eq 0 ]; then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    echo "$0: $2"
  fi
}
