"""mutate.py: would the tests notice? Makes small mistakes in the header, one at a time.

    python3 tests/mutate.py [--mutants N] [--seed S] [--only 3,7-9] [--minutes M] [--reuse] [--list]

Every function of every chapter offers places: a comparison, a sum, a constant, a condition, a call
whose result nobody uses. N of them (212), spread evenly over the chapters, become mutants. All stand
in one copy of the header as `(bdpt_mutant(K) ? mutated : original)`, so that everything is compiled
once, and the environment variable BDPT_MUTANT chooses. First each test program runs without a mutant
and writes down which places it comes by; then, for each mutant, those that come by its place run,
fastest first, until one fails, crashes or takes ten times as long. Those that nothing notices are
printed with their line. Lines of tests/mutants.txt, "FUNCTION: original => mutated  # reason", say
which survivors mean the same as the original; they are counted apart. --only tries some, --minutes
ends after a time, --reuse takes what was compiled and killed the last time.

The last lines are "TRUST name value". Needs gcc or clang, and make for the flags of neither."""
import argparse, collections, concurrent.futures, json, os, random, re, shutil, subprocess, sys, time

here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
place = os.path.join(here, "build", "mutate")

# ---- Places ---------------------------------------------------------------------------------------

BINARY = [(" <= ", " < "), (" >= ", " > "), (" < ", " <= "), (" > ", " >= "), (" == ", " != "),
          (" != ", " == "), (" && ", " || "), (" || ", " && "), (" + ", " - "), (" - ", " + "),
          (" / ", " * "), (" % ", " / "), (" * ", " + ")]


def blank_comments(text):
    """The same text, every character of a comment or a string a blank (lines stay)."""
    def blank(m):
        return re.sub(r"[^\n]", " ", m.group(0))
    text = re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', blank, text,
                  flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", blank, text, flags=re.M)


def matching(text, at):
    """The index behind the bracket that closes text[at]."""
    depth = 0
    for i in range(at, len(text)):
        depth += text[i] in "([{"
        depth -= text[i] in ")]}"
        if depth == 0:
            return i + 1
    return len(text)


def split_end(text, at):
    """Where the expression that begins at `at` ends: at a ; or a , outside brackets."""
    depth = 0
    for i in range(at, len(text)):
        c = text[i]
        if c in "([{":
            depth += 1
        elif c in ")]}":
            if depth == 0:
                return i
            depth -= 1
        elif c in ";," and depth == 0:
            return i
    return len(text)


def functions(code):
    """(name, start, end) of the bodies of functions: a line that begins a definition, `{` at its end."""
    for m in re.finditer(r"^(?:BDPT_API|BDPTI_FN|BDPTI_KERNEL|static)\b[^;={}]*?\b(\w+)\([^;{}]*\)\s*\{",
                         code, re.M):
        yield m.group(1), m.end() - 1, matching(code, m.end() - 1)


def spans(code, start, end):
    """Expressions of a function's body, as (from, to)."""
    body = code[start:end]
    for m in re.finditer(r"\b(if|while|for) \(", body):
        a, b = start + m.end(), matching(code, start + m.end() - 1) - 1
        if m.group(1) == "for":
            a = split_at(code, a, ";") + 1
            b = split_at(code, a, ";")
        yield a, b
    for m in re.finditer(r"\breturn ", body):
        yield start + m.end(), split_end(code, start + m.end())
    for m in re.finditer(r"[\w\]\)] [-+*/]?= ", body):
        a = start + m.end()
        yield a, split_end(code, a)


def split_at(code, at, mark):
    depth = 0
    for i in range(at, len(code)):
        depth += code[i] in "([{"
        depth -= code[i] in ")]}"
        if depth <= 0 and code[i] == mark:
            return i
    return len(code)


def mutations(text, code):
    """Texts of one expression with one mistake each."""
    for old, new in BINARY:
        at = code.find(old)
        while at >= 0:
            yield text[:at] + new + text[at + len(old):]
            at = code.find(old, at + 1)
    for m in re.finditer(r"(?<![\w.])(?<!\de-)(\d+)(?![\w.])", code):
        yield text[:m.start()] + str(int(m.group(1)) + 1) + text[m.end():]
    for m in re.finditer(r"(?<![\w.])(\d+\.\d+|\d+e-?\d+|\d+\.\d+e-?\d+)(?![\w.])", code):
        yield text[:m.start()] + "(1.01 * " + m.group(1) + " + 0.001)" + text[m.end():]
    for m in re.finditer(r"!(?=[\w(])", code):
        yield text[:m.start()] + text[m.end():]


