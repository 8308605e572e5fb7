"""Tests the page build/page.html in headless Chromium, and shortly in Firefox where there is one.

Every switch is used, numbers are compared with the native tool's to the last digit shown, the
answers of the exercises are computed anew, and nothing may be complained about on the console.
Every figure that depends on the machine is printed; only wide bounds are tested.

    python3 tests/test_page.py [--long]    --long: also a search through all layers and a new user's
                                           path with a training of 60 seconds
"""
import base64, json, os, re, struct, subprocess, sys, tempfile, time, zlib
from page_browser import CHROMIUM, FIREFOX, Chromium, Firefox, find

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PAGE = os.path.join(ROOT, "build", "page.html")
URL = "file://" + PAGE
TOOL = os.path.join(ROOT, "build", "boundarydpt")
DENSE = os.path.join(ROOT, "data", "dense.safetensors")
IMAGES = os.path.join(ROOT, "build", "page", "images")
WORK = tempfile.mkdtemp(prefix="page-test-")
LONG = "--long" in sys.argv
passed = failed = 0


def check(ok, what):
    global passed, failed
    if ok:
        passed += 1
    else:
        failed += 1
        print(f"page: failed: {what}")


def equal(got, want, what):
    check(got == want, f"{what}: {got!r}, expected {want!r}")


# ---- The native tool ----
def tool(*arguments):
    run = subprocess.run([TOOL, *arguments, "--json"], cwd=ROOT, capture_output=True, text=True)
    lines = [json.loads(l) for l in run.stdout.splitlines() if l.startswith("{")]
    return lines[-1] if lines else {"failed": run.stderr}


def native(attention="", activation="", start="paper"):
    """Accuracy and MACs of eval, parameters of prune, for these layers removed."""
    path = os.path.join(WORK, "pruned.safetensors")
    layers = (["--attention", attention] if attention else []) + \
             (["--activation", activation] if activation else [])
    made = tool("prune", DENSE, "--out", path, "--start", start, *layers)
    judged = tool("eval", path, "--data", IMAGES)
    return {**judged, "params": made.get("params")}


# ---- The page ----
def text(b, name):
    return b.js(f"document.getElementById('{name}').textContent")


def press(b, selector):
    b.js(f"document.querySelector({json.dumps(selector)}).click()")


def ready(b, seconds=60):
    """The change is built, shown and measured, and no long work goes on."""
    time.sleep(0.02)
    return b.wait("document.body.dataset.state === 'ready' && !page.state.working", seconds)


def follow(b, link):
    """Loads a link in the page as it is, as a click on one would."""
    if b.js("location.hash") != link:
        turn = b.js("page.state.turn")
        b.js(f"location.hash = {json.dumps(link)}")
        b.wait(f"page.state.turn > {turn}", 10)
    ready(b)


def load(b, link=""):
    b.open("about:blank")
    began = time.monotonic()
    b.open(URL + link)
    b.wait("document.getElementById('accuracy') && "
                   "/[0-9]/.test(document.getElementById('accuracy').textContent)", 60)
    first = time.monotonic() - began
    ready(b)
    b.js("page.state.timing = 0")  # one round: nobody reads the time below
    return first


def numbers(b):
    return tuple(text(b, name) for name in ("accuracy", "parameters", "macs"))


def shown(judged):
    return (f"{judged['accuracy']:.2f}", f"{judged['params']:,}", f"{judged['macs'] / 1e6:.2f}")


def layer(kind, block):
    return f'[data-type="{kind}"][data-layer="{block}"]'


# ---- 1  The file ----
def file_alone():
    with open(PAGE, encoding="utf-8") as f:
        whole = f.read()
    size = os.path.getsize(PAGE)
    check(size <= 6000000, f"the page has {size} bytes")
    outside = [u for u in re.findall(r"(?:https?:)?//[\w.-]+\.\w+[^\s\"'<)]*", whole)
               if "www.w3.org" not in u]
    equal(outside, [], "addresses in the page")
    equal(re.findall(r"\bfetch\(|XMLHttpRequest|@import|<link(?! rel=\"icon\" href=\"data:)|"
                     r"<script src|importScripts", whole), [], "ways to load something")
    return size


