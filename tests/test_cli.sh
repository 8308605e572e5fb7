#!/bin/sh
# Tests the command line as a user meets it: exit statuses, error sentences, --help, --json, and
# that bad input leaves files as they were. Needs build/boundarydpt. Everything happens in a
# temporary folder with small files of its own; the longest command trains for a second. TOOL
# names another tool, and TOOL_SYSTEM=windows one of Windows, whose lines end otherwise and which
# has no /dev.
tool=${TOOL:-$(cd "$(dirname "$0")/.." && pwd)/build/boundarydpt}
root=$(cd "$(dirname "$0")/.." && pwd)
fetch=$(cd "$(dirname "$0")/.." && pwd)/data/fetch
golden=$(cd "$(dirname "$0")" && pwd)/golden.txt
elsewhere=$(cd "$(dirname "$0")" && pwd)/fixtures/checkpoint
passed=0
failed=0
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1

ok() { passed=$((passed + 1)); }
bad() {
  failed=$((failed + 1))
  echo "test_cli.sh: failed: $*"
  sed 's/^/  stdout: /' out | head -n 5
  sed 's/^/  stderr: /' err | head -n 5
}

# run STATUS ARGUMENTS...: runs the tool and checks the exit status.
run() {
  want=$1
  shift
  "$tool" "$@" > out 2> err
  got=$?
  [ "$TOOL_SYSTEM" != windows ] || sed -i 's/\r$//' out err
  if [ "$got" -eq "$want" ]; then ok; else bad "'$*' ended with $got, not $want"; fi
  case " $* " in *" --json "*) cat out >> all.jsonl ;; *) cat out err >> all.txt ;; esac
}
# says FILE TEXT: the text is in what was printed.
says() { if grep -q -- "$2" "$1"; then ok; else bad "'$2' is not in $1"; fi; }
# one_line: a complaint is one line on stderr and nothing on stdout.
one_line() {
  if [ "$(wc -l < err)" -eq 1 ] && [ ! -s out ]; then ok
  else bad "not exactly one line of error"; fi
}
same() { if cmp -s "$1" "$2"; then ok; else bad "$1 was changed"; fi; }
absent() { if [ ! -e "$1" ]; then ok; else bad "$1 exists"; fi; }

[ -x "$tool" ] || { echo "$tool is not built"; echo "test_cli.sh: 0 passed, 1 failed"; exit 1; }

# Help is a result; mistakes are usage errors.
run 0 --help; says out "COMMAND"
run 0 --version; says out "boundarydpt [0-9]"
run 2; says err "usage"
run 2 nonsense; says err "no command 'nonsense'"; one_line
run 2 pruen; says err "did you mean prune"; one_line
run 2 prun; says err "did you mean prune"; one_line
for command in run info train eval probe prune plus fuse classify segment export table report \
  selftest; do
  run 0 $command --help; says out "usage: boundarydpt $command"
  run 2 $command --nonsense; says err "no option '--nonsense'"; one_line
done
# Every --help ends with examples, and each example is understood up to an option that is none.
for command in run reproduce info train eval probe prune plus fuse classify segment export table \
  report selftest; do
  "$tool" $command --help | sed -n '/^Examples/,$s/^  boundarydpt //p' | sed 's/<.*//' > lines
  [ -s lines ] && ok || bad "$command --help has no example"
  while read -r line; do
    # shellcheck disable=SC2086
    run 2 $line --nonsense; says err "no option '--nonsense'"
  done < lines
done
# A command lists what it uses.
run 2 info m --seed 2; run 2 export m --bf16; run 2 report m --seed 1; run 2 fuse m --seed 2
run 2 selftest --seed 2
run 0 eval --help; says out "(0: all)"; says out "NAME  *test, held or train (test)"
run 0 run --help; says out "batch size (64; 128 with --data)"
# --config: lines of NAME = VALUE; the command line wins.
printf '# a sweep\nepochs = 2 # short\nheld 77\nclip=0.5\n\nout = "a # b.st"\n' > c.conf
"$tool" train --config c.conf --held 78 --data nowhere --json > out 2> err
says out '"kind":"setup","version":"[0-9.]*","command":"train","settings":{"data":"nowhere"'
says out '"out":"a # b.st","from":null'; says out '"held":78'; says out '"epochs":2,'
says out '"clip":0.5'; says out '"min_lr":0'; says out '"config":"c.conf"'; says out '"lr":0.0005'
printf 'held 5\nepoch 2\n' > c.conf
run 2 plus m --config c.conf; says err "c.conf: line 2: there is no 'epoch'; did you mean epochs?"
one_line
for bad in "held many" "held 3 4" "held" "held 3;held 4" "config x" "fresh 2"; do
  printf '%s\n' "$bad" | tr ';' '\n' > c.conf
  run 2 run --config c.conf --held 3; says err "c.conf: line [12]: "; one_line
done
run 2 prune m --config nowhere.conf; says err "nowhere.conf: it cannot be read"; one_line

run 0 -V; says out "boundarydpt [0-9]"
run 0 help prune; says out "usage: boundarydpt prune"
run 2 help purne; says err "did you mean prune?"; one_line
run 2 evla m; says err "did you mean eval?"; one_line
run 2 eval m --bach 4; says err "no option '--bach'"; one_line
run 2 eval m --treads 4; says err "did you mean --threads?"; one_line
run 1 eval -- --absent; says err "--absent"; one_line
run 2 prune m --out n --attention 5-3; says err "3-5"; one_line
run 2 prune m --out n --attention 3-; says err "3-5"; one_line
run 2 prune m --out n --attention 0-64; says err "3-5"; one_line
# What make install writes: it comes from --help, so every command and option is in it.
sh "$root/examples/tool/install" pc "$tool" /there > out; says out "^prefix=/there"
says out "^Version: [0-9]"
sh "$root/examples/tool/install" man "$tool" > out; says out "^.SH PRUNE"; says out 'budget N'
sh "$root/examples/tool/install" bash "$tool" > completion
if command -v bash > /dev/null; then
  bash -c '. ./completion; COMP_WORDS=(b prune --bu); COMP_CWORD=2; _boundarydpt "$0"
    echo "${COMPREPLY[@]}"' "$tool" > out; says out "^--budget$"
