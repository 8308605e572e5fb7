"""cover.py: which lines and branches of the header and of the tool do the tests run?

    python3 tests/cover.py [-v] [--reuse] [--tool] [TEST...]

Compiles library, tool and tests with gcc's counters at -O0, runs the tests, and
adds up what gcov says over all programs. The header counts outside the kernels (chapter 14), each
file of the tool alone; without a test of the tool among those that are named, the tool is left out.
-v prints the lines and branches that nothing reached, --reuse only adds up
again, --tool counts the tool alone, beside a library that is fast and is not counted. The last lines are "TRUST name value": percent of lines and branches of the header, and of
the lines of the tool's least covered file. Needs gcc, gcov and python3."""
import collections, concurrent.futures, glob, json, os, re, shutil, subprocess, sys, time

here = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
os.chdir(here)
place = "build/cover"
FLAGS = [*os.environ.get("CC", "gcc").split(), "-std=c99", "-w", "-O0", "--coverage", "-fopenmp"]
TOOL = ("checkpoint", "generate", "images", "masks", "onnx", "records", "report", "reproduce",
        "standins")
PARTS = {"kernels": ("test_gelu", "test_attention", "test_layernorm", "plain_linear",
                     "test_softmax")} # what chapter 3 has of its own: the plain forms


def run_all(jobs, what):
    def one(job):
        return job, subprocess.run(job, capture_output=True, text=True)
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("JOBS", "2"))) as pool:
        for job, r in pool.map(one, jobs):
            if r.returncode != 0:
                sys.exit("cover: %s: %s\n%s" % (what, " ".join(job[-4:]), r.stderr[-1500:]))


def build(names, tool_only):
    shutil.rmtree(place, ignore_errors=True)
    os.makedirs(place)
    sources = [s for s in glob.glob("examples/tool/**/*.c", recursive=True) if "/page/" not in s]
    tool = any(n in TOOL for n in names)
    fast = [f for f in FLAGS if f not in ("-O0", "--coverage")] + ["-O2"]
    library = "examples/tool/library.c"
    objects = {s: "%s/%s.o" % (place, s.replace("/", "_")[:-2]) for s in sources
               if tool or s == library}
    run_all([[*(fast if s == library and tool_only else FLAGS), "-c", s, "-o", o]
             for s, o in objects.items()], "compiling")
    library = objects.pop(library)
    jobs, modules = [], []
    if tool:
        program = objects.pop("examples/tool/boundarydpt.c")
        modules = [place + "/tool.a"] # of which a test that brings a module takes no second one
        subprocess.run(["ar", "rcs", *modules, *objects.values()], check=True)
        jobs = [[*FLAGS, program, *modules, library, "-o", place + "/boundarydpt", "-lm"]]
    for n in names:
        source = "tests/test_%s.c" % n
        whole = "define BOUNDARYDPT_IMPL" in open(source).read()
        jobs.append([*FLAGS, source, *(modules if n in TOOL else []), *([] if whole else [library]),
                     "-o", "%s/test_%s" % (place, n), "-lm", "-lpthread"])
    run_all(jobs, "linking")


def run(names):
    env = dict(os.environ, OMP_NUM_THREADS="2", OMP_WAIT_POLICY="passive", TEST_SECONDS="3",
               TOOL=os.path.abspath(place + "/boundarydpt"))
    runs = [(["./%s/test_%s" % (place, n)], part) for n in names for part in PARTS.get(n, ("",))]
    if any(n in TOOL for n in names):
        runs += [(["sh", "tests/test_cli.sh"], ""), (["sh", "tests/test_reproduce.sh"], "")]
    for command, part in runs:
        begin = time.time()
        if part:
            env["TEST_PART"] = part
        else:
            env.pop("TEST_PART", None)
        r = subprocess.run(command, env=env, capture_output=True, text=True)
        print("%6.1f s  %s %s" % (time.time() - begin, (r.stdout.strip().split("\n") or ["?"])[-1],
                                  part), flush=True)


def add_up():
    """{file: ({line: count}, {(line, function, index): count})} over all programs."""
    files = collections.defaultdict(lambda: (collections.Counter(), collections.Counter()))
    for data in glob.glob(place + "/*.gcda"):
        r = subprocess.run(["gcov", "--json-format", "--stdout", "-b", data], capture_output=True)
        for text in r.stdout.decode(errors="replace").splitlines():
            for f in json.loads(text)["files"] if text.startswith("{") else []:
                lines, branches = files[os.path.normpath(f["file"])]
                for line in f["lines"]:
                    n = line["line_number"]
                    lines[n] += line["count"]
                    for i, b in enumerate(line["branches"]):
                        branches[n, line.get("function_name"), i] += b["count"]
    return files


def share(counts):
    return 100.0 * sum(c > 0 for c in counts.values()) / max(1, len(counts))


def main():
    words = [w for w in sys.argv[1:] if not w.startswith("-")]
    tool_only = "--tool" in sys.argv
    names = words or (list(TOOL) if tool_only else
                      sorted(f[11:-2] for f in glob.glob("tests/test_*.c")))
    if "--reuse" not in sys.argv:
        build(names, tool_only)
        run(names)
    files = add_up()
    text = open("boundarydpt.h").read().split("\n")
    end = next(i for i, l in enumerate(text, 1) if re.match(r" \* 14  .*>>kernels", l))
    lines, branches = files["boundarydpt.h"]
    lines = {n: c for n, c in lines.items() if n < end}
    branches = {k: c for k, c in branches.items() if k[0] < end}
    rows = []
    for name in sorted(files):
        if name.startswith("examples/") and name.endswith((".c", ".h")):
            rows.append((share(files[name][0]), share(files[name][1]), name))
    for l, b, name in rows:
        print("%5.1f %% of lines, %5.1f %% of branches  %s" % (l, b, name))
    if "-v" in sys.argv:
        for name, ls, bs in [("boundarydpt.h", lines, branches)] + [(r[2], *files[r[2]]) for r in rows]:
            source = open(name).read().split("\n")
            missed = collections.Counter(k[0] for k, c in bs.items() if c == 0)
            for n in sorted(set(n for n, c in ls.items() if c == 0) | set(missed)):
                what = "line" if ls.get(n) == 0 else "%d of its branches" % missed[n]
                print("%s:%d: %s: %s" % (name, n, what, source[n - 1].strip()))
    if not tool_only:
        print("TRUST lines %.1f\nTRUST branches %.1f" % (share(lines), share(branches)))
    tool = [r[0] for r in rows if "/tool/" in r[2]]
    if tool:
        print("TRUST tool_lines_least %.1f" % min(tool))


if __name__ == "__main__":
    main()