# ---- 2  The numbers against the tool ----
def against_tool(b):
    cases = [("#a=0,11&form=skip", dict(attention="0,11", start="skip")),
             ("#a=1&g=0,10", dict(attention="1", activation="0,10"))]
    if os.path.exists(os.path.join(ROOT, "build", "generated", "train.bin")):
        cases += [("#a=4&fg=5,8&form=skip", dict(attention="4", activation="5,8",
                                                 start="skip-fit")),
                  ("#fa=6&fg=3", dict(attention="6", activation="3", start="fit"))]
    for link, how in cases:
        follow(b, link)
        judged = native(**how)
        equal(numbers(b), shown(judged), f"the page and the tool on {link}")
        loss = b.js("page.state.now.measured.loss")
        check(abs(loss - judged["loss"]) < 1e-5 * judged["loss"],
              f"loss on {link}: {loss} and {judged['loss']}")
    info = tool("eval", DENSE, "--data", IMAGES)
    press(b, "#restore")
    ready(b)
    equal(numbers(b)[::2], (f"{info['accuracy']:.2f}", f"{info['macs'] / 1e6:.2f}"), "dense")


def same_forward(b):
    """The page's own forward pass, that draws, against bdpt_predict, in every state of a layer."""
    code = """(async () => {
      let worst = 0;
      const {call, state} = page;
      for (const form of ['norm', 'skip', 'double']) {
        const plan = {form, attention: Array(12).fill('kept'), activation: Array(12).fill('kept'),
                      fused: Array(12).fill(false)};
        plan.attention[2] = 'plain', plan.attention[5] = 'fit', plan.activation[3] = 'plain';
        plan.activation[8] = 'plain', plan.fused[8] = true, plan.activation[9] = 'fit';
        const net = await call('build', {base: state.dense.handle, plan});
        for (const index of [0, 7, 299]) {
          const s = await call('look', {h: net.handle, index});
          const z = await call('predict', {h: net.handle, index});
          const y = s.lens.subarray(12 * s.classes);
          for (let k = 0; k < z.length; k++)
            worst = Math.max(worst, Math.abs(z[k] - y[k]) / (1 + Math.abs(z[k])));
          s.maps.forEach(m => {
            for (let i = 0; m && i < m.length; i += s.tokens) {
              const sum = m.subarray(i, i + s.tokens).reduce((a, b) => a + b, 0);
              worst = Math.max(worst, Math.abs(sum - 1));
            }
          });
        }
        await call('drop', {h: net.handle});
      }
      return worst;
    })()"""
    worst = b.js(code)
    check(0 <= worst < 1e-4, f"what is drawn differs from what is predicted by {worst}")


def dumped():
    """What `chromium --dump-dom` prints has the numbers in it: the page is loaded when they are."""
    dom = subprocess.run([find(CHROMIUM), "--headless=new", "--no-sandbox", "--disable-gpu",
                          f"--user-data-dir={WORK}/dump", "--dump-dom", URL + "#a=3,7&g=8"],
                         capture_output=True, text=True, timeout=120).stdout
    found = tuple(re.findall(r'<output id="(?:accuracy|parameters|macs|ms)"[^>]*>([^<]*)', dom))
    equal(found[:3], shown(native("3,7", "8")), "the dumped page")
    check(len(found) == 4 and float(found[3]) > 0, f"ms in the dumped page: {found}")


# ---- 3  Switches, keys, sentences ----
def switches(b):
    b.js("page.state.most = 20")  # nothing below reads the accuracy
    follow(b, "#form=norm")
    dense = b.js("page.state.shown.cost.params")
    for block in range(12):  # each change waits for the one before, not for its measurement
        press(b, layer(0, block))
        b.wait(f"page.state.shown.config.goneAttention === {block + 1}", 10)
        press(b, layer(1, block))
        b.wait(f"page.state.shown.config.goneActivation === {block + 1}", 10)
    ready(b)
    equal(b.js("page.state.shown.cost.params"), dense - 12 * 16640, "all attention gone")
    equal(b.js("document.querySelectorAll('.layer[aria-pressed=true]').length"), 24,
          "layers marked as removed")
    follow(b, "#a=3,7&g=2,8")
    for value in ("skip", "double", "fit", "norm"):
        press(b, f"input[name=form][value={value}]")
        ready(b)
        states = b.js("[3, 7].map(l => page.state.shown.config.block[l].attention)")
        equal(states, 2 * ["fitted" if value == "fit" else "removed"], f"attention leaves {value}")
    for value, state in (("fit", "fitted"), ("plain", "linear")):
        press(b, f"input[name=bend][value={value}]")
        ready(b)
        equal(b.js("[2, 8].map(l => page.state.shown.config.block[l].mlp)"), 2 * [state],
              f"a GELU leaves {value}")
    press(b, "#fuse")
    ready(b)
    check(re.search(r"2 MLPs fused: .* arg-max equal on \d+ of 300 images",
                    text(b, "certificate")), f"certificate: {text(b, 'certificate')}")
    equal(text(b, "parameters"), f"{dense - 2 * 16640 - 2 * 28928:,}", "gone and fused")
    press(b, "#undo")
    ready(b)
    equal(text(b, "parameters"), f"{dense - 2 * 16640:,}", "undo of the fusion")
    press(b, "#restore")
    ready(b)
    equal(b.js("page.state.now.name"), "dense", "restore")