fi
run 2 info; says err "usage"; one_line
run 2 info a b; says err "too many"; one_line
run 2 eval m --threads many; says err "'many'"; one_line
run 2 eval m --threads -3; one_line
run 2 eval m --isa sse9; says err "avx2"; one_line
run 2 eval m --bf16 1; says err "too many"; one_line
run 2 eval m --part middle; says err "middle"; one_line
run 2 info m --merge many; says err "'many'"; one_line
run 2 classify m p --merge 9999999; says err "tokens per block"; one_line
run 2 eval m --merge -1; says err "a whole number, 0 or more, got '-1'"; one_line
run 2 eval m --data a --generated; says err "exclude"; one_line
run 2 train; says err "out FILE"; one_line
run 2 train --out a --distill often; one_line
run 2 train --out a --epochs 0; one_line
run 2 prune m --out n; says err "budget"; one_line
run 2 prune m --out n --attention 1,x; says err "3,7 or 3-5"; one_line
run 2 prune m --out n --budget 2 --attention 1; one_line
run 2 prune m --out n --budget 2 --start well; says err "fit-activation"; one_line
run 2 plus m --out n; says err "how narrow"; one_line
run 2 plus m --fewer 2; says err "out NEW"; one_line
# An explicit zero is never "the default": it counts, or it is refused.
for zero in "train --out a --epochs 0" "train --out a --width 0" "train --out a --image 0" \
  "train --out a --tau 0" "train --out a --repeats 0" "train --out a --heads 0" \
  "prune m --out a --budget 0" "plus m --out a --fewer 0" "plus m --out a --channels 0" \
  "plus m --out a --rounds 0" "plus m --out a --score-images 0" "probe m --steps 0" \
  "segment m --images 0" "run --budget 0" "run --repeats 0" "run --tune-epochs 0" \
  "reproduce --seeds 0" "eval m --image 0"; do
  # shellcheck disable=SC2086
  run 2 $zero; says err "wants .* \(1 or more\|above 0\|64x96\), got '0'"; one_line
done
run 2 train --out a --lr -1; says err "a number, 0 or more, got '-1'"; one_line
run 2 plus m --out n --fewer 0.5; says err "more than 1"; one_line
run 2 plus m --out n --fewer 2 --ms 3; says err "one target"; one_line
run 2 plus m --out n --fewer 2 --what less; says err "both, depth or width"; one_line
run 2 plus m --out n --fewer 2 --order last; says err "turns"; one_line
run 2 plus m --out n --fewer 2 --importance none; says err "chance"; one_line
run 2 plus m --out n --macs 2 --what width --search 1,1; says err "removes no layers"; one_line
run 2 plus m --out n --macs 2; says err "how deep"; one_line
run 2 run --start well; says err "fit-activation"; one_line
run 2 run --budget 3 --least 2; one_line
run 2 probe m --what nothing; one_line
run 2 eval m --holdout 3; says err "holdout"; one_line
run 2 classify m; says err "usage"; one_line
run 2 classify m p --fit loosely; says err "loosely"; one_line
run 2 classify m p --logits; says err "json"; one_line
run 2 export m; says err "onnx FILE"; one_line
run 2 export m --onnx o --dtype f16; says err "float"; one_line
run 2 export m --safetensors s --dtype int8; says err "bf16"; one_line
run 2 export m --safetensors s --names mine; says err "mine"; one_line

# A small data set in the CIFAR-100 format (1000 training, 200 test images; grey, one grey for each
# class) and a small network.
mkdir images
awk 'BEGIN { for (i = 0; i < 1200; i++) printf "%d\n", i % 100 }' > labels
make_images() { # FILE FIRST LAST
  sed -n "$2,$3p" labels | awk '{
    fine = $1; coarse = int(fine / 5)
    line = sprintf("\\%03o\\%03o", coarse, fine); grey = sprintf("\\%03o", 20 + 2 * fine)
    print line; print grey }' | {
    while read -r head && read -r grey; do
      # shellcheck disable=SC2059
      printf "$head"
      # shellcheck disable=SC2059
      printf "$grey%.0s" $fill
    done
  } > "$1"
}
fill=$(awk 'BEGIN { for (i = 0; i < 3072; i++) printf "1 " }')
make_images images/test.bin 1001 1200
make_images images/train.bin 1 1000
if [ "$(wc -c < images/train.bin)" -eq 3074000 ]; then ok; else bad "the images were not made"; fi
small="--patch 16 --width 16 --depth 4 --heads 2 --batch 50 --data images --quiet"
# shellcheck disable=SC2086
run 0 train --out m.safetensors --epochs 2 $small --json --csv epochs.csv
says out '"kind":"epoch"'
# The CSV says what the lines say: seconds,phase,detail,epoch,images,lr,loss,accuracy.
if [ "$(wc -l < epochs.csv)" -eq 3 ]; then ok; else bad "$(cat epochs.csv)"; fi
for k in lr loss accuracy; do
  sed -n "s/.*\"epoch\":2,.*\"$k\":\([^,]*\),.*/\1/p" out
done | tr '\n' ' ' > second
tail -n 1 epochs.csv | cut -d , -f 2-8 | sed 's/,/ /g' > third
awk '{ getline b < "second"; split(b, w, " "); for (i = 1; i < 4; i++)
  if (!($(i + 3) / w[i] < 1.00001 && $(i + 3) / w[i] > 0.99999)) bad = 1
  exit bad || $1 != "train" || $2 != 2 || $3 != 1800 }' third && ok || bad "$(cat second third)"
absent m.safetensors.ckpt
# shellcheck disable=SC2086
"$tool" train --out m2.safetensors --epochs 2 --threads 1 $small > out 2> err
same m2.safetensors m.safetensors

# Rates of zero: nothing moves, the first weights and the last are the same.
# shellcheck disable=SC2086
run 0 train --out z.safetensors --epochs 1 --lr 0 $small --json; says out '"lr":0,'
run 0 info z.safetensors --json; sed 's/.*"weights":"\([0-9a-f]*\)".*/\1/' out > z.hash
# shellcheck disable=SC2086
run 0 train --from z.safetensors --out z2.safetensors --epochs 2 --lr 0 $small
run 0 info z2.safetensors --json; says out "$(cat z.hash)"
# shellcheck disable=SC2086
run 0 train --out z3.safetensors --epochs 2 --min-lr 0 $small --json; says out '"epoch":2,"lr":0,'

