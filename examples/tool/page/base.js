// base.js: what every part of the page uses: elements, numbers as text, colours, the worker, and
// the one object that holds the state.

const $ = id => document.getElementById(id);
const facts = JSON.parse($('data-facts').textContent);

// el('p', {class: 'small', onclick: f}, 'text', child): an element.
function el(name, attributes, ...children) {
  return fill(document.createElement(name), attributes, children);
}

function svg(name, attributes, ...children) {
  return fill(document.createElementNS('http://www.w3.org/2000/svg', name), attributes, children);
}

function fill(e, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (key.startsWith('on')) e.addEventListener(key.slice(2), value);
    else if (value === true) e.setAttribute(key, '');
    else if (value !== false && value !== null && value !== undefined) e.setAttribute(key, value);
  }
  e.append(...children.filter(c => c !== null && c !== undefined));
  return e;
}

// ---- Numbers as text ----
const MINUS = '\u2212', DASH = '\u2013', TIMES = '\u00d7', PLUSMINUS = '\u00b1';
const grouped = n => String(Math.round(n)).replace(/\B(?=(\d{3})+$)/g, ',');
// A number with its noun: 1 layer, 2 layers, 2 classes.
const counted = (n, one, many = `${one}s`) => `${grouped(n)} ${n === 1 ? one : many}`;
const fixed = (x, digits) => x.toFixed(digits).replace('-', MINUS);
const signed = (x, digits) => (x > 0 ? '+' : '') + fixed(x, digits);
const millis = x => x < 10 ? fixed(x, 2) : x < 100 ? fixed(x, 1) : fixed(x, 0);
const spreadText = t => `${millis(t.low)}${DASH}${millis(t.high)}`;
function macsText(x) {
  return x >= 1e9 ? [fixed(x / 1e9, 2), ' G'] : [fixed(x / 1e6, 2), ' M'];
}

// Half the width of the interval that holds the true accuracy 95 times of 100, in points (Wilson).
function chance(accuracy, n) {
  const z = 1.96, p = accuracy / 100;
  return 100 * z / (1 + z * z / n) * Math.sqrt(p * (1 - p) / n + z * z / (4 * n * n));
}

// A list as people read it: 3, 7 and 9.
const listed = a => a.length < 2 ? a.join('')
  : `${a.slice(0, -1).join(', ')} and ${a[a.length - 1]}`;

// ---- Colours: a ramp from the paper to a dark blue, its reverse on a dark page, and a ramp with a
// middle, blue to orange; all of them also tell light from dark, for those who see no colours ----
const RAMP = [[0.98, 0.97, 0.94], [0.75, 0.84, 0.89], [0.42, 0.65, 0.80], [0.13, 0.43, 0.66],
              [0.03, 0.19, 0.42]];
const RAMP_DARK = [[0.13, 0.15, 0.19], [0.12, 0.29, 0.43], [0.20, 0.50, 0.69], [0.50, 0.75, 0.90],
                   [0.93, 0.97, 1.00]];
const MIDDLE = [[0.03, 0.30, 0.58], [0.45, 0.69, 0.86], [0.97, 0.96, 0.93], [0.94, 0.66, 0.40],
                [0.70, 0.27, 0.02]];
const MIDDLE_DARK = [[0.55, 0.80, 1.00], [0.18, 0.43, 0.64], [0.13, 0.15, 0.19],
                     [0.66, 0.36, 0.12], [1.00, 0.76, 0.45]];
const dark = () => document.documentElement.dataset.theme === 'dark';

function colour(ramp, t) {
  const x = Math.max(0, Math.min(1, t)) * (ramp.length - 1), i = Math.min(ramp.length - 2, x | 0);
  return ramp[i].map((c, k) => Math.round(255 * (c + (ramp[i + 1][k] - c) * (x - i))));
}
const heat = t => colour(dark() ? RAMP_DARK : RAMP, Number.isFinite(t) ? t : 0);
const change = t => colour(dark() ? MIDDLE_DARK : MIDDLE, 0.5 + 0.5 * (Number.isFinite(t) ? t : 0));
const css = c => `rgb(${c.join(',')})`;

