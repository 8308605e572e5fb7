#!/bin/sh
# The whole study in small (reproduce --quick, on 200 of the generated images): once in one go, then
# on one thread and interrupted again and again; the two must record the same numbers. Then what is
# refused. About a minute and a half.
tool=${TOOL:-build/boundarydpt}
passed=0
failed=0
cd "$(dirname "$0")/.." || exit 1
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

ok() { passed=$((passed + 1)); }
bad() {
  failed=$((failed + 1))
  echo "test_reproduce.sh: failed: $*"
  tail -n 5 "$work/out" "$work/err"
}
# study STATUS ARGUMENTS...: runs it, as $quick says, and checks the exit status.
quick=--quick
# shellcheck disable=SC2086
study() {
  want=$1
  shift
  "$tool" reproduce $quick --report "$work/page.html" "$@" > "$work/out" 2> "$work/err"
  got=$?
  if [ "$got" -eq "$want" ]; then ok; else bad "'$*' ended with $got, not $want"; fi
  case " $* " in *" --json "*) cat "$work/out" >> "$work/all" ;; esac
}
says() { if grep -q -- "$2" "$work/$1"; then ok; else bad "'$2' is not in $1"; fi; }
# Everything that does not depend on clock or machine.
numbers() {
  grep -v -e 'timing"' -e '"kind":"part"' -e '"kind":"setup"' -e '"kind":"done"' "$1"
}

if [ ! -x "$tool" ]; then
  echo "$tool is not built"
  echo "test_reproduce.sh: 0 passed, 1 failed"
  exit 1
fi

study 0 --out "$work/a" --list
says out "11  distil"; says out "left to do: about"
study 0 --out "$work/a" --list --json
says out '^{"kind":"plan","part":11,"name":"distil","images_trained":[0-9]'
says out '^{"kind":"left","seconds":[0-9]'
# What only tells writes nothing, not even the images that it draws.
mkdir -p "$work/clean/data"
cp data/quick.recipe data/dense.safetensors "$work/clean/data"
here=$PWD
(cd "$work/clean" && "$here/$tool" reproduce --quick --list --part 8 > "$work/out" 2> "$work/err")
says out "left to do: about"
(cd "$work/clean" && "$here/$tool" reproduce --quick --print-held > "$work/out" 2> "$work/err")
if [ "$(find "$work/clean" | sort | tr '\n' ' ')" = "$work/clean $work/clean/data \
$work/clean/data/dense.safetensors $work/clean/data/quick.recipe " ] && [ ! -e "$work/a" ]; then ok
else bad "--list wrote $(find "$work/clean" "$work/a" 2> /dev/null | tr '\n' ' ')"; fi
# The network that data/fetch stores is the one that is read.
stored=$(sed -n 's|^deit_url=.*/\(deit.*pth\)}$|\1|p' data/fetch)
"$tool" reproduce --help > "$work/out"
says out "--model FILE .*(data/$stored;$"
study 1 --out "$work/a" --part 7
says err "part 7 needs part 1 (dense), which is not done"
study 0 --out "$work/g" --part 1,2
if grep -q '"kind":"setup".*"settings":{"data":null,"model":"data/dense.s' \
  "$work/g/reproduce.jsonl"; then ok; else bad "values are not in the record"; fi

# From here on, the first of those images: 100 are held out, 100 are trained on.
mkdir "$work/images"
head -c 614800 build/generated/train.bin > "$work/images/train.bin"
head -c 307400 build/generated/test.bin > "$work/images/test.bin"
quick="--quick --data $work/images"
rm -rf "$work/a"
study 0 --out "$work/a"
for part in 1 2 3 4 5 6 7 8 9 10 11 12 13; do
  if grep -q "\"kind\":\"part\",\"part\":$part," "$work/a/reproduce.jsonl"; then ok
  else bad "part $part is not in the record"; fi
done
says out "24 of 24 single linears are refused"
says out "skip-fit, 4 layers   seed 2"
says out "its own finished self"

# Lines and columns of the CSV files.
lines() { # FILE LINES FIRST-LINE
  count=$(wc -l < "$work/a/$1.csv")
  head=$(head -n 1 "$work/a/$1.csv")
  if [ "$count" -eq "$2" ] && [ "$head" = "$3" ]; then ok; else bad "$1.csv: $count, $head"; fi
}
lines recovery 25 "type,layer,before,at_once,marks,after,images"
lines ranking 13 "way,seed,attention,activation,marks,accuracies,test,params,macs"
lines single 25 "type,layer,skip,fit,error,images"
lines split 7 "start,seed,budget,attentions,activations,predicted,exact,one,more"
lines distillation 9 "teacher,seed,attention,activation,marks,accuracies,test,params,macs"
lines plus 11 "way,start,budget,width,seed,attention,activation,marks,accuracies,test,params,macs"
lines tokens 5 "network,merge,accuracy,macs"
lines tokens_timing 3 "model,image,merge,attentions,activations,speedup,speedup_low,speedup_high,\
dense_ms,ms,ms_low,ms_high,batch,dense_macs,macs,params"