def keys_and_sentences(b):
    b.js(f"document.querySelector('{layer(0, 0)}').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowDown"):
        b.key(key)
    equal(b.js("document.activeElement.getAttribute('aria-label')"), "Block 2, GELU: kept", "arrows")
    b.key("End")
    b.key("Enter")
    ready(b)
    equal(b.js("page.state.shown.config.block[11].mlp"), "linear", "Enter removes")
    equal(b.js("location.hash").split("&")[0], "#g=11", "the link follows")
    b.key(" ")
    ready(b)
    equal(b.js("page.state.shown.config.block[11].mlp"), "kept", "space restores")
    b.js("[...document.querySelectorAll('#detail button')].find(x => /linear/.test(x.textContent))"
         ".click()")
    b.wait("/256/.test(document.getElementById('message').textContent)", 5)
    check("its fc2 would get 64 features" in text(b, "message"), f"one linear alone: {text(b, 'message')}")
    b.js("location.hash = '#a=99,1'")
    b.wait("/a=99/.test(document.getElementById('message').textContent)", 30)
    ready(b)
    equal(b.js("page.state.shown.config.goneAttention"), 1, "what a link asks in vain")
    follow(b, "#form=norm")


# ---- 4  Training, choosing, listening ----
def training(b):
    follow(b, "#a=3,7&g=8&form=skip")
    b.js("document.getElementById('seconds').options[0].value = '4';"  # short trainings below
         "document.getElementById('seconds').value = '4'")
    b.js("window.frames_ = 0; (function f() { frames_++; requestAnimationFrame(f); })()")
    press(b, "#train")
    b.wait("document.querySelectorAll('#loss-plot .curve').length > 0", 30)
    frames, began = b.js("frames_"), time.monotonic()
    b.wait("document.querySelectorAll('#recovery-plot .dot').length >= 3", 60)
    rate = (b.js("frames_") - frames) / (time.monotonic() - began)
    check(rate > 20, f"{rate:.1f} frames a second while training")
    press(b, layer(0, 0))
    check("Stop" in text(b, "message"), "a click while training is answered")
    press(b, "#stop")
    ready(b)
    check("at once" in text(b, "train-result"), f"result: {text(b, 'train-result')}")
    check(b.js("page.state.now.base.trained") is not None, "the trained network is on show")
    check(b.js("document.querySelectorAll('#pareto-plot rect').length") == 1, "a square in the plot")
    press(b, "#undo")
    ready(b)
    equal(b.js("page.state.now.base.trained || null"), None, "undo of the training")
    press(b, "#race")
    b.wait("document.querySelectorAll('#recovery-plot .dot.gelu').length >= 2", 60)
    press(b, "#stop")
    ready(b)
    check(b.js("document.querySelectorAll('#recovery-plot .drop').length") == 2, "two falls")
    return rate


def choosing(b):
    follow(b, "#form=norm")
    press(b, "#greedy")
    b.wait("document.querySelectorAll('.try.on').length >= 2", 60)
    press(b, "#stop")
    ready(b)
    equal(b.js("page.state.now.name"), "dense", "a search that was stopped")
    press(b, "#disparity")
    b.wait("document.querySelectorAll('#disparity-plot .bar').length === 24", 60)
    press(b, "#stop")
    ready(b)
    check("times the pull" in text(b, "disparity-result"), text(b, "disparity-result"))
    for source, split in ((0, "4 attention and 4"), (3, "2 attention and 6")):
        b.js(f"document.getElementById('map-source').selectedIndex = {source};"
             "document.getElementById('map-source').dispatchEvent(new Event('change'))")
        b.wait(f"/{split}/.test(document.getElementById('map-result').textContent)", 10)
    check(b.js("document.querySelectorAll('#map-plot .point').length") == 22, "22 points")
    for value in ("ms", "macs", "params", "ratio"):
        press(b, f"input[name=axis][value={value}]")
        check(b.js("document.querySelectorAll('#pareto-plot .network').length") >= 4, value)


