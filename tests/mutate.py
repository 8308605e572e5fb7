"""mutate.py: would the tests notice? Makes small mistakes in the header, one at a time.

    python3 tests/mutate.py [--mutants N] [--seed S] [--only 3,7-9] [--minutes M]
                             [--patience S] [--reuse] [--list]

Every function of every chapter offers places: a comparison, a sum, a constant, a condition, a call
whose result nobody uses. N of them (212), spread evenly over the chapters, become mutants. All stand
in one copy of the header as `(bdpt_mutant(K) ? mutated : original)`, so that everything is compiled
once, and the environment variable BDPT_MUTANT chooses. First each test program runs without a mutant
and writes down which places each of its parts (RUN) comes by, and how long it takes; then, for each
mutant, the parts that come by its place run alone, fastest first, until one fails, crashes or takes
ten times as long. Those that nothing notices are printed with their line. Lines of
tests/mutants.txt, "FUNCTION: original => mutated  # reason", say which survivors mean the same as
the original; they are counted apart.

--only tries some, --minutes ends after a time, --patience gives one mutant no more seconds than
that. --reuse takes what was compiled, measured and decided the last time, the tests that have
changed since excepted: so it goes on where it was stopped, and asks the survivors again.

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
    for m in re.finditer(r"^(?:BDPT_API|BDPTI_FN|BDPTI_HOT|static)\b[^;={}]*?\b(\w+)\([^;{}]*\)\s*\{",
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
#include <time.h>
#ifndef BDPT_MUTANTS
#define BDPT_MUTANTS
__attribute__((weak)) int bdpt_mutant_chosen = -1;
__attribute__((weak)) unsigned char bdpt_mutant_seen[%d];
#define bdpt_mutant(k) (bdpt_mutant_seen[k] = 1, bdpt_mutant_chosen == (k))
__attribute__((constructor, weak)) void bdpt_mutant_begin(void) {
  const char *text = getenv("BDPT_MUTANT");
  if (text) bdpt_mutant_chosen = atoi(text);
}
__attribute__((weak)) void bdpt_mutant_part(const char *name) {
  static clock_t before;
  const char *path = getenv("BDPT_MUTANT_SEEN");
  FILE *f = path ? fopen(path, "ab") : NULL;
  int k;
  if (!f) return;
  fprintf(f, "%%s %%g", *name ? name : "-", (double)(clock() - before) / CLOCKS_PER_SEC);
  for (k = 0; k < %d; k++) if (bdpt_mutant_seen[k]) fprintf(f, " %%d", k), bdpt_mutant_seen[k] = 0;
  fprintf(f, "\\n");
  fclose(f);
  before = clock();
}
__attribute__((destructor, weak)) void bdpt_mutant_end(void) { bdpt_mutant_part(""); }
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


FLAGS = [*os.environ.get("CC", "gcc").split(), "-std=gnu99", "-w", "-O1", "-fopenmp", "-DTEST_STOP"]


def copy_of_the_tree(chosen, source):
    """Copies tests and examples, and writes the header; returns the mutants that are no C."""
    without = set()
    shutil.rmtree(place, ignore_errors=True)
    shutil.copytree(os.path.join(here, "tests"), os.path.join(place, "tests"),
                    ignore=shutil.ignore_patterns("corpus", "fixtures", "vectors"))
    shutil.copytree(os.path.join(here, "examples"), os.path.join(place, "examples"))
    header = os.path.join(place, "boundarydpt.h")
    while True:
        with open(header, "w") as f:
            f.write(mutated(source, chosen, without))
        r = subprocess.run([*FLAGS, "-fsyntax-only", library()], capture_output=True, text=True)
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
    return without


def library():
    return os.path.join(place, "examples", "tool", "library.c")


def compile_again(ways):
    """Compiles what has changed since the last time, library or tests; forgets its times."""
    jobs, programs = [], []
    for real in ("double", "float"):
        target = os.path.join(place, real + ".o")
        if not os.path.exists(target):
            jobs.append([*FLAGS, "-DBDPT_REAL=" + real, "-c", library(), "-o", target])
    run_jobs(jobs)
    jobs = []
    for name in tests_of_the_library():
        ours, copy = (os.path.join(d, "tests", name + ".c") for d in (here, place))
        text = open(ours).read()
        changed = not os.path.exists(copy) or open(copy).read() != text
        if changed:
            open(copy, "w").write(text)
        for real in precisions(name):
            exe = os.path.join(place, name + "_" + real)
            if changed and os.path.exists(exe):
                os.remove(exe) # so that it is measured again, also after a failure here
            if not os.path.exists(exe):
                ways.pop(exe, None)
                whole = "define BOUNDARYDPT_IMPL" in text
                jobs.append([*FLAGS, "-DBDPT_REAL=" + real, *(["-DBDPT_STATIC"] if whole else []),
                             copy, *([] if whole else [os.path.join(place, real + ".o")]), "-o",
                             exe, "-lm", "-lpthread"])
            programs.append(exe)
    run_jobs(jobs)
    return programs


def run_jobs(jobs):
    def one(job):
        r = subprocess.run(job, capture_output=True, text=True)
        if r.returncode != 0:
            sys.exit("mutate: %s\n%s" % (" ".join(job[-6:]), r.stderr[:2000]))
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "1"))) as pool:
        list(pool.map(one, jobs))


def tests_of_the_library():
    tool = ("checkpoint", "generate", "images", "masks", "onnx", "report", "reproduce", "book")
    names = sorted(f[:-2] for f in os.listdir(os.path.join(here, "tests"))
                   if re.match(r"test_\w+\.c$", f))
    return [n for n in names if n[5:] not in tool]


def precisions(name):
    """In double the bounds are tight; in float run the kernels that a processor has of its own."""
    if name.startswith("test_only"):
        return ("float",)
    both = ("test_kernels", "test_ops", "test_model", "test_train")
    return ("float", "double") if name in both else ("double",)


# ---- Running --------------------------------------------------------------------------------------

def run(exe, mutant, limit, seen=None, part=None):
    env = dict(os.environ, OMP_NUM_THREADS="1", GOMP_SPINCOUNT="0", BDPT_MUTANT=str(mutant))
    if seen:
        env["BDPT_MUTANT_SEEN"] = seen
    if part:
        env["TEST_PART"] = part
    try:
        return subprocess.run([exe], cwd=here, env=env, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL, timeout=limit).returncode
    except subprocess.TimeoutExpired:
        return 1000


def reach(exe):
    """[part, seconds with what stands around it, places it comes by] of each part of a program."""
    seen = exe + ".seen"
    if os.path.exists(seen):
        os.remove(seen)
    code = run(exe, -1, 900, seen)
    if code != 0:
        sys.exit("mutate: %s fails without a mutant (%d)" % (exe, code))
    parts, around, places = {}, 0.0, set()
    for line in open(seen):
        name, seconds, *ks = line.split()
        if name == "-":
            around += float(seconds)
            places |= {int(k) for k in ks}
        else:
            part = parts.setdefault(name, [0.0, set(places)]) # which may run more than once
            part[0] += float(seconds)
            part[1] |= {int(k) for k in ks}
    if not parts:
        return [["", around, sorted(places)]]
    return [[name, seconds + around, sorted(places | ks)] for name, (seconds, ks) in parts.items()]


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
    p.add_argument("--patience", type=float, default=0)
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
    without, ways, past = set(), {}, {}
    if original == os.path.join(here, "boundarydpt.h"):
        without = copy_of_the_tree(chosen, source)
        open(os.path.join(place, "source.h"), "w").write(source)
    elif os.path.exists(kept):
        without, ways, past = json.load(open(kept))
        without = set(without)

    def keep():
        with open(kept + ".new", "w") as f:
            json.dump([sorted(without), ways, past], f)
        os.replace(kept + ".new", kept)
    keep()
    for exe in compile_again(ways):
        if exe not in ways:
            ways[exe] = reach(exe)
            print("%6.1f s in %d parts of %s" % (sum(p[1] for p in ways[exe]), len(ways[exe]),
                                                 os.path.basename(exe)), flush=True)
            past = {text: d for text, d in past.items() if d[0] != "alive"}
            keep()
    parts = sorted((p[1], exe, p[0], set(p[2])) for exe in ways for p in ways[exe])
    print("%d places, %d mutants, %d are no C; %d parts of tests" %
          (len(places), len(chosen), len(without), len(parts)), flush=True)
    wanted = range(len(chosen))
    if o.only:
        ends = [part.split("-") for part in o.only.split(",")]
        wanted = [k for e in ends for k in range(int(e[0]), int(e[-1]) + 1)]
    killed, equal, alive, sound = [], [], [], {}
    for k in wanted:
        text = shown(chosen, k, source)
        if text in same:
            equal.append(k)
            continue
        if k in without:
            continue
        if text not in past or o.only:
            if o.minutes and time.time() - begin > 60 * o.minutes:
                continue
            past[text] = decide(k, parts, o.patience, sound)
            keep()
            print("%s %d %s: %s  (%s)" % (past[text][0], k, chosen[k][0][2], text, past[text][1]),
                  flush=True)
        (killed if past[text][0] == "killed" else alive).append(k)
    for k in alive:
        print("ALIVE  %d %s: %s" % (k, chosen[k][0][2], shown(chosen, k, source)))
    decided = len(killed) + len(alive)
    print("mutants: %d killed, %d alive, %d the same as the original, %d not tried" %
          (len(killed), len(alive), len(equal), len(wanted) - decided - len(equal)))
    print("TRUST mutants %d" % decided)
    print("TRUST mutants_killed %.1f" % (100.0 * len(killed) / decided if decided else 0))


def decide(k, parts, patience, sound):
    """["killed", by what] or ["alive", how many parts ran]: the fastest first. A part that fails
    alone without a mutant, because it needs others before it, does not count."""
    spent, ran = 0.0, 0
    for seconds, exe, part, seen in parts:
        name = os.path.basename(exe) + " " + part
        if k not in seen or sound.get(name) is False:
            continue
        if patience and ran and spent + seconds > patience:
            return ["alive", "%d parts in %.0f s, then patience ended" % (ran, spent)]
        if run(exe, k, 20 * seconds + 10, None, part) != 0:
            if name not in sound:
                sound[name] = run(exe, -1, 60 * seconds + 60, None, part) == 0
            if sound[name]:
                return ["killed", name]
        spent, ran = spent + seconds, ran + 1
    return ["alive", "%d parts, all that come by" % ran]


if __name__ == "__main__":
    main()