def collect(source):
    """Places as (chapter, function, from, to, mutated text); calls that vanish have text None."""
    code = blank_comments(source)
    chapters = [(m.start(), int(m.group(1)), m.group(2))
                for m in re.finditer(r"^ \* (\d+)  [A-Z].*>>(\w+)$", source, re.M)]
    places, taken = [], set()
    for name, start, end in functions(code):
        if code[start:end].count("\\\n"):
            continue
        chapter = [c for c in chapters if c[0] < start][-1]
        for a, b in spans(code, start, end):
            if "{" in code[a:b] or "#" in code[a:b] or "\n" in code[a:b] and '"' in source[a:b]:
                continue
            for text in mutations(source[a:b], code[a:b]):
                if (a, text) not in taken:
                    taken.add((a, text))
                    places.append((chapter, name, a, b, text))
        for m in re.finditer(r"(?<=\n)( +)(bdpti?_\w+|mem\w+)\(", code[start:end]):
            a = start + m.end(1)
            b = matching(code, start + m.end() - 1)
            if code[b:b + 1] == ";" and not re.search(r"[,(]\s*$", code[:a]):
                places.append((chapter, name, a, b, None))
    return places


def choose(places, count, seed):
    """`count` of them, as many from each chapter as from any other where it has them, and each from
    another expression."""
    draw = random.Random(seed)
    by = collections.defaultdict(list)
    for p in places:
        by[p[0][1]].append(p)
    for c in by:
        draw.shuffle(by[c])
    out, used = [], []
    while len(out) < count and any(by.values()):
        for c in sorted(by):
            while by[c]:
                p = by[c].pop()
                if all(p[3] <= a or p[2] >= b for a, b in used):
                    used.append((p[2], p[3]))
                    out.append(p)
                    break
    return sorted(out[:count], key=lambda p: p[2])


# ---- The copy -------------------------------------------------------------------------------------

PROLOGUE = """
#include <stdlib.h>
#include <stdio.h>
#ifndef BDPT_MUTANTS
#define BDPT_MUTANTS
__attribute__((weak)) int bdpt_mutant_chosen = -1;
__attribute__((weak)) unsigned char bdpt_mutant_seen[%d];
#define bdpt_mutant(k) (bdpt_mutant_seen[k] = 1, bdpt_mutant_chosen == (k))
__attribute__((constructor, weak)) void bdpt_mutant_begin(void) {
  const char *text = getenv("BDPT_MUTANT");
  if (text) bdpt_mutant_chosen = atoi(text);
}
__attribute__((destructor, weak)) void bdpt_mutant_end(void) {
  const char *path = getenv("BDPT_MUTANT_SEEN");
  FILE *f = path ? fopen(path, "ab") : NULL;
  int k;
  for (k = 0; f && k < %d; k++) if (bdpt_mutant_seen[k]) fprintf(f, "%%d\\n", k);
  if (f) fclose(f);
}
#endif
"""


def mutated(source, chosen, without):
    out, at = [], 0
    for k, (_, _, a, b, text) in enumerate(chosen):
        if k in without:
            continue
        out.append(source[at:a])
        if text is None:
            out.append("if (!bdpt_mutant(%d)) %s" % (k, source[a:b]))
        else:
            out.append("(bdpt_mutant(%d) ? (%s) : (%s))" % (k, text, source[a:b]))
        at = b
    out.append(source[at:])
    return PROLOGUE % (len(chosen), len(chosen)) + "".join(out)


def compile_all(chosen, source):
    """Compiles library and tests; mutants that are no C are left out."""
    without = set()
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(os.path.join(here, "tests"), os.path.join(place, "tests"),
                    ignore=shutil.ignore_patterns("corpus", "fixtures", "vectors"))
    shutil.copytree(os.path.join(here, "examples"), os.path.join(place, "examples"))
    header = os.path.join(place, "boundarydpt.h")
    flags = [*os.environ.get("CC", "gcc").split(), "-std=gnu99", "-w", "-O1", "-fopenmp", "-DTEST_STOP"]
    lib = os.path.join(place, "examples", "tool", "library.c")
    while True:
        with open(header, "w") as f:
            f.write(mutated(source, chosen, without))
        r = subprocess.run([*flags, "-fsyntax-only", lib], capture_output=True, text=True)
        if r.returncode == 0:
            break
        lines = open(header).read().split("\n")
        bad = set()
        for m in re.finditer(r"boundarydpt\.h:(\d+):\d+: error", r.stderr):
            n = int(m.group(1)) - 1
            near = re.findall(r"bdpt_mutant\((\d+)\)", "\n".join(lines[max(0, n - 2):n + 1]))
            bad |= {int(k) for k in near}
        if not bad - without:
            sys.exit("mutate: cannot compile the copy:\n" + r.stderr[:2000])
        without |= bad
    jobs = []
    for real in ("float", "double"):
        jobs.append([*flags, "-DBDPT_REAL=" + real, "-c", lib, "-o", os.path.join(place, real + ".o")])
    run_jobs(jobs)
    jobs, programs = [], []
    for t in tests_of_the_library():
        text = open(os.path.join(here, "tests", t + ".c")).read()
        whole = "define BOUNDARYDPT_IMPL" in text
        for real in ("float", "double"):
            if t == "test_book" and real == "double":
                continue
            exe = os.path.join(place, t + "_" + real)
            jobs.append([*flags, "-DBDPT_REAL=" + real, os.path.join(place, "tests", t + ".c"),
                         *([] if whole else [os.path.join(place, real + ".o")]), "-o", exe, "-lm",
                         "-lpthread"])
            programs.append(exe)
    run_jobs(jobs)
    return without, programs