# ---- 5  Pictures and files ----
def png(path, width, height, rgb):
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + \
            struct.pack(">I", zlib.crc32(kind + data) & 0xffffffff)
    rows = b"".join(b"\0" + rgb[3 * width * y:3 * width * (y + 1)] for y in range(height))
    with open(path, "wb") as f:
        f.write(b"\x89PNG\r\n\x1a\n" +
                chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)) +
                chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def pictures(b):
    width, height = 90, 60
    rgb = bytes((x * 5 % 256 if c == 0 else y * 7 % 256 if c == 1 else (x ^ y) * 3 % 256)
                for y in range(height) for x in range(width) for c in range(3))
    png(os.path.join(WORK, "mine.png"), width, height, rgb)
    with open(os.path.join(WORK, "mine.ppm"), "wb") as f:
        f.write(b"P6 %d %d 255\n" % (width, height) + rgb)
    b.files("#own", [os.path.join(WORK, "mine.png")])
    b.wait("page.state.picture.name === 'mine.png'", 10)
    b.wait("/mine.png/.test(document.getElementById('picture-name').textContent)", 10)
    run = subprocess.run([TOOL, "classify", DENSE, os.path.join(WORK, "mine.ppm"), "--json"],
                         capture_output=True, text=True).stdout
    found = json.loads(run.splitlines()[0])
    share = found["probabilities"][0]
    check(f"{100 * share:.1f} %" in text(b, "verdict"),
          f"an own picture: the tool says {share}, the page {text(b, 'verdict')}")
    bad = os.path.join(WORK, "bad.png")
    with open(bad, "wb") as f:
        f.write(b"no picture")
    b.files("#own", [bad])
    b.wait("/cannot be read/.test(document.getElementById('message').textContent)", 10)
    press(b, "#later")
    press(b, "#thumbs .thumb")
    b.wait("page.state.picture.index === 12", 10)
    press(b, '.token[data-token="6"]')
    check("row 2, column 2" in text(b, "token-name"), text(b, "token-name"))
    b.key("ArrowRight")
    for value in ("dense", "change", "now"):
        press(b, f"input[name=view][value={value}]")
    equal(b.js("document.querySelectorAll('#xray canvas').length"), 12 * 4, "drawings")
    check("i=12" in b.js("location.hash") and "q=6" in b.js("location.hash"), "the link looks too")


def files(b):
    b.js("page.state.most = 300")
    follow(b, "#g=4,9&u=4,9")
    path = os.path.join(WORK, "saved.safetensors")
    data = b.js("page.call('save', {h: page.state.shown.handle}).then(x => btoa(Array.from(x, "
                "c => String.fromCharCode(c)).join('')))")
    with open(path, "wb") as f:
        f.write(base64.b64decode(data))
    now = numbers(b)
    judged = tool("eval", path, "--data", IMAGES)
    equal(f"{judged.get('accuracy', 0):.2f}", now[0], "the saved network under the tool")
    b.files("#open", [path])
    b.wait("/saved.safetensors/.test(document.getElementById('message').textContent)", 30)
    ready(b)
    equal(numbers(b), now, "the saved network opened again")
    broken = os.path.join(WORK, "broken.safetensors")
    with open(broken, "wb") as f:
        f.write(base64.b64decode(data)[:5000])
    b.files("#open", [broken])
    b.wait("document.getElementById('message').classList.contains('bad')", 30)
    ready(b)
    equal(numbers(b), now, "after a broken file")