run 0 info m.safetensors; says out "4 blocks of width 16"
run 0 info m.safetensors --json; says out '"kind":"info"'; says out '"depth":4'
run 0 eval m.safetensors --data images --json; says out '"images":200'
run 0 eval m.safetensors --data images --part held; says out "on 100 held images"
# Merged tokens: fewer multiply-adds; 0 is what was always computed.
cp out whole
run 0 eval m.safetensors --data images --part held --isa portable --bf16
says err 'portable does$'; says err 'not multiply bf16'
run 0 eval m.safetensors --data images --part held --merge 0
if [ "$(sed 's/, [0-9]* images.s//' whole)" = "$(sed 's/, [0-9]* images.s//' out)" ]; then ok
else bad "--merge 0 differs"; fi
run 0 eval m.safetensors --data images --part held --merge 3; says out "3 tokens merged per block"
run 0 eval m.safetensors --data images --part held --merge 3 --json; says out '"merge":3,"macs":'
run 0 info m.safetensors --json; sed 's/.*"macs":\([0-9]*\).*/\1/' out > whole
run 0 info m.safetensors --merge 3 --json; sed 's/.*"macs":\([0-9]*\).*/\1/' out > merged
if [ "$(cat merged)" -lt "$(cat whole)" ]; then ok; else bad "merging spares nothing"; fi
run 0 probe m.safetensors --data images --json --steps 4 --window 2 --images 50 --batch 25 --quiet
says out '"kind":"disparity"'; says out '"kind":"recovery"'

run 0 prune m.safetensors --out p.safetensors --attention 1,3 --activation 2 --json
says out '"attentions":2'; says out '"parent":"[0-9a-f]'; says err "went plainly"
run 0 prune m.safetensors --out s.safetensors --attention 1-2 --activation 3 --data images --json
says out '"attentions":2'; says out 'fitted, not exact'
run 0 prune m.safetensors --out s.safetensors --budget 2 --data images --epochs 1 --batch 25 \
  --json --quiet --csv p.csv
says p.csv '^[0-9.]*,train,,1,900,[0-9.e-]*,[0-9.]*,[0-9.]*$'
says out '"kind":"setup".*"model":"m.safetensors","settings":.*"budget":2,"choose":"greedy"'
says out '"features":150,"lr":0.001,'
says out '"kind":"prune_found","choose":"greedy","start":"skip-fit","seed":1'
says out '"removed":\["a[a-z]* [0-3]","a[a-z]* [0-3]"\],"accuracies":\[[0-9.]*,[0-9.]*\]'
run 0 prune m.safetensors --out alone.safetensors --budget 2 --data images --epochs 1 --batch 25 \
  --features 0 --lr 1e-3 --quiet
if cmp -s s.safetensors alone.safetensors; then bad "the streams changed nothing"; else ok; fi
run 0 prune m.safetensors --out s.safetensors --budget 2 --choose learned --start paper \
  --data images --epochs 1 --images 50 --batch 25 --json --quiet
says out '"features":0,"lr":0.0003,'
says out '"kind":"prune_found","choose":"learned","start":"paper","seed":1'
says out '"removed":\["a[a-z]* [0-3]","a[a-z]* [0-3]"\]'
run 0 fuse p.safetensors --out f.safetensors --data images --json; says out "f.safetensors"
run 0 info f.safetensors; says out "fused"; says out "certificate"; says out "parent"
run 0 eval f.safetensors --data images --part held
few="--data images --quiet --epochs 2 --batch 50 --repeats 3 --multiple 2"
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w.safetensors --what width --fewer 1.6 $few --json
says out '"kind":"plus_step"'; says out '"name":"plus","what":"width"'; says out '"speedup":'
run 0 info w.safetensors; says out "4 blocks of width 1[024]"; says out "parent"
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w.safetensors --attention 1 --activation 2,3 --ms 1000 $few
says out "step 2"; says out "ratios x 0.000"; says out "at once"
absent w.safetensors.ckpt.width2
absent w.safetensors.ckpt.plus2.stage2
run 0 info w.safetensors; says out "2 activations (2, 3)"; says out " 2  .*\] fitted"
# shellcheck disable=SC2086
run 1 plus m.safetensors --out w.safetensors --what width --fewer 1.6 --features 5 $few
says err "with features also in depth"; one_line
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w.safetensors --what depth --search 1,1 $few --csv p.csv --json
says out '"features":150,"lr":0.001,'
says out '"settings":.*"fewer":null,'; says p.csv ',train,,2,1800,'
says out '"name":"plus".*"removed":\["a[a-z]* [0-3]","a[a-z]* [0-3]"\]'
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w.safetensors --what depth --search 1,1 $few
says out "^layers   a[a-z]* [0-3], a[a-z]* [0-3]$"
run 0 info w.safetensors; says out "1 attention layer ([0-3]), 1 activation ([0-3])"
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w.safetensors --what depth --fewer 1.3 $few; says out "^layers   a"
# shellcheck disable=SC2086
run 1 plus m.safetensors --out w.safetensors --what depth --fewer 50 $few
says err "has 0"; one_line
run 0 prune m.safetensors --out s.safetensors --attention 1 --activation 2,3 --start fit \
  --data images
says out "3 layers fitted, not exact"
run 0 info s.safetensors
says out " 1  \[=] fitted .*GELU"; says out " 2  \[===.*=\] .*\[=] fitted"
run 0 prune m.safetensors --out s.safetensors --attention 1 --activation 2 \
  --start fit-activation --data images
run 0 info s.safetensors
says out " 1   \. removed.*GELU"; says out " 2  \[===.*=\] .*\[=] fitted"
says out "removed: x + LN1(x)"
run 0 prune m.safetensors --out s.safetensors --attention 1 --activation 2 --start skip-fit \
  --data images
run 0 info s.safetensors
says out "removed: x  "; says out " 2  \[===.*=\] .*\[=] fitted"

# Tables of JSON lines. By hand: 60, 61, 63 have the mean 61.33 and the spread 1.53.
cat > t1.jsonl << 'END'
{"kind":"setup","settings":{"budget":4,"start":"fit"},"seed":1}
{"kind":"eval","accuracy":60,"loss":null,"file":"a|b"}
{"kind":"setup","settings":{"budget":4,"start":"fit"},"seed":2}
{"kind":"eval","accuracy":61,"loss":0.5,"file":"say \"c\", d"}

