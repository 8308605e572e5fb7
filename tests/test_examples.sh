#!/bin/sh
# Tests the lessons, the program on the header's front page, and the benchmark's manners.
#
# Every example must compile as C99 without a warning, run, and print what its opening comment says.
# Lessons that compute the same everywhere must print exactly that; a line that ends in ... may go
# on. Lessons that train are compared with all numbers and layer types masked, because the decimals
# depend on the instruction set, and a few of their numbers must lie in a wide range.
#
# EXAMPLES=quick leaves out the lessons that train networks many times.
cd "$(dirname "$0")/.." || exit 1
. tests/check.sh
EXAMPLES=${EXAMPLES:-all}

silent() { # runs a command; it must succeed and say nothing
  "$@" > "$work/said" 2>&1 && [ ! -s "$work/said" ]
}

# The lines that the opening comment promises.
expected() {
  if [ "$1" = embed ]; then
    sed -n 's,^//   ,,p' "examples/$1.c"
  else
    sed -n -e '/\*\//q' -e 's,^ \*   ,,p' "examples/$1.c"
  fi
}

# Cuts the lines that were printed where the promised line ends in dots.
cut_dots() {
  awk 'NR == FNR { want[NR] = $0; next }
       { w = want[FNR] }
       w ~ / \.\.\.$/ { w = substr(w, 1, length(w) - 4)
                        if (substr($0, 1, length(w)) == w) { print want[FNR]; next } }
       { print }' "$1" "$2"
}

mask() {
  sed -e 's/[0-9][0-9.]*\(e-*[0-9]*\)\{0,1\}/#/g' -e 's/attention/TYPE/g' -e 's/activation/TYPE/g' \
      -e 's/NOT BELOW/below/' -e 's/  */ /g' "$1"
}

# One lesson: its program (from make, or made here), its output, its exit status.
start() {
  program=build/$1
  if [ ! -x "$program" ] || [ "examples/$1.c" -nt "$program" ] || [ boundarydpt.h -nt "$program" ]
  then
    program=$work/$1
    $CC -std=c99 -O2 "examples/$1.c" -o "$program" -lm > /dev/null 2>&1 || return
  fi
  "$program" > "$work/$1.out" 2>&1
  echo $? > "$work/$1.status"
}

finish() { # finish NAME exact|masked
  [ "$(cat "$work/$1.status" 2> /dev/null)" = 0 ]
  check $? "examples/$1.c did not build or ended badly"
  expected "$1" > "$work/want"
  cut_dots "$work/want" "$work/$1.out" > "$work/got"
  if [ "$2" = masked ]; then
    mask "$work/want" > "$work/want.masked"
    mask "$work/got" > "$work/got.masked"
    cmp -s "$work/want.masked" "$work/got.masked"
  else
    cmp -s "$work/want" "$work/got"
  fi
  if [ $? -eq 0 ] && [ -s "$work/want" ]; then check 0; else
    check 1 "examples/$1.c does not print what its comment says:"
    diff "$work/want" "$work/got" | sed 's/^/    /'
  fi
}

# The number that a pattern captures must be at least so much.
at_least() { # at_least NAME MINIMUM PATTERN
  n=$(sed -n "s/$3/\1/p" "$work/$1.out" 2> /dev/null | tail -n 1)
  [ -n "$n" ] && [ "$n" -ge "$2" ]
  check $? "examples/$1.c: '$n', expected at least $2 ($3)"
}

exact='01_tape 05_fuse 06_map 08_own_operation'
trained='embed 02_train'
[ "$EXAMPLES" = quick ] ||
  trained='embed 02_train 03_disparity 04_recovery 07_two_stages 09_attention 10_greedy'
(for name in $trained; do start "$name"; done) &

for name in $exact embed 02_train 03_disparity 04_recovery 07_two_stages 09_attention 10_greedy \
            weave; do
  silent $CC -std=c99 -Wall -Wextra -Wpedantic -fsyntax-only "examples/$name.c"
  check $? "examples/$name.c does not compile without a warning: $(head -n 3 "$work/said")"
done
for name in $exact; do start "$name"; finish "$name" exact; done

# The lesson in C++, where there is a compiler for it.
if [ -n "$(command -v "${CXX:-c++}")" ]; then
  silent "${CXX:-c++}" -std=c++11 -Wall -Wextra -Wpedantic -O1 examples/11_cplusplus.cc \
    -o "$work/11_cplusplus"
  check $? "examples/11_cplusplus.cc does not compile without a warning: $(head -n 3 "$work/said")"
  "$work/11_cplusplus" > "$work/got" 2>&1
  check $? "examples/11_cplusplus.cc ended badly: $(tail -n 1 "$work/got")"
  sed -n -e '/\*\//q' -e 's,^ \*   ,,p' examples/11_cplusplus.cc > "$work/want"
  [ -s "$work/want" ] && cmp -s "$work/want" "$work/got"
  check $? "examples/11_cplusplus.cc does not print what its comment says: $(head -n 9 "$work/got")"
else
  echo "tests/test_examples.sh: examples/11_cplusplus.cc: skipped, no C++ compiler"
fi

# Every lesson's opening comment says what one learns, how long it takes and what to try next; what
# it prints was compared above.
for file in examples/[0-9]*; do
  sed '/\*\//q' "$file" | sed 's/^ \* *//' | tr '\n' ' ' > "$work/opening"
  grep -q ' You learn ' "$work/opening" && grep -q ' Try next: .' "$work/opening" &&
    grep -qE 'takes no time|[A-Z][a-z]+ seconds on one core' "$work/opening"
  check $? "$file does not say what one learns, how long it takes or what to try next"