# Part 3 removes as the paper does: what it leaves at once is not what a fitted map leaves.
same=$(grep -e '"kind":"single","type":"act' -e '"kind":"recovery","type":"act' \
  "$work/a/reproduce.jsonl" |
  sed -n 's/.*"layer":\([0-9]*\),.*"\(at_once\|fit\)":\([0-9.]*\).*/\1 \3/p' |
  sort | uniq -d | wc -l)
if [ "$same" -lt 12 ]; then ok; else bad "part 3 fits maps"; fi

# The page: every section has its drawing.
if [ "$(grep -c '<svg viewBox="0 0 372' "$work/page.html")" -ge 20 ]; then ok
else bad "the page has too few drawings"; fi
if grep -q -e nan -e 'wrote no lines' -e Unfinished "$work/page.html"; then
  bad "the page draws what is not there"; else ok; fi

# Every value is in the record; one that an older version wrote without them goes on as it is.
if grep -q '"kind":"setup".*"settings":{"data":"[^"]*images","model":"data/dense.s' \
  "$work/a/reproduce.jsonl" &&
  grep -q '"kind":"recipe".*"settings":{"image":32,.*"dense.epochs":1,.*"headline.long":.2.}' \
    "$work/a/reproduce.jsonl"; then ok
else bad "values are not in the record"; fi
cp "$work/a/reproduce.jsonl" "$work/before"
sed 's/,"settings":{[^}]*}//' "$work/before" > "$work/older"
cp "$work/older" "$work/a/reproduce.jsonl"
study 0 --out "$work/a"; says err "going on with the study"
if grep -q settings "$work/older"; then bad "not like an older version's"; else ok; fi
if cmp -s "$work/a/reproduce.jsonl" "$work/older"; then ok; else bad "an older record changed"; fi
# One that ended between its first line and its second, or between the lines of a part and the line
# that says that it is done, gets what is missing, and nothing twice.
grep -v -e '"kind":"recipe"' -e '"kind":"part","part":[0-9]*,' "$work/before" \
  > "$work/a/reproduce.jsonl"
rm "$work/a/recovery.csv" "$work/a/tokens.csv"
study 0 --out "$work/a"
if [ "$(grep -v '"kind":"part"' "$work/a/reproduce.jsonl" | sort)" = \
     "$(grep -v '"kind":"part"' "$work/before" | sort)" ] &&
   [ "$(grep -c '"kind":"part"' "$work/a/reproduce.jsonl")" = 13 ] &&
   [ -s "$work/a/recovery.csv" ] && [ -s "$work/a/tokens.csv" ]; then ok
else bad "lines or a CSV file are missing, or there twice"; fi
cp "$work/before" "$work/a/reproduce.jsonl"

# The same command again does nothing; no part reads the test images' accuracy.
cp "$work/a/reproduce.jsonl" "$work/before"
study 0 --out "$work/a" --json
if cmp -s "$work/a/reproduce.jsonl" "$work/before"; then ok
else bad "a finished study changed"; fi
if [ "$(ls "$work"/a/*.ckpt* 2> /dev/null | wc -l)" -eq 0 ]; then ok
else bad "checkpoints are left: $(ls "$work"/a/*.ckpt*)"; fi

# Two programs share the first six parts out (all thirteen: sh tests/test_reproduce.sh shares): the
# same lines in the same order. Interrupted, a share goes on; what belongs elsewhere is refused.
parts=1,2,3,4,5,6
[ "$1" != shares ] || parts=1,2,3,4,5,6,7,8,9,10,11,12,13
numbers "$work/before" > "$work/whole"
study 0 --out "$work/s" --list --json --shard 2/2 --part $parts
says out '^{"kind":"cell","cell":"6.2.1","part":6,"needs":."1","2","3","6.1".,"images_trained":32,'
if [ -e "$work/s" ]; then bad "--list made a folder"; else ok; fi
study 0 --out "$work/s" --shard 2/2 --part 1 --threads 1
study 1 --out "$work/s" --gather --part $parts
says err "part 2 (gradients) lacks 1 cell,"
# shellcheck disable=SC2086
"$tool" reproduce $quick --out "$work/s" --shard 1/2 --part $parts --threads 1 > "$work/out" 2>&1 &
child=$!
sleep 1
kill -9 $child
wait $child 2> /dev/null
# shellcheck disable=SC2086
if sh examples/mpi/study.sh 2 $quick --out "$work/s" --report "$work/s.html" --part $parts \
  > "$work/out" 2> "$work/err"; then ok; else bad "the shares did not end"; fi
numbers "$work/s/reproduce.jsonl" > "$work/shared"
if head -n "$(wc -l < "$work/shared")" "$work/whole" | cmp -s - "$work/shared"; then ok
else bad "two shares have other lines than one program"; fi
if [ "$(grep -c . "$work/shared")" -ge 90 ]; then ok; else bad "the shares left few lines"; fi
"$tool" report "$work/s/shard-1.jsonl" "$work/s/shard-2.jsonl" --out "$work/joined.html"
if grep -q '<svg viewBox="0 0 372' "$work/joined.html"; then ok; else bad "no joined page"; fi
sed 's/recipe=[0-9a-f]*/recipe=0/' "$work/s/shard-2.jsonl" > "$work/o.jsonl"
"$tool" report "$work/s/shard-1.jsonl" "$work/o.jsonl" --out "$work/o.html" 2> "$work/err"
says err "o.jsonl: lines of another recipe, data, network or version than those in"
sed 's/"dense":"[0-9a-f]*"/"dense":"0123456789abcdef"/' "$work/s/shard-2.jsonl" > "$work/o.jsonl"
"$tool" report "$work/s/shard-1.jsonl" "$work/o.jsonl" --out "$work/o.html" 2> "$work/err"
says err "o.jsonl: lines of another dense network (0123456789abcdef) than those in"
cp "$work/o.jsonl" "$work/s/shard-9.jsonl"
study 1 --out "$work/s" --gather --part $parts
says err "shard-9.jsonl: lines of another dense network"
if [ -e "$work/o.html" ]; then bad "a refused page was drawn"; else ok; fi
cp "$work/s/shard-1.jsonl" "$work/keep.jsonl"
if "$tool" report "$work/s/shard-2.jsonl" "$work/keep.jsonl" 2> "$work/err"; then
  bad "a record was taken for a page"; else ok; fi
if cmp -s "$work/s/shard-1.jsonl" "$work/keep.jsonl"; then ok; else bad "a record changed"; fi
study 2 --shard 3/2
study 2 --shard 1/2 --fresh

# The job array, with a stand-in for sbatch that does the tasks one after the other.
cat > "$work/sbatch" << 'END'
#!/bin/sh
echo "$*" >> "$SBATCH_LOG"
array=
while :; do
  case $1 in
    --parsable | --dependency=afterany:[0-9]*) shift ;;
    --array=1-*) array=${1#--array=1-}; shift ;;
    *) break ;;
  esac