# ---- 6  Exercises and tours ----
def answers(b):
    """Every answer of the sheet, found anew in the page."""
    state = "page.state"
    def right(link):
        follow(b, link)
        return b.js(f"{state}.now.measured.right")
    found = {}
    found["mon1"] = b.js(f"{state}.dense.config.tokens")
    found["mon2"] = b.js(f"{state}.dense.config.block.reduce((n, x) => n + x.heads, 0)") * 17 * 17
    found["mon3"] = b.js(f"{state}.dense.costs[0][3].params")
    follow(b, "#i=1")
    b.wait(f"{state}.picture.index === 1", 5)
    found["tue1"] = b.js("document.querySelector('#net-answer').firstChild.textContent")
    look = "page.call('look', {h: page.state.dense.handle, index: 0})"
    patch = b.js(f"{look}.then(s => {{ const row = Array.from(s.maps[11].subarray(1, 17));"
                 "return row.indexOf(Math.max(...row)); })")
    found["tue2"] = f"{patch // 4 + 1},{patch % 4 + 1}"
    label = b.js(f"page.call('images', {{count: 1}}).then(x => x.labels[0])")
    found["tue3"] = b.js(f"{look}.then(s => [...Array(12).keys()].reverse().find(l => {{ const z = Array.from("
                         f"s.lens.subarray((l + 1) * 100, (l + 2) * 100));"
                         f"return z.indexOf(Math.max(...z)) === {label}; }}))")
    found["wed1"] = right("#g=8")
    found["wed2"] = right("#a=0&form=skip") - right("#a=0")
    found["wed3"] = b.js(f"{state}.dense.config.block[0].hidden")
    gone = ",".join(map(str, range(12)))
    follow(b, f"#g={gone}&u={gone}")
    found["thu1"] = b.js(f"{state}.shown.cost.params")
    found["thu2"] = right("#fg=1,2")
    if LONG:
        best = b.js("page.call('greedy', {h: page.state.dense.handle, count: page.state.judges})")
        own = b.js("page.call('libraryGreedy', {h: page.state.dense.handle, "
                   "count: page.state.judges})")
        equal((best["type"], best["layer"], round(best["loss"], 4)),
              (own["type"], own["layer"], round(own["loss"], 4)), "the library's greedy step")
        found["thu3"] = f"{('attention', 'gelu')[best['type']]} {best['layer']}"
    split = "page.call('map', {points: JSON.parse(document.getElementById('data-facts').textContent)" \
            ".points[3].points, degree: %d, depth: 12, budget: 8}).then(x => x.split.attention)"
    found["fri1"] = b.js(split % 0)
    found["fri2"] = b.js(split % 1)
    follow(b, f"#a={gone}&form=skip")
    found["fri3"] = text(b, "macs")
    return {k: str(v) for k, v in found.items()}


def exercises(b):
    b.js("page.state.most = 300")
    sheet = {}
    with open(os.path.join(ROOT, "tests", "page_answers.txt")) as f:
        for line in f:
            if "|" in line and not line.startswith("#"):
                name, answer, _ = line.split("|", 2)
                sheet[name.strip()] = [a.strip() for a in answer.split(";")]
    found = answers(b)
    names = b.js("[...document.querySelectorAll('#week input')].map(i => i.id.slice(7))")
    equal(sorted(names), sorted(sheet), "exercises and answers")
    for name in names:
        answer = found.get(name, sheet[name][0])
        check(answer in sheet[name] or answer.rstrip("0").rstrip(".") in sheet[name],
              f"{name}: the page says {answer}, the sheet {sheet.get(name)}")
        for typed, verdict in ((sheet[name][0].upper() + " ", "right"), ("12345", "not yet")):
            b.js(f"(() => {{ const i = document.getElementById('answer-{name}');"
                 f"i.value = {json.dumps(typed)}; i.form.requestSubmit(); }})()")
            check(verdict in b.js(f"document.getElementById('answer-{name}').form"
                                  ".querySelector('output').textContent"),
                  f"{name}: '{typed}' is not '{verdict}'")


def tours(b):
    b.js("page.state.most = 20")
    follow(b, "#form=norm")
    b.js("document.getElementById('seconds').value = '4'")
    count = b.js("document.querySelectorAll('.tour-button').length")
    equal(count, 6, "tours")
    for t in range(count):
        b.js(f"document.querySelectorAll('.tour-button')[{t}].click()")
        for step in range(9):
            b.wait("document.getElementById('tour').hidden || page.state.working || "
                   "document.getElementById('tour-text').textContent.length > 1", 60)
            if b.js("page.state.working"):
                b.wait("document.querySelectorAll('.dot.gelu, .bar.gelu').length || "
                       "!page.state.working", 60)
                press(b, "#stop")
                ready(b)
                b.wait("document.getElementById('tour-text').textContent.length > 1", 60)
            if b.js("document.getElementById('tour').hidden"):
                break
            words = text(b, "tour-text")
            check(len(words) > 20 and "undefined" not in words and "NaN" not in words,
                  f"tour {t}, step {step}: {words}")
            press(b, "#tour-next")
        check(b.js("document.getElementById('tour').hidden"), f"tour {t} does not end")