{"kind":"eval","seed":3,"accuracy":63,"loss":1.5,"marks":[1,2.5,null]}
END
printf '{"kind":"eval","seed":1,"accuracy":70,"budget":10}\n' > t2.jsonl
run 0 table t1.jsonl t2.jsonl --by budget,start --value accuracy,loss
says out "^| 4      | fit   | 61.3 [^ ]* 1.5 | 1.00 [^ ]* 0.71 | 3, 2 |$"
says out "^| 10     | -     | 70.0       |             | 1, 0 |$"
run 0 table t1.jsonl t2.jsonl --by budget --value accuracy --as latex --digits 3
says out '^4      & \$61.333 \\pm 1.528\$ & 3 \\\\$'; says out 'end{tabular}'
run 0 table t1.jsonl t2.jsonl --by budget --value accuracy,marks.1 --as csv
says out "^4,61.33333333,1.527525232,3,2.5,,1$"; says out "^10,70,,1,,,0$"
run 0 table t1.jsonl --kind eval; says out '^t1.jsonl,4,eval,,61,0.5,"say ""c"", d",$'
says out "^t1.jsonl,6,eval,3,63,1.5,,1;2.5;$"
run 0 table t1.jsonl --kind eval --columns seed,budget,loss; says out "^t1.jsonl,4,2,4,0.5$"
run 0 table t1.jsonl --where accuracy=6e1 --columns accuracy
if [ "$(wc -l < out)" -eq 2 ]; then ok; else bad "not one line"; fi
"$tool" table - --kind eval --as md < t1.jsonl > out 2> err; says out "| a\\\\|b"
run 1 table t1.jsonl --by budgets --value loss; says err "did you mean settings.budget"; one_line
run 1 table t1.jsonl t1.jsonl --value accuracy --by budget; one_line
says err "line 2 and t1.jsonl: line 2 have the same seed 1"
run 1 table t1.jsonl --value file; says err "t1.jsonl: line 2: file is no number"; one_line
run 1 table t1.jsonl --value marks; says err "line 6: marks is no number"; one_line
printf '{"kind":"row","accuracy":1}\n{"kind":"row","accu' > t3.jsonl
run 1 table t1.jsonl t3.jsonl; says err "t3.jsonl: line 2: byte "; one_line
head -n 1 t3.jsonl > t4.jsonl
run 1 table t1.jsonl t4.jsonl --value accuracy; one_line
says err "kind eval (t1.jsonl: line 2) and row (t4.jsonl: line 1): --kind"
run 1 table nowhere.jsonl; says err "no such file"; one_line
run 1 table t1.jsonl --kind evil; says err "no such line"; one_line
run 1 table t1.jsonl --by marks.1 --value loss; says err "the key 'marks.1'"; one_line
run 2 table t1.jsonl --by seed; says err "mean of what"; one_line
run 2 table t1.jsonl --value loss --as html; says err "latex"; one_line
# A sweep of seeds and budgets in one loop.
for seed in 1 2; do
  for n in 1 2; do
    "$tool" prune m.safetensors --budget $n --seed $seed --data images --epochs 1 --batch 25 \
      --tune-images 50 --held 100 --out s.safetensors --quiet --json >> sweep.jsonl
  done
done
run 0 table sweep.jsonl --kind prune_found --by budget,start --value at_once,fused
says out "^| 1      | skip-fit | .* | 2 |$"; says out "^| 2      | skip-fit | .* | 2 |$"

# The whole run in small; networks are compared image by image.
run 0 run --data images --model m.safetensors --image 32 --out small --report small.html --quiet \
  --budget 2 --least 1 --dense-epochs 4 --dense-lr 3e-3 \
  --probe-steps 2 --recovery-images 50 --map-images 50 --map-most 1 \
  --tune-epochs 1 --tune-images 50 --held 100 --repeats 1 --batch 25 --short-batch 25 \
  --threads 1 --csv small.csv
says small/run.jsonl '"settings":{"data":"images",.*"budget":2,"least":1,"start":"skip'
# Four epochs of the dense network, a short training for each of 8 layers, one of recovery.
if [ "$(cut -d , -f 2 small.csv | uniq -c | tr -s ' \n' ' ')" = \
     " 1 phase 4 dense 1 disparity 8 recovery 4 map 1 recover " ]; then ok
else bad "$(cat small.csv)"; fi
says small.csv ",recovery,remove activation 3,,400,,[0-9.]*,[0-9.]*$"
says small.csv ",dense,,4,3600,3e-05,[0-9.]*,[0-9.]*$"
says small/run.jsonl '"name":"pruned".*"gained":[0-9]*,"lost":[0-9]'
says small/run.jsonl '"name":"fused".*"gained_pruned":[0-9]*,"lost_pruned":[0-9]'
says small.html 'interval, image by image'
"$tool" report - --out stdin.html < small/run.jsonl > out 2> err; same stdin.html small.html
awk 'BEGIN { n = 0 } /"kind":"row"/ { for (i = split($0, w, /[:,}]/); i > 0; i--) {
      if (w[i] == "\"accuracy\"") a[n] = w[i + 1]; if (w[i] == "\"gained\"") g[n] = w[i + 1]
      if (w[i] == "\"lost\"") l[n] = w[i + 1] } n++ }
    END { for (i = 1; i < 4; i++) { d = 2 * (a[i] - a[0]) - (g[i] - l[i])
      if (d > 1e-9 || d < -1e-9) exit 1 } exit n != 4 }' small/run.jsonl
if [ $? -eq 0 ]; then ok; else bad "gained and lost do not make up the difference"; fi

run 0 run --data images --model m.safetensors --image 32 --out other --report other.html --quiet \
  --budget 2 --least 1 --probe-steps 1 --recovery-images 25 --map-images 25 --map-most 1 \
  --search-images 25 --choose learned --tune-epochs 1 --tune-images 25 --held 50 --test 50 \
  --repeats 1 --batch 25 --short-batch 25 --threads 1 --json
says out '"kind":"importance"'; same out other/run.jsonl

# What info draws: removed, fused, and a parent.
run 0 info m.safetensors; says out "removed      nothing"
run 0 info f.safetensors; says out "removed: x + LN1(x)"; says out "] fused"
says out "2 attention layers (1, 3), 1 activation (2)"

# Pictures: text, JSON, several at once, standard input, names of classes.
picture() { # FILE GREY: 20 x 30
  { printf 'P6 20 30 255\n'; head -c 1800 /dev/zero | tr '\000' "$2"; } > "$1"
}
picture grey.ppm '\100'; picture bright.ppm '\300'
run 0 classify m.safetensors grey.ppm bright.ppm
says out "^grey.ppm"; says out "^bright.ppm"; says out "%  [a-z ]* ([0-9]*)$"
if [ "$(wc -l < out)" -eq 12 ]; then ok; else bad "not five classes for each of two pictures"; fi
run 0 classify m.safetensors grey.ppm --json --logits
says out '"kind":"classify","version":"[0-9.]*","file":"grey.ppm","top":\['; says out '"logits":\['
cp out first
if "$tool" classify m.safetensors - --json --logits < grey.ppm > out 2> err; then ok
else bad "standard input was not read"; fi
sed 's/"-"/"grey.ppm"/' out > second; same second first
"$tool" classify m.safetensors bright.ppm grey.ppm --json --logits --threads 1 > out 2> err
tail -n 1 out > second; same second first
awk 'BEGIN { for (i = 0; i < 100; i++) print "name" i }' > names
run 0 classify m.safetensors grey.ppm --labels names; says out "name"
run 1 classify m.safetensors grey.ppm --labels labels; says err "1200 lines"; one_line
run 1 classify m.safetensors labels; says err "labels: it is no PPM"; one_line
# Good pictures are answered for beside bad ones, and the exit status tells.
run 0 classify m.safetensors grey.ppm bright.ppm; cp out first
run 1 classify m.safetensors grey.ppm labels bright.ppm; one_more=$(wc -l < err)
same out first; says err "labels: it is no PPM"
if [ "$one_more" -eq 1 ]; then ok; else bad "$one_more lines of error"; fi
run 1 classify m.safetensors nowhere.ppm labels grey.ppm --json; says err "nowhere.ppm: it cannot"
says out '"file":"grey.ppm"'; if [ "$(wc -l < out)" -eq 1 ]; then ok; else bad "not one line"; fi
run 1 classify m.safetensors nowhere.ppm; says err "nowhere.ppm: it cannot be opened"; one_line

