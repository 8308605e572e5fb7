// main.js: what happens when: a change is built, shown, measured, remembered; the link; the start.

// ---- Long work: one at a time, with a bar and a way to end it ----
function progress(share) {
  $('progress').firstElementChild.style.width = `${(100 * share).toFixed(1)}%`;
}

async function working(name, sentence, f) {
  S.working = name;
  halt(); // what still measures can wait
  $('progress').hidden = false;
  progress(0);
  say(`${sentence} \u2026`);
  drawSwitches(), drawDetail();
  try {
    await f();
  } catch (e) {
    say(e.message, true);
  } finally {
    S.working = '';
    $('progress').hidden = true;
    drawSwitches(), drawDetail();
  }
  if (S.shown && !S.now) await measure(S.turn);
}

// ---- A change: built by the worker, shown, measured ----
function ready(is) {
  document.body.dataset.state = is ? 'ready' : 'busy';
  $('figures').setAttribute('aria-busy', String(!is));
}

const isKept = h => h === S.dense.handle || h === S.base.handle ||
  S.visited.some(v => v.handle === h || v.base.handle === h);
function release(h) { if (!isKept(h)) call('drop', {h}); }

async function apply(plan, sentence) {
  const turn = ++S.turn;
  halt();
  ready(false);
  S.plan = plan;
  $('certificate').hidden = true;
  try {
    const net = await call('build', {base: S.base.handle, plan});
    if (turn !== S.turn) {
      release(net.handle);
      return;
    }
    S.plan = planOf(net.config);
    const said = net.notes.slice();
    if (net.fit) said.push(fitSentence(net.fit));
    if (net.certificate) certify(net.certificate);
    if (said.length || sentence) say(said.join(' ') || sentence, net.notes.length > 0);
    await show(net);
  } catch (e) {
    if (turn !== S.turn) return;
    say(e.message, true);
    if (!S.shown) return;
    S.plan = planOf(S.shown.config);
    drawNetwork();
    ready(true);
  }
}

function fitSentence(f) {
  return `${counted(f.count, 'map')} fitted to ${counted(f.images, 'image')} ` +
    `(${counted(f.tokens, 'token')}); on others the worst misses ${fixed(100 * f.error, 0)} % of ` +
    'what its layer did.';
}

function certify(sentence) {
  $('certificate').textContent = `Certificate: ${sentence}.`;
  $('certificate').hidden = false;
}

// A network that the worker has just made takes the place of the one on show.
async function show(net) {
  const turn = S.turn, old = S.shown;
  ready(false);
  net.costs = await call('layerCosts', {h: net.handle});
  S.shown = net;
  S.now = null;
  if (old && old.handle !== net.handle) release(old.handle);
  clearTries();
  drawNetwork();
  drawCost();
  writeLink();
  await measure(turn);
}

// How many of the test images: all, or fewer where a network of the visitor's is slow.
const testCount = c => Math.min(S.count, S.most, Math.max(20, Math.round(S.count * 1e8 / c.macs)));

async function measure(turn) {
  const net = S.shown, knows = net.config.classes === 100;
  ready(false);
  $('accuracy').classList.add('old'), $('ms').classList.add('old');
  let measured = {accuracy: NaN, count: 0};
  if (knows) {
    measured = await call('evaluate', {h: net.handle, set: 0, count: testCount(net.cost)});
    if (!measured || turn !== S.turn) return;
  }
  drawAccuracy(measured);
  await look();
  if (turn !== S.turn || S.working) return;
  const time = await call('time', {a: net.handle, b: S.dense.handle, budget: S.timing});
  if (!time || turn !== S.turn) return;
  remember(net, measured, time);
  if (!S.dense.entry) await measureDense(turn);
  if (turn === S.turn) ready(true);
}

