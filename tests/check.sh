# The shell tests of texts and programs source this in the project's folder. It gives them a folder
# of their own, which goes at the end, and counts what held.
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