# A folder of class folders: two classes, dark and bright.
for part in train val; do
  for i in 1 2 3 4; do
    mkdir -p set/$part/dark set/$part/light
    picture set/$part/dark/$i.ppm "\\0$i"; picture set/$part/light/$i.ppm "\\3${i}0"
  done
done
pictures="--patch 16 --width 16 --depth 2 --heads 2 --batch 2 --quiet"
# shellcheck disable=SC2086
run 0 train --out s.safetensors --data set --epochs 2 $pictures; says out "epoch   2"
run 0 eval s.safetensors --data set --quiet; says out "on 8 test images"
run 0 eval s.safetensors --data set/val --holdout 2 --quiet; says out "on 4 test images"
run 0 info s.safetensors; says out "folder: short side"
run 1 eval s.safetensors --data set/val; says err "holdout N"; one_line
run 1 eval m.safetensors --data set --quiet; says err "2"; one_line
run 0 probe s.safetensors --data set --steps 2 --window 1 --batch 2 --images 2 --quiet --json
says out '"kind":"recovery"'
# An input that is no square, from training to files for others; segment wants squares.
# shellcheck disable=SC2086
run 0 train --out w.safetensors --data set --epochs 1 --image 16x24 $pictures --patch 8 --json
run 0 info w.safetensors; says out "16 x 24 px"; says out "8: 7 tokens"
run 0 info w.safetensors --json --threads 1; says out '"image":16,"image_width":24'
if [ -e /dev/stdin ] && [ "$TOOL_SYSTEM" != windows ]; then
  "$tool" info - < w.safetensors > out 2> err; says out "8: 7 tokens"
fi
few="--data images --image 32x48 --repeats 1 --threads 1 --quiet"
# shellcheck disable=SC2086
run 0 plus m.safetensors --out w2.safetensors --search 1,0 --fewer 1.5 --multiple 2 --epochs 1 \
  --batch 50 $few
says out "^step 2"; says out "^plus  *test"
run 0 info w2.safetensors; says out "32 x 48 px"; says out "1 attention layer ([0-3]), 0 act"
# shellcheck disable=SC2086
run 0 run --model m.safetensors --out oblong --report oblong.html --budget 2 --least 1 --held 100 \
  --test 100 --probe-steps 1 --recovery-images 4 --map-images 4 --map-most 1 --tune-epochs 1 \
  --tune-images 4 --batch 4 --short-batch 4 $few
says out "32 x 48 px, patches of 16"; says out "^fused  *[0-9]"
says oblong.html "input 32 px high, 48 px wide"; says oblong.html ", 1 thread,"
run 0 info oblong/fused.safetensors; says out "16: 7 tokens"
run 0 prune w.safetensors --attention 0 --activation 1 --data set --out w2.safetensors --quiet
run 0 fuse w2.safetensors --data set --out w3.safetensors; says out "1 activation removed"
run 0 eval w3.safetensors --data set --image 24x8 --quiet --json
run 0 eval w3.safetensors --data set --image 32 --merge 1 --quiet; says out "on 8 test images"
run 0 classify w3.safetensors set/val/light/1.ppm; says out "dark (0)"
run 0 export w3.safetensors --onnx w.onnx --threads 1; says out "ONNX"
run 1 segment w.safetensors --out x --data no --classes 3; says err "16 x 24 pixels, but masks"
one_line
for size in 0 16x 16x24x3 x24 16x0 1e9 -16x24; do
  run 2 eval w.safetensors --data set --image "$size"; says err "a size such as 64 or 64x96"
done
run 1 eval w.safetensors --data set --image 16x20 --quiet; says err "patch 8 does not divide"
mkdir set/val/empty; run 1 eval s.safetensors --data set --quiet; says err "empty"; one_line
rmdir set/val/empty; echo P6 > set/val/light/2.ppm
run 1 eval s.safetensors --data set --quiet; says err "set/val/light/2.ppm: the PPM"; one_line
# Bad pictures may be left out, at most so many; each is told. Files that are none are counted.
echo P6 > set/val/dark/1.ppm; echo text > set/val/dark/notes.txt
run 0 eval s.safetensors --data set --skip-bad 2; says out "on 6 test images"
says err "left out: set/val/light/2.ppm: the PPM"; says err "left out: set/val/dark/1.ppm: the PPM"
says err "set/val: 6 pictures in 2 classes, 1 file that is no picture"
# Left out is as if it had never been there: pictures keep their labels.
sed 's/, [0-9]* images.s//' out > left; cp -r set clean
rm clean/val/light/2.ppm clean/val/dark/1.ppm
run 0 eval s.safetensors --data clean --quiet; sed 's/, [0-9]* images.s//' out > whole
same left whole; rm -rf clean
run 0 eval s.safetensors --data set/val --holdout 0 --skip-bad 5; says out "on 6 test images"
# shellcheck disable=SC2086
run 0 train --out s2.safetensors --data set --skip-bad 1 --epochs 1 $pictures
run 1 eval s.safetensors --data set --quiet --skip-bad 1; says err "2 pictures .* more than the 1"
for i in 1 2 3 4; do echo P6 > set/val/dark/$i.ppm; done
run 1 eval s.safetensors --data set --quiet --skip-bad 9; says err "dark: no picture .* can be read"
# The classes of the validation part are compared before the first step.
mkdir set/val/third; picture set/val/third/1.ppm '\100'
# shellcheck disable=SC2086
run 1 train --out x --data set --epochs 100000 $pictures; says err "third is in one"; absent x
run 1 prune s.safetensors --out x --budget 1 --data set --epochs 100000 --quiet
says err "third is in one"; one_line; absent x
run 1 run --data set --model s.safetensors --out xr --report y --quiet; says err "third is in one"
run 1 plus s.safetensors --out x --fewer 2 --data set --quiet; says err "third is in one"; absent x
rm -rf xr