function remember(net, measured, time) {
  const name = nameOf(S.plan, S.base), key = JSON.stringify(S.plan);
  if (name === 'dense') time.ratio.value = 1;
  let v = S.visited.find(o => o.base === S.base && o.key === key);
  if (!v) S.visited.push(v = {base: S.base, key});
  const old = v.handle;
  Object.assign(v, {name, plan: copyPlan(S.plan), measured, time, net, handle: net.handle,
                    config: net.config, cost: net.cost,
                    certificate: $('certificate').hidden ? '' : $('certificate').textContent});
  if (old && old !== v.handle) release(old);
  S.now = v;
  if (S.trail[S.trail.length - 1] !== v) S.trail.push(v);
  forget();
  if (name === 'dense' && S.base === S.dense) S.dense.entry = v;
  drawTime(v), drawPareto(), drawSwitches();
  if ($('map-source').value === 'here') drawPredictor();
}

// Networks take memory: of more than 60, or of more than 300 MB, the oldest goes (never the first).
function forget() {
  const bytes = () => S.visited.reduce((sum, v) => sum + 4 * v.cost.params, 0);
  while (S.visited.length > 60 || (S.visited.length > 4 && bytes() > 3e8)) {
    const gone = S.visited.splice(1, 1)[0];
    S.trail = S.trail.filter(v => v !== gone);
    release(gone.handle);
  }
}

// The dense network, when a link began elsewhere: it stands in the plot like the others.
async function measureDense(turn) {
  const h = S.dense.handle;
  const measured = S.dense.config.classes === 100 &&
    await call('evaluate', {h, set: 0, count: testCount(S.dense.cost)});
  if (turn !== S.turn || measured === null) return;
  const time = await call('time', {a: h, b: h, budget: S.timing / 2});
  if (!time || turn !== S.turn) return;
  const plan = planOf(S.dense.config);
  time.ratio.value = 1;
  S.dense.entry = {base: S.dense, key: JSON.stringify(plan), name: 'dense', plan,
                   measured: measured || {accuracy: NaN, count: 0}, time, net: S.dense, handle: h,
                   config: S.dense.config, cost: S.dense.cost, certificate: ''};
  S.visited.unshift(S.dense.entry);
  S.trail.unshift(S.dense.entry);
  if (S.now) drawAccuracy(S.now.measured), drawTime(S.now);
  drawPareto(), drawSwitches();
}

// Back to a network that was measured before: nothing is computed again.
async function goTo(v) {
  if (S.working) return;
  const turn = ++S.turn, old = S.shown;
  halt();
  S.base = v.base, S.plan = copyPlan(v.plan), S.shown = v.net, S.now = v;
  if (!v.net.costs) v.net.costs = await call('layerCosts', {h: v.handle});
  if (turn !== S.turn) return;
  if (old && old.handle !== v.handle) release(old.handle);
  $('certificate').hidden = !v.certificate;
  $('certificate').textContent = v.certificate;
  if (S.trail[S.trail.length - 1] !== v) S.trail.push(v);
  clearTries(), drawNetwork(), drawCost(), drawAccuracy(v.measured), drawTime(v), drawPareto();
  say(`Back to: ${v.name}.`);
  writeLink();
  ready(true);
  await look();
}

// ---- The four numbers ----
function figure(id, shown, value) {
  $(id).textContent = shown;
  $(id).dataset.value = value;
  $(id).classList.remove('old');
}

function drawCost() {
  const {params, macs} = S.shown.cost, d = S.dense.cost, [number, unit] = macsText(macs);
  const less = (a, b) => a === b ? 'as dense' : `${signed(100 * (a / b - 1), 1)} %`;
  figure('parameters', grouped(params), params);
  figure('macs', number, macs);
  $('macs-unit').textContent = unit;
  $('parameters-more').textContent = less(params, d.params);
  $('macs-more').textContent = `per image, ${less(macs, d.macs)}`;
}