done
script=$1
shift
export SLURM_JOB_ID=7 SLURM_CPUS_PER_TASK=1
if [ -n "$array" ]; then
  for task in $(seq "$array"); do
    SLURM_ARRAY_TASK_ID=$task SLURM_ARRAY_TASK_MAX=$array sh "$script" "$@" >> "$SBATCH_LOG" ||
      exit 1
  done
else
  sh "$script" "$@" >> "$SBATCH_LOG" || exit 1
fi
echo "7;cluster"
END
chmod +x "$work/sbatch"
# shellcheck disable=SC2086
if PATH="$work:$PATH" SBATCH_LOG="$work/sbatch.log" TOOL="$tool" sh examples/mpi/study.slurm 2 \
  $quick --out "$work/t" --report "$work/t.html" --part 1,2,3 > "$work/out" 2> "$work/err"; then ok
else bad "the job array did not end"; fi
if sh -n examples/mpi/study.slurm && [ "$(grep -c -- --array=1-2 "$work/sbatch.log")" -eq 5 ]; then
  ok; else bad "there are not five arrays"; fi
numbers "$work/t/reproduce.jsonl" > "$work/shared"
if [ -s "$work/shared" ] && head -n "$(wc -l < "$work/shared")" "$work/whole" |
  cmp -s - "$work/shared"; then ok; else bad "a job array has other lines than one program"; fi

# Interrupted, first by a signal, then by its own clock, and resumed on one thread.
# shellcheck disable=SC2086
"$tool" reproduce $quick --out "$work/b" --threads 1 > "$work/out" 2> "$work/err" &
child=$!
sleep 1
kill -INT $child
wait $child
if [ $? -eq 130 ]; then ok; else bad "an interrupted study did not end with 130"; fi
stops=0
minutes=0.03 # longer each time, so that the end comes on a busy machine too
status=130
while [ $status -eq 130 ] && [ $stops -lt 40 ]; do
  # shellcheck disable=SC2086
  "$tool" reproduce $quick --out "$work/b" --report "$work/b.html" --threads 1 \
    --minutes $minutes > "$work/out" 2> "$work/err"
  status=$?
  stops=$((stops + 1))
  minutes=$(echo $minutes | awk '{ print 1.3 * $1 }')