# Out: ONNX and safetensors with a config.json that belongs to one file.
run 0 export f.safetensors --onnx f.onnx --json; says out '"kind":"export"'; says out "ONNX"
if head -c 30 f.onnx | grep -q boundarydpt; then ok; else bad "f.onnx does not begin as ONNX"; fi
mkdir out1 out2
run 0 export f.safetensors --safetensors out1/model.safetensors
says out1/config.json '"fused_mlp_list": \[2\]'; says out1/config.json '"drop_attn_list": \[1,3\]'
run 0 eval out1/model.safetensors --data images --part held
run 0 export m.safetensors --safetensors out1/model.safetensors --dtype bf16
says out1/config.json '"fused_mlp_list": \[\]'
run 1 export m.safetensors --safetensors out1/other.safetensors; says err "config.json"; one_line
absent out1/other.safetensors
run 0 export m.safetensors --safetensors out2/model.safetensors --names hf
says out2/config.json '"model_type": "vit"'
if grep -q "vit.encoder.layer.3.attention.attention.query.weight" out2/model.safetensors; then ok
else bad "no Hugging Face names in the file"; fi
run 1 export p.safetensors --safetensors out2/model.safetensors --names hf
says err "random"; one_line
run 1 export m.safetensors --onnx nowhere/m.onnx; says err "nowhere/m.onnx"; one_line

# The input named as output, by its name, another spelling, a symbolic or a hard link: refused, and
# every file stays as it was. So is a name that is given twice.
mkdir own; cp p.safetensors own/n; cp m.safetensors own/dense; cp own/n own.before
cp own/dense dense.before; ln -s n own/link; ln own/n own/hard; ln -s own elsewhere
for same_name in own/n own/./n "$work/own/n" own/link own/hard elsewhere/n; do
  run 1 prune own/n --out "$same_name" --activation 0; says err "same file"; one_line
  run 1 fuse own/n --out "$same_name" --data images; says err "same file"; one_line
  run 1 export own/n --onnx "$same_name"; says err "same file"; one_line
  run 1 export own/n --safetensors "$same_name"; says err "same file"; one_line
  run 1 train --from own/n --out "$same_name" --epochs 1 --data images --quiet
  says err "same file"; one_line
  run 1 train --teacher own/n --out "$same_name" --epochs 1 --data images --quiet
  says err "same file"; one_line
  run 1 plus own/n --out "$same_name" --fewer 2 --data images --quiet; says err "same file"
  run 1 prune own/n --out "$same_name" --budget 2 --data images --quiet; says err "same file"
  run 1 segment own/n --out "$same_name" --quiet; says err "same file"; one_line
  run 1 segment own/n --record "$same_name" --quiet; says err "same file"; one_line
  run 1 report own/n --out "$same_name"; says err "same file"; one_line
  run 1 run --model own/n --report "$same_name" --out own/run; says err "same file"; one_line
done
same own/n own.before; same own/hard own.before
cp own/dense own/dense.safetensors
run 1 run --model own/dense.safetensors --out own; says err "same file"; one_line
run 1 reproduce --quick --recipe "$root/data/quick.recipe" --model own/dense.safetensors \
  --out own
says err "same file"; same own/dense.safetensors dense.before
run 1 train --out images/train.bin --epochs 1 --data images --quiet; says err "same file"; one_line
run 1 export own/n --onnx x.both --safetensors x.both; says err "output twice"; absent x.both

# What cannot be written is told before the first step; a read-only file stays, also under root.
cp m.safetensors locked; chmod 444 locked; cp locked locked.before
for where in nowhere/x images locked; do
  run 1 train --out $where --epochs 40 --images 1000000 --data images --quiet; one_line
  run 1 plus m.safetensors --out $where --fewer 2 --epochs 1000 --data images --quiet; one_line
  run 1 prune m.safetensors --out $where --budget 2 --epochs 1000 --data images --quiet; one_line
  run 1 fuse p.safetensors --out $where --data images; one_line
  run 1 export p.safetensors --onnx $where; one_line
done
run 1 export p.safetensors --onnx locked; says err "read-only"; same locked locked.before
rm -f locked

# An output that is a link is followed; a file keeps its mode; no temporary file is left.
if [ "$TOOL_SYSTEM" != windows ]; then
  mkdir kept; cp p.safetensors kept/f; chmod 640 kept/f; ln -s kept/f to.link
  run 0 export m.safetensors --onnx to.link; run 0 export m.safetensors --onnx plain.onnx
  if [ -L to.link ]; then ok; else bad "the link became a file"; fi
  same kept/f plain.onnx
  if [ "$(ls -l kept/f | cut -c 1-10)" = -rw-r----- ]; then ok; else bad "$(ls -l kept/f)"; fi
  # Standard output, under both names, is for the file alone.
  "$tool" export m.safetensors --onnx - > piped 2> err; same piped plain.onnx; says err "ONNX"
  "$tool" export m.safetensors --onnx /dev/stdout 2> err | cat > piped; same piped plain.onnx
  "$tool" prune m.safetensors --out - --attention 1,3 --activation 2 2> err | cat > piped
  same piped p.safetensors
  # A FIFO and a device are written to and stay what they are (a node of our own, as /dev/null is).
  mkfifo fifo; cat fifo > piped & "$tool" export m.safetensors --onnx fifo > out 2> err; wait $!
  same piped plain.onnx; if [ -p fifo ]; then ok; else bad "the FIFO was replaced"; fi
  if mknod node c 1 3 2> /dev/null; then
    run 0 export m.safetensors --onnx node
    # shellcheck disable=SC2086
    run 0 train --out node --epochs 1 $small
    if [ -c node ]; then ok; else bad "the device was replaced"; fi
    absent node.ckpt
  fi
fi
# Twelve writers to one name: each succeeds, one whole file stays, and nothing beside it.
mkdir twelve
for i in 1 2 3 4 5 6 7 8 9 10 11 12; do
  { "$tool" prune m.safetensors --out twelve/n --attention 1,3 --activation 2 --quiet > /dev/null \
      2> twelve.err.$i; echo $? > twelve.rc.$i; } &
done
wait
if [ "$(cat twelve.rc.*)" = "$(for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo 0; done)" ] &&
   [ "$(cat twelve.err.*)" = "" ]; then ok; else bad "a writer failed: $(cat twelve.err.*)"; fi
same twelve/n p.safetensors
if [ "$(ls twelve)" = n ]; then ok; else bad "left over: $(ls twelve)"; fi
# Two trainings begun at once in a fresh folder both run.
mkdir fresh
for i in 1 2; do
  # shellcheck disable=SC2086
  { "$tool" train --out fresh/$i --epochs 1 $small > /dev/null 2> fresh.err.$i
    echo $? > fresh.rc.$i; } &