function drawAccuracy(m) {
  if (!m.count) {
    figure('accuracy', DASH, '');
    $('accuracy-more').textContent = 'this network knows other classes';
    return;
  }
  const e = S.dense.entry;
  figure('accuracy', m.accuracy.toFixed(2), m.accuracy);
  $('accuracy-more').textContent = `${PLUSMINUS} ${fixed(chance(m.accuracy, m.count), 1)}, ` +
    `${m.right} of ${m.count}` +
    (e && e.measured.count && nameOf(S.plan, S.base) !== 'dense'
      ? `; ${signed(m.accuracy - e.measured.accuracy, 2)}` : '');
}

function drawTime(v) {
  figure('ms', millis(v.time.now.ms), v.time.now.ms);
  const {value, low, high} = v.time.ratio, dense = v === S.dense.entry;
  $('ms-more').textContent = `${spreadText(v.time.now)}` + (dense ? '' : `; ${fixed(value, 2)} (` +
    `${fixed(low, 2)}${DASH}${fixed(high, 2)}) ${TIMES} as fast`);
}

// ---- What the buttons do ----
function busyWith() {
  if (!S.working) return false;
  say('Something is being computed; Stop ends it, then the layers can be changed.', true);
  return true;
}
const leaving = type => {
  const name = type === ATTENTION ? 'form' : 'bend';
  const value = document.querySelector(`input[name=${name}]:checked`).value;
  return value === 'fit' ? 'fit' : 'plain';
};

function toggle(type, l) {
  if (busyWith()) return null;
  setFocus(type, l);
  const plan = copyPlan(S.plan), list = layersOf(plan, type), kept = list[l] === 'kept';
  list[l] = kept ? leaving(type) : 'kept';
  if (type === ACTIVATION) plan.fused[l] = false;
  const what = type ? `the GELU of block ${l}` : `attention in block ${l}`;
  return apply(plan, kept ? `Gone: ${what}.` : `Back: ${what}.`);
}

function changeForm() {
  if (busyWith()) return;
  const value = document.querySelector('input[name=form]:checked').value, plan = copyPlan(S.plan);
  if (value !== 'fit') plan.form = value;
  plan.attention = plan.attention.map(s => s === 'kept' ? s : value === 'fit' ? 'fit' : 'plain');
  apply(plan, 'Removed attention layers leave something else now.');
}

function changeBend() {
  if (busyWith()) return;
  const plan = copyPlan(S.plan), to = leaving(ACTIVATION);
  plan.activation = plan.activation.map((s, l) => s === 'kept' || plan.fused[l] ? s : to);
  apply(plan, 'Removed GELUs leave something else now.');
}

function fit() {
  const plan = copyPlan(S.plan), {block} = S.shown.config;
  plan.attention = plan.attention.map((s, l) => block[l].attention === 'removed' ? 'fit' : s);
  plan.activation = plan.activation.map((s, l) => block[l].mlp === 'linear' ? 'fit' : s);
  say('Fitting: least squares on what each layer did \u2026');
  return apply(plan);
}

async function fuse() {
  if (!S.shown.config.block.some(b => b.mlp === 'linear')) {
    say('Nothing is left to fuse: a fitted map is one matrix already.');
    return;
  }
  await working('fuse', 'Fusing, and comparing before and after', async () => {
    const copy = await call('clone', {h: S.shown.handle});
    let net;
    try {
      net = await call('certify', {h: copy});
    } catch (e) {
      call('drop', {h: copy});
      throw e;
    }
    S.turn++;
    S.plan = planOf(net.config);
    certify(net.sentence);
    say(`${net.certificate.fused} fused: two matrices multiplied out, nothing else changed.`);
    S.working = '';
    await show(net);
  });
}

function drawTried(tried) {
  const losses = tried.map(t => t.loss), best = Math.min(...losses), worst = Math.max(...losses);
  tried.forEach(t => drawTry(t.type, t.layer, t.loss, best, worst));
}