done

# The front page holds examples/embed.c, with the include path that a user would write.
sed -e 's,"\.\./,",' -e 's,^, *   ,' -e 's, *$,,' examples/embed.c > "$work/front"
awk 'NR == FNR { want[n++] = $0; next }
     { k = $0 == want[k] ? k + 1 : $0 == want[0]; if (k == n) { found = 1; exit } }
     END { exit !found }' "$work/front" boundarydpt.h
check $? "the program on the front page of boundarydpt.h is not examples/embed.c"

# The benchmark. Its figures are nobody's promise, but every line must be there and be a number.
bench=build/bench
if [ ! -x "$bench" ] || [ boundarydpt.h -nt "$bench" ] ||
   [ -n "$(find tests -name 'bench*.[ch]' -newer "$bench")" ]
then
  bench=$work/bench
  silent $CC -std=c99 -O1 -Wall -Wextra -Wpedantic tests/bench.c -o "$bench" -lm -ldl
  check $? "tests/bench.c does not compile without a warning: $(head -n 3 "$work/said")"
fi
"$bench" --quick --only matmul --threads 1 > "$work/bench.out" 2>&1
check $? "bench --only matmul ended badly: $(tail -n 1 "$work/bench.out")"
n=$(grep -Ec '^(NT|NN|TN) [0-9,]+ 1t +[1-9][0-9.]* \([0-9.]+-[0-9.]+\) ' "$work/bench.out")
[ "$n" -eq 4 ]
check $? "bench --only matmul printed $n products instead of 4"
for name in matmul_openblas_1t matmul_openblas_2t attention_products_1t attention_products_2t \
            peak_fraction_base_b1_2t prune_speedup_ti prune_speedup_s prune_speedup_b \
            prune_speedup_s_4_3 plus_over_width_4g plus_over_width_2g plus_over_width_1g \
            infer_peer_1t infer_peer_2t infer_worst_1t infer_worst_2t \
            train_peer_1t train_peer_2t train_memory bf16_infer_base bf16_train growth_worst \
            isa_avx2 o3_native; do
  n=$(grep -Ec "^RATIO $name (skipped|[0-9]+\.[0-9]+)$" "$work/bench.out")
  [ "$n" -eq 1 ]
  check $? "bench printed $n lines RATIO $name"
done
if grep -q '^OpenBLAS: /\|^OpenBLAS: lib' "$work/bench.out"; then
  grep -q '^RATIO matmul_openblas_1t [0-9]' "$work/bench.out"
  check $? "bench has OpenBLAS and no ratio to it"
fi

# A peer that is a shell script: 900 million bytes, then silence.
cat > "$work/peer" <<'END'
#!/bin/sh
echo "hello a shell"
while read -r word rest; do
  case $word in
    case) echo "ready eager" ;;
    go) echo "times 0.5 0.25" ;;
    memory) echo "memory 900000000 1000000" ;;
    *) exit ;;
  esac
done
END
chmod +x "$work/peer"
PYTHON=$work/peer "$bench" --quick --only memory --threads 1 --json > "$work/bench.out" 2>&1
check $? "bench --only memory ended badly: $(tail -n 1 "$work/bench.out")"
! grep -v '^{"[^\\]*}$' "$work/bench.out" > "$work/said"
check $? "bench --json prints what is no object: $(head -n 1 "$work/said")"
grep -q '"section":"memory".*"tape per image":[0-9].*"PyTorch":900,' "$work/bench.out"
check $? "bench --only memory has no row with both sides"
grep -q '^{"ratio":"train_memory","value":[0-9]' "$work/bench.out"
check $? "bench --only memory has no ratio"
PYTHON=false "$bench" --quick --only memory --threads 1 > "$work/bench.out" 2>&1
check $? "bench without a peer ended badly: $(tail -n 1 "$work/bench.out")"
grep -q '^RATIO train_memory skipped$' "$work/bench.out" && grep -q 'skipped: ' "$work/bench.out"
check $? "bench does not say that a peer is missing"
"$bench" --only nonsense > "$work/said" 2>&1
[ $? -eq 2 ] && grep -q "'--only'" "$work/said"
check $? "bench does not refuse a section that is not there"

wait
for name in $trained; do finish "$name" masked; done
at_least embed 80 '^\([0-9]*\) % right, 4530 parameters$'
at_least 02_train 80 '^epoch 5 .*held out \([0-9]*\) %$'
at_least 02_train 36648 '^\([0-9]*\) parameters, 0.7 million .*$'
at_least 02_train 151 '^written to memory and read back: \([0-9]*\) kB, the same network$'
if [ "$EXAMPLES" != quick ]; then
  at_least 04_recovery 80 '^dense: \([0-9]*\) %$'
  at_least 07_two_stages 80 '^fused .*new pictures \([0-9]*\) %$'
  at_least 09_attention 80 '^block 3: .*attention \([0-9]*\) % falls on them$'
  at_least 10_greedy 80 '^one epoch later: new pictures \([0-9]*\) %$'
  [ "$(grep -c '^<rect.*opacity' build/attention.svg)" -eq 128 ] &&
    [ "$(tail -n 1 build/attention.svg)" = '</svg>' ]
  check $? "examples/09_attention.c did not draw eight maps of sixteen patches"
fi

echo "examples: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
