#!/bin/sh
# The book (`make book`): every link has its target, every target is there once, nothing comes from
# elsewhere, every formula is set, the contents are complete, the paper's equations lead to
# functions and checks that exist, the search finds, and what is broken is refused.
# tests/test_book.c compares the numbers.
#
# What the page's script does is tried in a headless Chromium where one is installed.
cd "$(dirname "$0")/.." || exit 1
. tests/check.sh

companion=examples/weave/companion.txt
plus=examples/plus/boundarydpt_plus.h
studies=examples/plus/boundarydpt_studies.h
$CC -std=c99 -O1 -Wall -Wextra -Wpedantic -Wconversion -Wshadow \
  examples/weave.c -o "$work/weave" > "$work/said" 2>&1
[ $? -eq 0 ] && [ ! -s "$work/said" ]
check $? "weave.c does not compile without a warning: $(head -n 3 "$work/said")"
if [ -x build/boundarydpt ]; then
  build/boundarydpt report data/reproduce.jsonl "$work/report.html" > "$work/said" 2>&1
  check $? "the study's page: $(head -n 3 "$work/said")"
fi
: > "$work/page.html"
"$work/weave" "$plus" "$work/boundarydpt_plus.html" "$companion" boundarydpt.h "$studies" \
  > "$work/said" 2>&1
check $? "weave $plus: $(head -n 3 "$work/said")"
"$work/weave" "$studies" "$work/boundarydpt_studies.html" "$companion" boundarydpt.h "$plus" \
  > "$work/said" 2>&1
check $? "weave $studies: $(head -n 3 "$work/said")"
"$work/weave" boundarydpt.h "$work/boundarydpt.html" PAPER_NOTES.md "$companion" "$plus" \
  "$studies" > "$work/said" 2>&1
check $? "weave boundarydpt.h: $(head -n 3 "$work/said")"
"$work/weave" examples/weave.c "$work/weave.html" > "$work/said" 2>&1
check $? "weave examples/weave.c: $(head -n 3 "$work/said")"

# Links.
for page in boundarydpt boundarydpt_plus boundarydpt_studies weave; do
  tr '<' '\n' < "$work/$page.html" > "$work/tags"
  sed -n "s/^[a-z0-9]* \(.* \)\{0,1\}id='\{0,1\}\([A-Za-z0-9_-]*\).*/\2/p" "$work/tags" | sort \
    > "$work/ids"
  sed -n "s/^a .*href='#\([^']*\)'.*/\1/p" "$work/tags" | sort -u > "$work/links"
  [ -s "$work/links" ] && [ -z "$(comm -13 "$work/ids" "$work/links")" ]
  check $? "$page.html has links to nowhere: $(comm -13 "$work/ids" "$work/links" | head -n 3)"
  [ -z "$(uniq -d "$work/ids")" ]
  check $? "$page.html has targets twice: $(uniq -d "$work/ids" | head -n 3)"
  missing=$(sed -n "s/^a .*href='\.\.\/\([^']*\)'.*/\1/p" "$work/tags" | sort -u |
            while read -r file; do [ -e "$file" ] || echo "$file"; done)
  [ -z "$missing" ]
  check $? "$page.html links to files that are not there: $missing"
  missing=$(sed -n "s/^a .*href='\(boundarydpt[_a-z]*.html\)#\([^']*\)'.*/\1 \2/p" "$work/tags" |
            sort -u | while read -r other id; do
              grep -q "id='*$id['> ]" "$work/$other" || echo "$id"
            done)
  [ -z "$missing" ]
  check $? "$page.html links to nothing in the other page: $missing"
  ! grep -E "(src|href)=['\"]?https?:|@import|url\(['\"]?http" "$work/$page.html" > /dev/null
  check $? "$page.html fetches something"
done
tr '<' '\n' < "$work/boundarydpt.html" > "$work/tags"
grep -q "href='page.html'" "$work/boundarydpt.html"
check $? "boundarydpt.html does not link the page that stands beside it"
if [ -e "$work/report.html" ]; then
  missing=$(sed -n "s/^a .*href='report.html#\([^']*\)'.*/\1/p" "$work/tags" | sort -u |
            while read -r id; do grep -q "id=\"$id\"" "$work/report.html" || echo "$id"; done)
  linked=$(grep -c "href='report.html#" "$work/tags")
  rows=$(grep -c "^| .* | part [0-9]*: [a-z]* |$" PAPER_NOTES.md)
  [ -z "$missing" ] && [ "$linked" -eq "$rows" ] && [ "$rows" -gt 15 ]
  check $? "$linked of $rows equations lead to a figure of the study, and not: $missing"
fi