# ---- 7  Looks ----
CONTRAST = """(() => {
  const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
  const light = c => { const [r, g, b] = c.match(/[0-9.]+/g).map(Number);
    return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
  const style = getComputedStyle(document.documentElement), probe = document.createElement('i');
  document.body.append(probe);
  const rgb = name => { probe.style.color = style.getPropertyValue(name);
    return getComputedStyle(probe).color; };
  let least = 99;
  for (const back of ['--paper', '--card'])
    for (const front of ['--ink', '--soft', '--attn', '--gelu', '--fused', '--bad']) {
      const [a, b] = [light(rgb(front)), light(rgb(back))].sort((x, y) => y - x);
      least = Math.min(least, (a + 0.05) / (b + 0.05));
    }
  probe.remove();
  return least;
})()"""
NAMELESS = """[...document.querySelectorAll('button, input, select, [role=radio], canvas[role=img]')]
  .filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || (e.labels && e.labels.length)
    || e.closest('label'))).map(e => e.outerHTML.slice(0, 80))"""


def looks(b):
    for theme in ("dark", "light"):
        b.theme(theme)
        b.wait(f"document.documentElement.dataset.theme === '{theme}'", 5)
        least = b.js(CONTRAST)
        check(least >= 4.5, f"contrast of words in the {theme} theme: {least:.2f}")
    press(b, "#theme")
    equal(b.js("document.documentElement.dataset.theme"), "dark", "the switch of the theme")
    press(b, "#theme")
    for width in (390, 820, 1440):
        b.size(width, 900)
        time.sleep(0.3)
        wide = b.js("document.documentElement.scrollWidth")
        check(wide <= width, f"at {width} px the page is {wide} px wide")
    equal(b.js(NAMELESS), [], "controls without a name")


def new_user(b):
    """A new user's path: open, remove three layers, fit, fuse, train a minute, read the plot."""
    load(b)
    for name in (layer(0, 6), layer(1, 7), layer(1, 9)):
        press(b, name)
        ready(b)
    print("page: three removed:", numbers(b))
    for name in ("#fit", "#fuse"):
        press(b, name)
        ready(b)
        print(f"page: after {name}:", numbers(b), text(b, "certificate") or text(b, "message"))
    press(b, "#train-here")
    ready(b, 200)
    print("page: trained:", numbers(b), text(b, "train-result"))
    print("page:", b.js("[...document.querySelectorAll('#visited tbody tr')].map(r => "
                        "[...r.cells].map(c => c.textContent).join(' | ')).join('\\n      ')"))
    check(b.js("document.querySelectorAll('#pareto-plot .network').length") >= 5, "the plot")


def firefox(dense):
    program = find(FIREFOX)
    if not program:
        print("page: Firefox is not installed, skipped")
        return
    try:
        b = Firefox(program)
    except (RuntimeError, OSError) as e:
        print(f"page: Firefox does not run here ({e}), skipped")
        return
    try:
        first = load(b, "#a=3,7&g=8")
        equal(numbers(b), dense, "Firefox and Chromium")
        press(b, layer(1, 8))
        ready(b)
        press(b, layer(0, 3))
        ready(b)
        equal(b.js("page.state.shown.config.goneAttention"), 1, "a click in Firefox")
        press(b, "#fit")
        ready(b)
        equal(b.js("page.state.shown.config.block[7].attention"), "fitted", "a fit in Firefox")
        print(f"page: Firefox: first number after {first:.2f} s")
    finally:
        b.end()


def main():
    os.chdir(ROOT)
    size = file_alone()
    dumped()
    b = Chromium(find(CHROMIUM))
    try:
        b.size(1440, 900)
        first = load(b, "#a=3,7&g=8")
        check(first < 15, f"the first number came after {first:.1f} s")
        judged = native("3,7", "8")
        equal(numbers(b), shown(judged), "the link a=3,7&g=8 and the tool")
        check(re.fullmatch(r"\d+(\.\d+)?", text(b, "ms")), f"ms: {text(b, 'ms')}")
        numbers_of_link = numbers(b)
        for part in (against_tool, same_forward, switches, keys_and_sentences):
            part(b)
        rate = training(b)
        for part in (choosing, pictures, exercises, tours, looks, files):
            part(b)
        if LONG:
            new_user(b)
        equal(b.errors(), [], "complaints on the console")
        print(f"page: {size} bytes, first number after {first:.2f} s, {rate:.0f} frames a second "
              "while training")
    finally:
        b.end()
    firefox(numbers_of_link)


try:
    main()
except Exception as e:  # a browser that dies is one failure with its sentence
    check(False, f"{type(e).__name__}: {e}")
print(f"page: {passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