def run_jobs(jobs):
    def one(job):
        r = subprocess.run(job, capture_output=True, text=True)
        if r.returncode != 0:
            sys.exit("mutate: %s\n%s" % (" ".join(job[-6:]), r.stderr[:2000]))
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        list(pool.map(one, jobs))


def tests_of_the_library():
    tool = ("checkpoint", "generate", "images", "masks", "onnx", "report", "reproduce")
    names = sorted(f[:-2] for f in os.listdir(os.path.join(here, "tests"))
                   if re.match(r"test_\w+\.c$", f))
    return [n for n in names if n[5:] not in tool]


# ---- Running --------------------------------------------------------------------------------------

def run(exe, mutant, limit, seen=None):
    env = dict(os.environ, OMP_NUM_THREADS="1", BDPT_MUTANT=str(mutant))
    if seen:
        env["BDPT_MUTANT_SEEN"] = seen
    t = time.time()
    try:
        r = subprocess.run([exe], cwd=here, env=env, stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, timeout=limit)
        code = r.returncode
    except subprocess.TimeoutExpired:
        code = 1000
    return code, time.time() - t


def reach(programs):
    """(seconds, program, places it comes by) of each, fastest first."""
    out = []
    for exe in programs:
        seen = exe + ".seen"
        code, seconds = run(exe, -1, 600, seen)
        if code != 0:
            sys.exit("mutate: %s fails without a mutant (%d)" % (exe, code))
        out.append((seconds, exe, {int(x) for x in open(seen)}))
    return sorted(out)


def shown(chosen, k, source):
    chapter, name, a, b, text = chosen[k]
    squash = lambda s: re.sub(r"\s+", " ", s).strip()
    return "%s: %s => %s" % (name, squash(source[a:b]), squash(text) if text is not None else "nothing")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--mutants", type=int, default=212)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--only", default="")
    p.add_argument("--minutes", type=float, default=0)
    p.add_argument("--reuse", action="store_true")
    p.add_argument("--list", action="store_true")
    o = p.parse_args()
    original = os.path.join(place, "source.h")
    if not (o.reuse and os.path.exists(original)):
        original = os.path.join(here, "boundarydpt.h")
    source = open(original).read()
    places = collect(source)
    chosen = choose(places, o.mutants, o.seed)
    if o.list:
        for k in range(len(chosen)):
            print("%d %s %s" % (k, chosen[k][0][2], shown(chosen, k, source)))
        print("%d places" % len(places))
        return
    same = set()
    listed = os.path.join(here, "tests", "mutants.txt")
    if os.path.exists(listed):
        same = {line.split("  #")[0].strip() for line in open(listed) if "  #" in line}
    begin = time.time()
    kept = os.path.join(place, "ways.json")
    if o.reuse and os.path.exists(kept):
        without, ways = json.load(open(kept))
    else:
        without, programs = compile_all(chosen, source)
        open(os.path.join(place, "source.h"), "w").write(source)
        ways = reach(programs)
        json.dump([sorted(without), [(t, exe, sorted(seen)) for t, exe, seen in ways]],
                  open(kept, "w"))
    print("%d places, %d mutants, %d are no C; compiled and run once in %.0f s" %
          (len(places), len(chosen), len(without), time.time() - begin), flush=True)
    wanted = range(len(chosen))
    if o.only:
        ends = [part.split("-") for part in o.only.split(",")]
        wanted = [k for e in ends for k in range(int(e[0]), int(e[-1]) + 1)]
    killed, equal, alive, past = [], [], [], {}
    decided_before = os.path.join(place, "decided.json")
    if o.reuse and not o.only and os.path.exists(decided_before):
        past = json.load(open(decided_before))
    for k in wanted:
        text = shown(chosen, k, source)
        dead = past.get(text)
        if text in same and not o.only:
            equal.append(k)
            continue
        if dead:
            killed.append(k)
            continue
        if k in without or (o.minutes and time.time() - begin > 60 * o.minutes):
            continue
        for seconds, exe, seen in ways:
            if k in seen:
                code, _ = run(exe, k, 10 * seconds + 5)
                if code != 0:
                    dead = os.path.basename(exe)
                    break
        (killed if dead else alive).append(k)
        if dead:
            past[text] = dead
            json.dump(past, open(decided_before, "w"))
        print("%s %d %s: %s%s" % ("killed" if dead else "ALIVE ", k, chosen[k][0][2], text,
                                  "  (%s)" % dead if dead else ""), flush=True)
    decided = len(killed) + len(alive)
    print("mutants: %d killed, %d alive, %d the same as the original" %
          (len(killed), len(alive), len(equal)))
    print("TRUST mutants %d" % decided)
    print("TRUST mutants_killed %.1f" % (100.0 * len(killed) / decided if decided else 0))


if __name__ == "__main__":
    main()