done
wait
if [ "$(cat fresh.rc.1 fresh.rc.2)" = "0
0" ]; then ok; else bad "$(cat fresh.err.1 fresh.err.2)"; fi
same fresh/1 fresh/2

# Nothing printed is no success.
if [ -c /dev/full ] && [ "$TOOL_SYSTEM" != windows ]; then
  for what in --help --version "info m.safetensors" "info m.safetensors --json" "info --help" \
    "classify m.safetensors grey.ppm" "classify m.safetensors grey.ppm --json" \
    "eval m.safetensors --data images --json" "prune m.safetensors --out x --attention 1 --json"; do
    # shellcheck disable=SC2086
    "$tool" $what > /dev/full 2> err
    if [ $? -ne 0 ]; then ok; else bad "'$what' into a full device ended with 0"; fi
    rm -f x
  done
fi
# JSON is valid whatever a name holds: bytes that are no UTF-8 become U+FFFD.
odd=$(printf 'g\377r\303\244y\300\257\355\240\200.ppm'); cp grey.ppm "$odd"
run 0 classify m.safetensors "$odd" --json
says out "$(printf '"file":"g.ufffdr\303\244y.ufffd.ufffd.ufffd.ufffd.ufffd.ppm"')"
# What is there but cannot be read is not absent.
mkdir beside; cp m.safetensors beside/; mkdir beside/config.json
cp "$elsewhere/deit.hf4/model.safetensors" beside/
run 1 info beside/model.safetensors; says err "config.json"; one_line
mkdir beside/run; ln -s run.jsonl beside/run/run.jsonl # a link to itself: ELOOP
run 1 run --model m.safetensors --out beside/run --report beside/page; says err "run.jsonl"

# What cannot be done is refused in one sentence, and nothing is written or changed.
cp p.safetensors p.before
run 1 prune p.safetensors --out x --attention 1; says err "already"; one_line; absent x
run 1 prune p.safetensors --out x --attention 1 --start fit --data images; says err "already"
one_line; absent x
run 1 prune m.safetensors --out x --attention 4 --start fit --data images; one_line; absent x
run 1 prune m.safetensors --out x --attention 4; one_line; absent x
run 1 prune p.safetensors --out p.safetensors --attention 1; same p.safetensors p.before
run 1 fuse m.safetensors --out x --data images; says err "nothing to fuse"; one_line; absent x
long=$(printf '%0500d' 0)
run 2 info "/$long"; says err "has 501 bytes, 500 are allowed"; one_line
run 2 eval m.safetensors --data "/$long"; says err "a text of at most 500 bytes"; one_line
run 1 eval m.safetensors --data "$long"; says err 0000; one_line
run 1 info nowhere.safetensors; says err "nowhere.safetensors"; one_line
printf 'not a network' > text; run 1 info text; says err "text"; one_line
head -c 1000 m.safetensors > cut; cp cut cut.before
run 1 eval cut --data images; says err "cut"; one_line; same cut cut.before
: > empty; run 1 info empty; one_line
run 1 eval m.safetensors --data nowhere; says err "nowhere"; one_line
mkdir short; head -c 3073999 images/train.bin > short/train.bin; cp images/test.bin short/
run 1 eval m.safetensors --data short --part held; says err "train.bin"; one_line
mkdir label; cp images/train.bin label/
{ printf '\003\144'; tail -c +3 images/test.bin; } > label/test.bin
run 1 eval m.safetensors --data label; says err "100"; one_line
run 1 train --out nowhere/m --epochs 1 --data images --patch 16 --width 16 --heads 2 --quiet
run 1 train --out x --epochs 1 --data images --patch 5 --width 16 --quiet; one_line; absent x
run 2 train --out x --heads; one_line
run 1 report nowhere.jsonl page.html; says err "nowhere"; one_line; absent page.html

# Networks that other programs saved. What the user should know stands on stderr.
run 0 info "$elsewhere/train.zip.pth" --heads 3 --json
says out '"heads":3'; says err "'model' was taken (--key chooses)"; says err "not read: epoch"
run 0 info "$elsewhere/train.legacy.pth" --heads 3 --key model_ema; says out "2 blocks of width 12"
run 0 info "$elsewhere/deit.hf4/model.safetensors" --json; says out '"guessed":\["mean","std"\]'
says err "nothing tells, so these were taken: mean and deviation"
run 0 info "$elsewhere/train.zip.pth" --heads 3 --json; says out '"guessed":\["eps","mean","std"\]'
cp -r "$elsewhere/deit.hf4" whole.hf
echo '{"image_mean":[0.5,0.5,0.5],"image_std":[0.5,0.5,0.5]}' > whole.hf/preprocessor_config.json
run 0 classify whole.hf/model.safetensors grey.ppm --json; says out '"guessed":\[\]'
run 0 info --help; says out "refused by name: pooling"
run 0 info whole.hf/model.safetensors
if [ -s err ]; then bad "a complete file has nothing to tell"; else ok; fi
run 1 info "$elsewhere/train.zip.pth" --key nobody; says err "no network 'nobody'"; one_line
run 1 info "$elsewhere/mini.zip.pth"; says err "heads N"; one_line
run 1 info "$elsewhere/module.zip.pth"; says err "state_dict"; one_line
run 0 train --from "$elsewhere/vit.hf5.zip.pth" --heads 2 --out v.safetensors --epochs 1 \
  --images 50 --data images --quiet; says err "eps of the layer norms 1e-12"
run 0 info v.safetensors; says out "100 classes"

# What is found of an earlier command is told before it is read; --fresh forgets it.
: > r.safetensors.ckpt.greedy
run 1 prune m.safetensors --out r.safetensors --budget 1 --data images --epochs 1 --quiet
says err "going on from r.safetensors.ckpt (--fresh"
run 0 prune m.safetensors --out r.safetensors --budget 1 --data images --epochs 1 --quiet --fresh \
  --tune-images 50 --held 100 --batch 25
: > r.safetensors.ckpt.plus1.stage2
# shellcheck disable=SC2086
run 1 plus m.safetensors --out r.safetensors --what depth --attention 1 $few
says err "going on from r.safetensors.ckpt (--fresh"
rm -f r.safetensors.ckpt*

# Ctrl-C: exit status 130, a checkpoint, and the same command ends where it would have ended.
# shellcheck disable=SC2086
"$tool" train --out long.safetensors --epochs 40 $small > out 2> err
# shellcheck disable=SC2086
"$tool" train --out cut.safetensors --epochs 40 $small --csv cut.csv > out 2> err &
child=$!
sleep 0.5
kill -INT $child
wait $child
got=$?
if [ $got -eq 130 ] && [ -f cut.safetensors.ckpt ]; then ok
elif [ $got -eq 0 ]; then ok # it was finished before the signal came
else bad "an interrupted training ended with $got"; fi
[ $got -ne 130 ] || printf '3.5,tra' >> cut.csv # as a kill could leave it
# shellcheck disable=SC2086
run 0 train --out cut.safetensors --epochs 40 $small --csv cut.csv
same cut.safetensors long.safetensors
[ $got -ne 130 ] || says err "going on from cut.safetensors.ckpt"
if [ "$(cut -d , -f 4 cut.csv | tr '\n' ' ')" = "epoch $(seq -s ' ' 40) " ]; then ok
else bad "$(cut -d , -f 2-5 cut.csv)"; fi

# fetch: checked downloads, without a network.
if command -v curl > /dev/null 2>&1; then
  mkdir store remote remote/cifar-100-binary
  cp images/train.bin images/test.bin remote/cifar-100-binary/
  (cd remote && tar -czf cifar.tar.gz cifar-100-binary)
  md5=$( (md5sum < remote/cifar.tar.gz || openssl md5 < remote/cifar.tar.gz) 2> /dev/null |
    sed 's/.*= *//' | cut -d ' ' -f 1)
  DATA_DIR=store CIFAR_URL=file://$work/remote/cifar.tar.gz sh "$fetch" cifar > out 2> err
  if [ $? -eq 1 ]; then ok; else bad "an archive with a wrong MD5 was accepted"; fi
  says err "nothing kept"; absent store/cifar-100-binary
  DATA_DIR=store CIFAR_MD5=$md5 CIFAR_URL=file://$work/remote/cifar.tar.gz sh "$fetch" cifar \
    > out 2> err
  same store/cifar-100-binary/test.bin images/test.bin
  DATA_DIR=store CIFAR_URL=file://$work/missing sh "$fetch" cifar > out 2> err; says out "is there"
  sha=$( (sha256sum < m.safetensors || openssl sha256 < m.safetensors) 2> /dev/null |
    sed 's/.*= *//' | cut -c 1-8)
  cp m.safetensors "remote/deit-$sha.pth"; cp m.safetensors remote/deit-00000000.pth
  DATA_DIR=store DEIT_URL=file://$work/remote/deit-$sha.pth sh "$fetch" deit > out 2> err
  same "store/deit-$sha.pth" m.safetensors
  DATA_DIR=store DEIT_URL=file://$work/remote/deit-00000000.pth sh "$fetch" deit > out 2> err
  if [ $? -eq 1 ]; then ok; else bad "a file with a wrong SHA-256 was accepted"; fi
  absent store/deit-00000000.pth; absent store/deit-00000000.pth.part
fi

# Masks: a classifier becomes a network for them, dense or pruned, and is judged; scenes written as
# files give the same pictures; a stop and a second start end where one run does.
run 2 segment m.safetensors --classes 300; says err "1 to 254"; one_line
run 2 segment m.safetensors --draw a --data b; one_line
run 1 segment m.safetensors --quiet; says err "is a classifier: --out NEW"; one_line
small="--image 32 --images 24 --test 4 --epochs 1 --quiet --threads 1"
run 0 segment m.safetensors --out seg.safetensors $small --draw scenes --overlays over --pictures 2
says out "on 4 pictures: mean IoU"; says out "background"
[ "$(head -c 4 over/overlay-001.png | tail -c 3)" = PNG ] && ok || bad "no overlay"
absent over/overlay-002.png; absent seg.safetensors.ckpt
run 0 segment seg.safetensors --test 4 --quiet --json --record run.jsonl
says out '"mean_iou":'; says out '"accuracy":'; says run.jsonl '"png":"iVBORw0KGgo'
run 0 report run.jsonl page.html; says page.html 'src="data:image/png;base64,iVBORw0KGgo'
run 1 segment seg.safetensors --data scenes; says err "knows 21 classes, the masks have 150"
one_line
run 0 segment seg.safetensors --data scenes --classes 21 --quiet; says out "on 4 pictures"
run 0 prune m.safetensors --attention 1 --activation 0 --out thin.safetensors
small="--classes 21 --image 32 --epochs 1 --quiet"
run 0 segment thin.safetensors --out thin.seg --data scenes $small
run 0 info thin.seg --json; says out '"attention_removed":\[1\]'
says out '"activation_fused":\[0\]'
run 0 segment thin.seg --data scenes --classes 21 --quiet --beside seg.safetensors
says out "times as fast as seg.safetensors"
rm scenes/annotations/validation/00002.pgm
run 1 segment seg.safetensors --data scenes --classes 21; says err "no mask .* for 00002.ppm"
one_line
run 1 segment seg.safetensors --data no --classes 21; says err "no/images/validation"; one_line

# What a user's machine computes; and, for a compiler that golden.txt knows, that a short training
# ends with the same bits as ever on each instruction set. Whoever changes what is computed on
# purpose writes the new hashes there.
run 0 selftest; says out "all is well"; says out "^ok   portable  resume"
run 0 selftest --json --isa portable; says out '"check":"kernels","isa":"portable","ok":1'
run 2 selftest file; one_line
# Every line that a command has printed is as data/records.json says, and every kind was printed.
lines="$work/all.jsonl $work/small/run.jsonl $work/run.jsonl"
# shellcheck disable=SC2086
if [ ! -x "$root/build/test_records" ]; then :
elif (cd "$root" && build/test_records all $lines) > out 2>&1; then ok
else
  bad "lines that are not as data/records.json says"
  cat out
fi
# One layer is no "1 layers": nothing that a command has said counts one thing as several.
nouns="activation block byte candidate cell channel element epoch feature file head image layer \
  line name network number pass picture pixel point position process row second seed step tensor \
  thread tie token width"
: > out
cp all.txt err
for noun in $nouns classe entrie activations; do
  grep -nE "(^|[^a-z0-9.] *)1 ([a-z-]+ )?${noun}s( |[^a-z_ ]|$)" all.txt | grep -v " of 1 " >> out
done
if [ -s out ]; then bad "a plural behind a 1"; else ok; fi
"$tool" selftest > out
compiler=gcc-$(${CC:-cc} -dumpversion 2> /dev/null)
case $(${CC:-cc} --version 2> /dev/null | head -n 1) in *clang*) compiler=clang ;; esac
if [ "$(uname -sm)" = "Linux x86_64" ] && [ "${CFLAGS:--O2}" = -O2 ]; then
  while read -r by isa hash; do
    case $compiler in "$by" | "$by".*) ;; *) continue ;; esac
    if grep -q "^ok   $isa  *determinism" out; then says out "$isa  *determinism hash $hash "; fi
  done < "$golden"
fi

echo "test_cli.sh: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