async function greedy() {
  await working('greedy', 'Every remaining layer is tried with its fitted map', async () => {
    const tried = [], p = S.plan;
    const total = which(p.attention, 'kept').length + which(p.activation, 'kept').length;
    clearTries();
    const best = await listening(e => {
      if (e.event !== 'tried') return;
      tried.push(e);
      progress(tried.length / total);
      drawTried(tried);
    }, () => call('greedy', {h: S.shown.handle, count: S.judges}));
    if (!best) {
      say('Stopped; nothing was removed.');
      return;
    }
    const plan = copyPlan(S.plan);
    layersOf(plan, best.type)[best.layer] = 'fit';
    S.working = '';
    await apply(plan);
    drawTried(tried);
    say(`Cheapest to lose: ${best.type ? 'the GELU' : 'attention'} of block ${best.layer}, loss ` +
        `${fixed(best.loss, 3)} on ${S.judges} held-out images with its fitted map. It is gone.`);
  });
}

function undo() {
  if (S.now) S.trail.pop(); // what is not measured yet is not on the trail
  if (!S.trail.length) return;
  goTo(S.trail[S.trail.length - 1]);
}

function restore() {
  if (S.dense.entry) goTo(S.dense.entry);
  else {
    S.base = S.dense;
    apply(planOf(S.dense.config));
  }
  say('Every layer is back.');
}

// ---- Files ----
async function save() {
  const bytes = await call('save', {h: S.shown.handle});
  const a = el('a', {download: 'network.safetensors',
                     href: URL.createObjectURL(new Blob([bytes]))});
  a.click();
  say(`Saved: ${grouped(bytes.length)} bytes. boundarydpt info network.safetensors reads it.`);
}

async function openNetwork(file) {
  if (busyWith()) return;
  if (file.size > 32e6) {
    say(`${file.name} has ${grouped(file.size)} bytes; this page takes up to 32,000,000.`, true);
    return;
  }
  await working('open', `Reading ${file.name}`, async () => {
    const bytes = new Uint8Array(await file.arrayBuffer());
    const net = await call('parse', {bytes});
    const gone = [S.shown, S.dense, S.base, ...S.visited].map(v => v.handle);
    net.wholePicture = net.preprocessing ? !net.preprocessing.startsWith('folder:')
      : net.config.image < 128;
    S.turn++;
    S.dense = S.base = net;
    S.visited = [], S.trail = [], S.now = null, S.token = 0;
    S.map = {layer: 0, head: 0}, S.focus = {type: ATTENTION, layer: 0};
    new Set(gone).forEach(h => call('drop', {h}));
    S.shown = null;
    await begin(net);
    S.working = '';
    say(`${file.name}: ${counted(net.config.depth, 'block')} of width ` +
        `${net.config.width}, ${net.config.image} pixels, ` +
        `${counted(net.config.classes, 'class', 'classes')}. It stayed on this computer.` +
        (net.config.classes === 100 ? ' Accuracy is on the drawn images of this page.' : ''));
    await show(net);
  });
}

// ---- The link: what is removed, what is looked at ----
function linkText() {
  const p = S.plan, parts = [];
  const add = (key, list) => { if (list.length) parts.push(`${key}=${list.join(',')}`); };
  add('a', which(p.attention, 'plain')), add('g', which(p.activation, 'plain'));
  add('fa', which(p.attention, 'fit')), add('fg', which(p.activation, 'fit'));
  add('u', which(p.fused, true));
  if (p.form !== 'norm') parts.push(`form=${p.form}`);
  if (S.picture.index > 0) parts.push(`i=${S.picture.index}`);
  if (S.token) parts.push(`q=${S.token}`);
  if (S.map.layer || S.map.head) parts.push(`b=${S.map.layer},${S.map.head}`);
  return parts.join('&');
}

function writeLink() {
  if (!S.plan || !S.started) return;
  const text = linkText();
  if (`#${text}` !== location.hash) history.replaceState(null, '', text ? `#${text}` : '#');
}