# Every line of code is in the book, once.
lines=$(grep -c "<a class=n id=L" "$work/weave.html")
code=$(awk '/^\/\*/ { prose = 1 } !prose && NF { n++ } prose && /\*\// { prose = 0 }
            END { print n }' examples/weave.c)
[ "$lines" -ge "$code" ]
check $? "weave.html shows $lines lines, the file has $code lines of code"

# Formulas: each labelled one is set, and nothing is left of its ASCII.
wanted=$(grep -cE '^ \*   (math|forward|backward|error|bound)  +[^ ]' boundarydpt.h)
grep -o "<dd class=formula>.*" "$work/boundarydpt.html" > "$work/formulas"
set=$(wc -l < "$work/formulas")
[ "$set" -eq "$wanted" ] && [ "$wanted" -gt 50 ]
check $? "$set formulas are set, the header has $wanted"
left=$(sed -e 's/<[^>]*>/ /g' -e 's/&[a-z]*;/ /g' "$work/formulas" |
       grep -oE '[A-Za-z0-9]*(sum_|\^[A-Za-z0-9(]|sqrt|_[a-z]\>|->|<-)[^ ]*' | head -n 3)
[ -z "$left" ]
check $? "left in formulas: $left"
opened=$(grep -o '<math' "$work/boundarydpt.html" | wc -l)
[ "$opened" -gt 500 ] && [ "$opened" -eq "$(grep -o '</math>' "$work/boundarydpt.html" | wc -l)" ]
check $? "not every <math> is closed"

# Contents: every numbered title, the interface's among them.
sed -n '/<nav id=contents/,/<\/nav>/p' "$work/boundarydpt.html" | tr '<' '\n' > "$work/nav"
number='s/^\(\/\*\| \*\) \(---- \)\{0,1\}\([0-9][0-9.A-Z]*\)  [A-Za-z].*/\3/p'
missing=$(sed -n "$number" boundarydpt.h |
          while read -r number; do
            grep -q "^span class=number>$number\$" "$work/nav" || echo "$number"
          done | tr '\n' ' ')
[ -z "$missing" ] && grep -q '^span class=number>3.10$' "$work/nav"
check $? "the contents miss $missing"

# "(9.3)" in the prose speaks of a section that is there.
missing=$(grep -E '^( \*|/\*)' boundarydpt.h | grep -oE '\(([2-9]|1[0-9])\.[0-9]+\)' | sort -u |
          tr -d '()' | while read -r number; do
            grep -q "^span class=number>$number\$" "$work/nav" || echo "$number"
          done | tr '\n' ' ')
[ -z "$missing" ]
check $? "the prose speaks of sections that are not there: $missing"

# Each chapter opens with a question and ends with two exercises.
chapters=$(grep -c '^<h2 id=.*<span class=number>' "$work/boundarydpt.html")
asked=$(grep -c '<p class=question>' "$work/boundarydpt.html")
exercises=$(grep -c '^<div class=exercise' "$work/boundarydpt.html")
[ "$chapters" -gt 12 ] && [ "$asked" -eq "$chapters" ] && [ "$exercises" -eq $((2 * chapters)) ]
check $? "$chapters chapters, $asked questions, $exercises exercises"

# The checks that a "check" line of the three headers names: files, before a colon their tests.
grep -hE '^ \*   check  ' boundarydpt.h "$plus" "$studies" |
  sed 's/^ \*   check *//' | tr ';' '\n' > "$work/checks"
missing=$(sed -n 's/^ *\(tests\/[a-z_]*\.[a-z]*\) \{0,1\}\([a-z0-9_, ]*\)\(:.*\)\{0,1\}$/\1 \2/p' \
            "$work/checks" | tr -d ',' | while read -r file names; do
            [ -e "$file" ] || echo "$file"
            for name in $names; do
              grep -qE "^(TEST\($name\)|static void $name\()" "$file" || echo "$file $name"
            done
          done)
[ -z "$missing" ] && [ "$(wc -l < "$work/checks")" -gt 30 ]
check $? "the headers name checks that are not there: $missing"

# Each lesson stands where its comment says that it belongs: "Lesson 1: a tape   (see >>tape)".
missing=$(for file in examples/[0-9]*; do
            n=$(sed -n '1s/^\/\* Lesson \([0-9]*\): .*(see >>[a-z]*.*/\1/p' "$file")
            tag=$(sed -n '1s/.*see >>\([a-z-]*\).*/\1/p' "$file")
            awk -v tag=">>$tag" -v want="lesson    $n: $file " '
              /^>>/ { here = $0 } here == tag && index($0, want) == 1 { found = 1 }
              END { exit !found }' "$companion" || echo "$file"
          done)
[ -z "$missing" ]
check $? "examples/weave/companion.txt does not send the reader to $missing"

# The checks that the table of equations names.
missing=$(sed -n \
            's/^| .* | \(tests\/[a-z_]*\.[a-z]*\) \([a-z_0-9]*\) | part .*/\1 \2/p' PAPER_NOTES.md |
          while read -r file name; do
            grep -q "^TEST($name)" "$file" || echo "$file $name"
          done)
[ -z "$missing" ]
check $? "PAPER_NOTES.md names checks that are not there: $missing"

# What is broken is named with its line, and no page is written.
refused() { # refused TEXT STATUS ARGUMENTS...: the sentence and the status
  text=$1
  status=$2
  shift 2
  rm -f "$work/bad.html"
  "$work/weave" "$@" > "$work/said" 2>&1
  [ $? -eq "$status" ] && [ ! -e "$work/bad.html" ] && grep -q "$text" "$work/said"
  check $? "weave does not say '$text': $(head -n 3 "$work/said")"
}
printf '/* 1  One                   >>one\n *\n * See >>two.\n */\nint x = 8 >>y;\n' > "$work/bad.h"
refused 'bad.h:3: .*>>two' 1 "$work/bad.h" "$work/bad.html"
[ "$(wc -l < "$work/said")" -eq 1 ]
check $? "weave says more than that: $(cat "$work/said")"
printf '/* 1  One         >>one */\n/* 2  Two         >>one */\n' > "$work/bad.h"
refused 'bad.h:2: ' 1 "$work/bad.h" "$work/bad.html"
refused 'nowhere.h' 1 "$work/nowhere.h" "$work/bad.html"
refused 'usage' 2 "$work/nowhere.h"
sed 's/`bdpt_fuse`/`bdpt_fuze`/' PAPER_NOTES.md > "$work/notes.md"
refused 'notes.md:[0-9]*: not defined: bdpt_fuze' 1 boundarydpt.h "$work/bad.html" \
  "$work/notes.md" "$plus" "$studies"
sed '/^exercise/{x;s/^/x/;/^x\{9\}$/{x;d;};x;}' "$companion" > "$work/less.txt"
refused 'a chapter needs' 1 boundarydpt.h "$work/bad.html" PAPER_NOTES.md \
  "$work/less.txt" "$plus" "$studies"
sed 's/^term      arena/term      orena/' "$companion" > "$work/less.txt"
refused 'does not speak of orena' 1 boundarydpt.h "$work/bad.html" PAPER_NOTES.md \
  "$work/less.txt" "$plus" "$studies"
sed 's/^>>fuse/>>fuze/' "$companion" > "$work/less.txt"
refused 'no such tag: fuze' 1 boundarydpt.h "$work/bad.html" PAPER_NOTES.md \
  "$work/less.txt" "$plus" "$studies"

# The search, in a browser: a function, a term, a formula, a name in the middle, words of the text.
browser=$(command -v chromium || command -v chromium-browser || command -v google-chrome)
finds() { # finds QUERY KIND TEXT: the first hits have it
  "$browser" --headless=new --no-sandbox --disable-gpu --user-data-dir="$work/profile" \
    --virtual-time-budget=5000 --dump-dom "file://$work/boundarydpt.html?q=$1" 2> /dev/null |
    sed -n 's/.*<ul id="found">\(.*\)<\/ul><\/span><\/div>.*/\1/p' |
    sed 's/<\/li>/\n/g' > "$work/hits"
  head -n 5 "$work/hits" | grep -q "<small>$2</small>$3"
  check $? "searching $1 does not find the $2 $3: $(head -n 2 "$work/hits")"
}
if [ -n "$browser" ]; then
  finds bdpt_fuse function 'bdpt_fuse<'
  finds residual%20stream term 'residual stream'
  finds 'W2%20W1' formula 'W = W2 W1'
  finds fuse_all function bdpt_fuse_all
  finds recovery%20asymmetry paper 'recovery asymmetry'
  finds Resuming%20is%20replaying text '.*Resuming is replaying'
else
  echo "tests/test_book.sh: the search: skipped, no chromium"
fi

# No page is wider than a phone, a tablet or a screen, and no script complains.
if [ -n "$browser" ] && command -v python3 > /dev/null; then
  python3 - "$browser" "$work" > "$work/said" 2>&1 <<'END'
import sys
sys.path.insert(0, "tests")
from page_browser import Chromium
b = Chromium(sys.argv[1])
for name in ("boundarydpt", "boundarydpt_plus", "boundarydpt_studies", "weave"):
    b.open(f"file://{sys.argv[2]}/{name}.html")
    b.wait("document.readyState == 'complete'", 60)
    for width in (390, 820, 1440):
        b.size(width, 900)
        wide = b.js("document.documentElement.scrollWidth")
        if wide > width: print(f"{name}.html is {wide} pixels wide at {width}")
for error in b.errors(): print(error)
b.end()
END
  [ $? -eq 0 ] && [ ! -s "$work/said" ]
  check $? "in a browser: $(head -n 3 "$work/said")"
else
  echo "tests/test_book.sh: widths: skipped, no chromium or python3"
fi

echo "book pages: $passed passed, $failed failed"
[ "$failed" -eq 0 ]
