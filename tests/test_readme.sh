#!/bin/sh
# README.md: its C program compiles without a warning and does what it says, its list of calls is
# the header's, its CMake lines and pkg-config build that program where they are installed, and
# every file that it names exists.
cd "$(dirname "$0")/.." || exit 1
. tests/check.sh
root=$(pwd)

# The blocks of a language, one behind the other.
block() { sed -n "/^\`\`\`$1\$/,/^\`\`\`\$/p" README.md | grep -v '^```'; }

# The program, with a decoder: photo i is noise from i. It runs in a folder that has the network.
mkdir -p "$work/data" "$work/build" "$work/app"
cp data/dense.safetensors "$work/data"
block c > "$work/app/program.c"
cat > "$work/app/photo.c" <<'END'
#include <stddef.h>
int photo(void *user, size_t i, unsigned char *planes);
int photo(void *user, size_t i, unsigned char *planes) {
  size_t k, n = 240 * 320;
  unsigned state = (unsigned)i + 1;
  for (k = 0; k < 3 * n; k++) {
    if (k % 32 == 0) state = state * 1664525u + 1013904223u;
    planes[k] = (unsigned char)(state >> 24);
  }
  return user != NULL;
}
END
ran() { # ran PROGRAM: it says what it fitted, and its file is read by the tool
  rm -f "$work/build/pruned.safetensors"
  (cd "$work" && "$1" > said 2>&1)
  check $? "README's program ended badly: $(tail -n 1 "$work/said")"
  grep -q '^1 layer fitted, not exact: relative error up to 0\.[0-9]* on 32 of 256 images' \
    "$work/said"
  check $? "README's program says: $(head -n 1 "$work/said")"
  if [ -x build/boundarydpt ]; then
    build/boundarydpt info "$work/build/pruned.safetensors" > "$work/info" 2>&1
    check $? "README's file is not read: $(tail -n 1 "$work/info")"
  fi
}
for standard in -std=c99 -std=c11; do
  $CC $standard -Wall -Wextra -Wpedantic -Wconversion -Wshadow -fsyntax-only -I. \
    "$work/app/program.c" > "$work/said" 2>&1 && [ ! -s "$work/said" ]
  check $? "README's program does not compile without a warning: $(head -n 3 "$work/said")"
done
$CC -O1 -I. "$work/app/program.c" "$work/app/photo.c" -o "$work/program" -lm > "$work/said" 2>&1
check $? "README's program is not linked: $(head -n 3 "$work/said")"
ran "$work/program"
if [ -n "$(command -v "${CXX:-c++}")" ]; then
  "${CXX:-c++}" -std=c++11 -Wall -Wextra -fsyntax-only -I. -x c++ "$work/app/program.c" \
    > "$work/said" 2>&1 && [ ! -s "$work/said" ]
  check $? "README's program is no C++: $(head -n 3 "$work/said")"
fi

# The list of calls.
sed '/defined(BOUNDARYDPT_IMPLEMENTATION)/,$d' boundarydpt.h |
  sed -n 's/^BDPT_API [^(]*\**\bbdpt_\([a-z0-9_]*\)(.*/\1/p' | sort -u > "$work/declared"
sed -n '/^| section | calls |/,/^$/p' README.md | grep -o '`[a-z0-9_]*`' | tr -d '`' | sort -u \
  > "$work/listed"
differ=$(diff "$work/declared" "$work/listed" | grep '^[<>]' | tr '\n' ' ')
[ -z "$differ" ] && [ "$(wc -l < "$work/declared")" -gt 100 ]
check $? "README's list of calls: $differ"

# CMake and pkg-config.
if [ -n "$(command -v cmake)" ]; then
  { echo 'cmake_minimum_required(VERSION 3.10)'; echo 'project(app C)'
    block cmake | sed 's/program\.c/program.c photo.c/'; } > "$work/app/CMakeLists.txt"
  ln -s "$root" "$work/app/boundarydpt"
  cmake -S "$work/app" -B "$work/app/made" > "$work/said" 2>&1 &&
    cmake --build "$work/app/made" > "$work/said" 2>&1
  check $? "README's CMake lines: $(grep -v '^--' "$work/said" | head -n 4)"
  ran "$work/app/made/app"
else
  echo "tests/test_readme.sh: CMake: skipped, no cmake (Debian: apt-get install cmake)"
fi
if [ -n "$(command -v pkg-config)" ] && [ -x build/boundarydpt ]; then
  mkdir -p "$work/there/include"
  cp boundarydpt.h "$work/there/include"
  sh examples/tool/install pc build/boundarydpt "$work/there" > "$work/boundarydpt.pc"
  flags=$(PKG_CONFIG_PATH=$work pkg-config --cflags --libs boundarydpt 2> "$work/said")
  # shellcheck disable=SC2086
  $CC -O0 "$work/app/program.c" "$work/app/photo.c" -o "$work/packaged" $flags >> "$work/said" 2>&1
  check $? "pkg-config's '$flags' do not build README's program: $(head -n 3 "$work/said")"
else
  echo "tests/test_readme.sh: pkg-config: skipped, it is not installed"
fi

# Names of files, in links and in code, and the targets of make.
missing=$(grep -o '](\([^)#]*\)' README.md | sed 's/^](//' | while read -r file; do
            case $file in http*|'') ;; *) [ -e "$file" ] || echo "$file" ;; esac
          done)
[ -z "$missing" ]
check $? "README links to files that are not there: $missing"
missing=$(grep -o 'make [a-z][a-z]*[` ]' README.md | sed 's/make //; s/[` ]//' | sort -u |
          while read -r target; do
            case $target in says|makes) ;; *) grep -q "^$target:\|^$target " Makefile ||
              grep -q "^\.PHONY:.* $target\b" Makefile || echo "$target" ;; esac
          done)
[ -z "$missing" ]
check $? "README names targets that are not there: $missing"

echo "readme: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