done
if [ $status -eq 0 ] && [ $stops -gt 2 ]; then ok; else bad "$stops stops, then $status"; fi
numbers "$work/a/reproduce.jsonl" > "$work/whole"
numbers "$work/b/reproduce.jsonl" > "$work/pieces"
if cmp -s "$work/whole" "$work/pieces"; then ok; else
  bad "an interrupted study has other numbers"
  diff "$work/whole" "$work/pieces" | head -n 4 | cut -c 1-300
fi

# Parts 14 to 20 run when they are named; the summary has a line for each figure of the record.
study 0 --out "$work/a" --part 14,15,16,17,18,19
says out "all of it, order of part 3"
says out "   after exchanges: attention [0-9,-]*, activation [0-9,-]*; loss "
says out "   class token first "
study 130 --out "$work/a" --part 20 --minutes 0.03 --threads 1
study 0 --out "$work/a" --part 20
says out "   four times "
says out "trained on 512 images, looked at 0, [0-9]* processor second"
keys="parent,wanted,budget,layers,types,block,losses,accuracies,costs,images,processor_seconds"
lines greedy 4 $keys
lines finer 2 "hash,patch,epochs,lr,mix_prob,ema,accuracy,test"
keys="hash,parent,teacher,alpha,epochs,batch,lr,mix_prob,trivial,drop_path,ema,accuracy,test"
lines better 2 $keys
lines headline 33 "row,seed,attention,activation,marks,accuracies,test,params,macs"
lines swapped 2 "name,swaps,attention,activation,greedy_loss,loss,trainings,images"
lines choice 7 "row,seed,attention,activation,marks,accuracies,test,params,macs"
lines long 3 "row,seed,attention,activation,marks,accuracies,test,params,macs"
if grep -q '"kind":"network","name":"[^"]* epochs 2 [^"]* trivial"' "$work/a/reproduce.jsonl"; then
  ok
else bad "part 17's images were not changed"; fi
lines frontier 7 "row,seed,attention,activation,marks,accuracies,test,params,macs"
lines rival 15 "row,seed,attention,activation,marks,accuracies,test,params,macs"
lines pick 24 "row,seed,attention,activation,images_trained,images,processor_seconds"
lines reading 37 "row,seed,attention,activation,marks,accuracies,test,params,macs"
lines block_maps 2 "parent,wanted,block,losses,processor_seconds"
lines rival_timing 8 "model,image,attentions,activations,speedup,speedup_low,speedup_high,\
dense_ms,ms,ms_low,ms_high,batch,dense_macs,macs,params"
study 0 --out "$work/a" --summary
for figure in dense_test gap_short gap_long greedy_8 learned_8 best_recovered_8 \
  depth_minus_width_1_6 seeds_min; do
  says out "STUDY $figure "
done
cp "$work/a/reproduce.jsonl" "$work/before"

# More seeds belong to the same study; another recipe does not.
study 0 --out "$work/a" --seeds 3 --list
says out "done"
sed 's/^lr .*/lr 2e-4/' data/quick.recipe > "$work/other.recipe"
study 1 --out "$work/a" --recipe "$work/other.recipe"
says err "another recipe"
if cmp -s "$work/a/reproduce.jsonl" "$work/before"; then ok; else bad "a refusal changed it"; fi
sed 's/^start.extra .*/start.extra 40/' data/quick.recipe > "$work/other.recipe"
study 1 --out "$work/c" --recipe "$work/other.recipe"
says err "the network has 12 blocks"
study 1 --out "$work/c" --recipe "$work/nothing"
study 2 --out "$work/c" --part 21
study 2 --out "$work/c" --seeds 1000
study 0 --out "$work/a" --fresh --part 4,8 --list
if [ -f "$work/a/previous.jsonl" ]; then bad "--list moved the record"; else ok; fi
study 0 --out "$work/a" --fresh --part 8
if [ -f "$work/a/previous.jsonl" ]; then ok; else bad "--fresh left nothing behind"; fi

# The shipped list: 5000 rising numbers below 50000.
if awk '{ for (i = 1; i <= NF; i++) { if ($i <= last && n) exit 1; last = $i; n++ } }
        END { exit !(n == 5000 && last < 50000) }' data/cifar100_held.txt; then ok
else bad "data/cifar100_held.txt"; fi

# Every line is as data/records.json says.
if [ -x build/test_records ]; then
  build/test_records some "$work/all" "$work/whole" "$work/keep.jsonl" > "$work/out" 2>&1 && ok ||
    bad "lines that are not as data/records.json says: $(head -n 9 "$work/out")"
fi

echo "test_reproduce.sh: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