// The plan that a link asks for; what it asks in vain is said.
function readLink() {
  const asked = new URLSearchParams(location.hash.slice(1)), depth = S.dense.config.depth;
  const plan = planOf(S.dense.config), wrong = [];
  const layers = key => (asked.get(key) || '').split(',').filter(t => t !== '').map(t => {
    if (/^\d+$/.test(t) && Number(t) < depth) return Number(t);
    wrong.push(`${key}=${t}`);
    return -1;
  }).filter(l => l >= 0);
  const take = (key, list, state) => layers(key).forEach(l => { list[l] = state; });
  take('a', plan.attention, 'plain'), take('g', plan.activation, 'plain');
  take('fa', plan.attention, 'fit'), take('fg', plan.activation, 'fit');
  layers('u').forEach(l => {
    if (plan.activation[l] === 'kept') plan.activation[l] = 'plain';
    plan.fused[l] = plan.activation[l] === 'plain';
  });
  const form = asked.get('form');
  if (form && ['norm', 'skip', 'double'].includes(form)) plan.form = form;
  else if (form) wrong.push(`form=${form}`);
  const number = (key, most) => {
    const t = asked.get(key);
    if (t === null) return 0;
    if (/^\d+$/.test(t) && Number(t) < most) return Number(t);
    wrong.push(`${key}=${t}`);
    return 0;
  };
  const picture = number('i', S.count);
  S.token = number('q', S.dense.config.tokens);
  const [layer, head] = (asked.get('b') || '0,0').split(',').map(Number);
  const block = S.dense.config.block[layer];
  if (block && head < block.heads && head >= 0) S.map = {layer, head};
  else wrong.push(`b=${asked.get('b')}`);
  const complaint = wrong.length ? `The link asks for ${wrong.join(' and ')}, which this network ` +
    `of ${counted(depth, 'block')} (0 to ${depth - 1}) does not have; the rest is as it asks.` : '';
  return {plan, picture, complaint};
}

async function followLink() {
  if (location.hash && !location.hash.includes('=')) return; // a place on the page
  if (S.working) return;
  const {plan, picture, complaint} = readLink();
  document.querySelector(`input[name=form][value=${plan.form}]`).checked = true;
  S.base = S.dense;
  S.picture = {index: picture, planes: null, side: 32, name: S.classes[album.labels[picture]],
               label: album.labels[picture]};
  thumbsAt = PAGE_OF_THUMBS * Math.floor(picture / PAGE_OF_THUMBS);
  drawThumbs();
  await apply(plan);
  if (complaint) say(complaint, true);
}

// ---- Light and dark ----
function setTheme(name) {
  document.documentElement.dataset.theme = name;
  $('theme').textContent = name === 'dark' ? 'Light' : 'Dark';
  $('theme').setAttribute('aria-label', name === 'dark' ? 'Light colours' : 'Dark colours');
  redraw();
}
function redraw() { // what is painted, not styled
  if (!S.shown) return;
  drawPicture(), drawPareto(), drawRun(), drawPredictor();
}

// ---- The start ----
function unpack(id) {
  const s = atob($(id).textContent), bytes = new Uint8Array(s.length);
  for (let i = 0; i < s.length; i++) bytes[i] = s.charCodeAt(i);
  return bytes;
}

// What depends on the network that everything is compared with.
async function begin(net) {
  makeNetwork();
  $('race-block').replaceChildren(...net.config.block.map((b, l) =>
    el('option', {value: l, selected: l === 5}, String(l))));
  net.costs = await call('layerCosts', {h: net.handle});
}