// Paints values[h * w] on a canvas, one pixel each.
function paint(canvas, w, h, rgb) {
  canvas.width = w, canvas.height = h;
  const c = canvas.getContext('2d'), image = c.createImageData(w, h);
  for (let i = 0; i < w * h; i++) {
    const [r, g, b] = rgb(i);
    image.data.set([r, g, b, 255], 4 * i);
  }
  c.putImageData(image, 0, 0);
}

function paintPlanes(canvas, planes, side) {
  const n = side * side;
  paint(canvas, side, side, i => [planes[i], planes[n + i], planes[2 * n + i]]);
}

// ---- The worker ----
let worker = null;
const asked = new Map(), listeners = new Set();
let questions = 0;

function call(name, args, transfer) {
  return new Promise((done, failed) => {
    const id = ++questions;
    asked.set(id, {done, failed});
    worker.postMessage({id, name, args}, transfer || []);
  });
}
const halt = () => worker.postMessage({stop: true});

// While f runs, events of the worker go to `hear`.
async function listening(hear, f) {
  listeners.add(hear);
  try {
    return await f();
  } finally {
    listeners.delete(hear);
  }
}

function startWorker() {
  const code = new Blob([$('data-worker').textContent], {type: 'text/javascript'});
  worker = new Worker(URL.createObjectURL(code));
  worker.onmessage = ({data}) => {
    if (data.event) {
      listeners.forEach(hear => hear(data));
      return;
    }
    const {done, failed} = asked.get(data.id);
    asked.delete(data.id);
    if (data.error === undefined) done(data.value);
    else failed(new Error(data.error));
  };
  worker.onerror = e => say(`The worker stopped: ${e.message}`, true);
}

// ---- What the page says, in one place, also to screen readers ----
function say(sentence, bad) {
  $('message').textContent = sentence;
  $('message').classList.toggle('bad', !!bad);
}

// ---- The state ----
const ATTENTION = 0, ACTIVATION = 1;
const S = {
  dense: null,        // the network that everything is compared with: describe() and its measures
  base: null,         // what plans start from: the dense network, or one that was trained here
  plan: null,         // what each layer should be, see planOf
  now: null,          // the network on show: an entry of `visited`, once it is measured
  visited: [],        // every network that was measured
  trail: [],          // the order of visits, for undo
  turn: 0,            // counts changes; what belongs to an earlier one is out of date
  count: 0,           // embedded test images
  most: Infinity,     // of them that judge; fewer where nobody reads the accuracy
  judges: 150,        // held-out images that choose and draw curves
  focus: {type: ATTENTION, layer: 0},
  picture: {index: 0, planes: null, side: 32, name: ''},
  token: 0,           // the class token
  map: {layer: 0, head: 0},
  view: 'now',
  timing: 700,        // ms that a measurement of time takes at least
  working: ''         // the long work under way: 'greedy', 'train', ... or ''
};

// The plan that leaves a network as it is.
function planOf(c) {
  return {
    form: c.form,
    attention: c.block.map(b => ({kept: 'kept', removed: 'plain', fitted: 'fit'})[b.attention]),
    activation: c.block.map(b =>
      ({kept: 'kept', linear: 'plain', fused: 'plain', fitted: 'fit'})[b.mlp]),
    fused: c.block.map(b => b.mlp === 'fused')
  };
}
const copyPlan = p => ({form: p.form, attention: p.attention.slice(),
                        activation: p.activation.slice(), fused: p.fused.slice()});
const layersOf = (p, type) => type === ATTENTION ? p.attention : p.activation;
const which = (list, want) => list.map((x, l) => x === want ? l : -1).filter(l => l >= 0);

// A network's name: what was done to it.
function nameOf(plan, base) {
  const parts = [];
  const add = (label, list) => { if (list.length) parts.push(`${label} ${list.join(', ')}`); };
  add(`${MINUS} attention`, which(plan.attention, 'plain'));
  add(`${MINUS} GELU`, which(plan.activation, 'plain'));
  add('fitted attention', which(plan.attention, 'fit'));
  add('fitted MLP', which(plan.activation, 'fit'));
  const fused = plan.fused.filter(Boolean).length;
  if (fused) parts.push(`${fused} fused`);
  if (base && base.trained) parts.push(`trained ${base.trained}`);
  return parts.join(' \u00b7 ') || 'dense';
}