function listen() {
  const on = (id, what, f) => $(id).addEventListener(what, f);
  const file = (id, f) => on(id, 'change', e => {
    if (e.target.files[0]) f(e.target.files[0]);
    e.target.value = '';
  });
  on('leave-attention', 'change', changeForm), on('leave-activation', 'change', changeBend);
  on('fit', 'click', fit), on('fuse', 'click', fuse), on('greedy', 'click', greedy);
  on('undo', 'click', undo), on('restore', 'click', restore), on('stop', 'click', halt);
  on('train', 'click', trainThis), on('race', 'click', race);
  on('train-here', 'click', () => {
    $('training').scrollIntoView();
    trainThis();
  });
  on('seconds', 'change', () => {
    const text = $('seconds').selectedOptions[0].textContent;
    $('train-here').textContent = `Train for ${text}`;
  });
  on('earlier', 'click', () => turnThumbs(-1)), on('later', 'click', () => turnThumbs(1));
  file('own', ownPicture), file('open', openNetwork);
  on('view', 'change', e => {
    S.view = e.target.value;
    drawXray(), drawLarge();
  });
  on('axis', 'change', drawPareto);
  for (const id of ['map-source', 'map-degree']) on(id, 'change', drawPredictor);
  on('map-budget', 'input', drawPredictor);
  on('disparity', 'click', disparity), on('measure-speed', 'click', measureSpeed);
  on('save', 'click', save);
  on('link', 'click', copyLink);
  on('theme', 'click', () => {
    setTheme(dark() ? 'light' : 'dark');
    document.documentElement.dataset.chosen = '1';
  });
  document.querySelectorAll('nav a, .skip').forEach(a => a.addEventListener('click', e => {
    e.preventDefault(); // the part behind # is the state's
    const to = $(a.getAttribute('href').slice(1));
    to.scrollIntoView();
    to.setAttribute('tabindex', '-1');
    to.focus({preventScroll: true});
  }));
  addEventListener('hashchange', followLink);
  let later = 0, wide = innerWidth;
  addEventListener('resize', () => {
    if (innerWidth === wide) return;
    wide = innerWidth;
    clearTimeout(later);
    later = setTimeout(redraw, 150);
  });
}

async function copyLink() {
  $('link-text').textContent = location.href;
  const trained = S.base.trained ? ' It holds what is removed, not what was trained; save the ' +
    'network for that.' : '';
  try {
    await navigator.clipboard.writeText(location.href);
    say(`The link is copied.${trained}`);
  } catch (e) {
    say(`The link stands below the button.${trained}`);
  }
}

// The browser calls the page loaded when the first numbers stand in it: until then an empty frame
// is kept open, for which the event waits. So `chromium --dump-dom` prints a page with its numbers.
function holdLoading() {
  const frame = el('iframe', {hidden: true, title: 'nothing'});
  document.body.append(frame);
  frame.contentDocument.open();
  return () => {
    if (frame.isConnected) frame.contentDocument.close();
    frame.remove();
  };
}

async function start() {
  const media = matchMedia('(prefers-color-scheme: dark)');
  setTheme(media.matches ? 'dark' : 'light');
  media.addEventListener('change', e => {
    if (!document.documentElement.dataset.chosen) setTheme(e.matches ? 'dark' : 'light');
  });
  ready(false);
  startWorker();
  const [simd, scalar, network, images] =
    ['simd', 'scalar', 'network', 'images'].map(name => unpack(`data-${name}`));
  const kit = await call('boot', {simd, scalar, network, images},
                         [simd.buffer, scalar.buffer, network.buffer, images.buffer]);
  S.count = kit.count, S.classes = kit.classes;
  S.dense = S.base = Object.assign(kit.dense, {wholePicture: true});
  $('version').textContent = kit.version;
  album = await call('images', {count: S.count});
  await begin(S.dense);
  $('map-source').replaceChildren(...facts.points.map((p, i) =>
    el('option', {value: i}, p.name)), el('option', {value: 'here'}, 'measured on this page'));
  listen(), makeTours(), makeWeek(), drawSpeeds(null);
  S.started = true;
  say(kit.simd ? 'Ready. Click a layer.'
    : 'Ready. This browser has no WebAssembly SIMD; everything takes four times as long.');
  drawRun();
  await followLink();
  drawPredictor();
}

window.page = {call, state: S}; // for the console, and for tests
const loaded = holdLoading();
start().catch(e => say(e.message, true)).finally(loaded);
