// worker.js: owns the WebAssembly module and computes, so that the page itself never waits.
//
// The page sends {id, name, args}; the answer is {id, value} or {id, error}. Calls are answered one
// after another. What takes longer than a few hundredths of a second lets messages in between its
// pieces: {stop: true} ends it early, and {event, ...} tells how far it is. A network is a handle,
// see glue.c.
'use strict';

let lib = null;          // exports of the module in use
let modules = {};        // the bytes of both
let embedded = {};       // network and images, for the second module
let stopped = false;

// ---- What C wants from the system: nothing but a place for messages that nobody reads ----
const wasi = {
  fd_close: () => 0,
  fd_seek: () => 70,
  fd_write: (fd, vectors, count, written) => {
    const view = new DataView(lib.memory.buffer);
    let n = 0;
    for (let i = 0; i < count; i++) n += view.getUint32(vectors + 8 * i + 4, true);
    view.setUint32(written, n, true);
    return 0;
  }
};

async function instantiate(bytes) {
  const made = await WebAssembly.instantiate(bytes, {wasi_snapshot_preview1: wasi});
  const exports = made.instance.exports;
  exports._initialize();
  return exports;
}

// ---- Memory: views are made when they are used, because memory may grow and move ----
const bytesAt = (p, n, m = lib) => new Uint8Array(m.memory.buffer, p, n);
const floatsAt = (p, n) => new Float32Array(lib.memory.buffer, p, n);
const answer = (n, m = lib) =>
  Array.from(new Float64Array(m.memory.buffer, m.page_answer(), n));

function text(p) {
  const u = new Uint8Array(lib.memory.buffer);
  let end = p;
  while (u[end]) end++;
  return new TextDecoder().decode(u.slice(p, end));
}

function put(bytes, m = lib) {
  const p = m.page_alloc(bytes.length);
  if (!p) throw new Error('out of memory');
  bytesAt(p, bytes.length, m).set(bytes);
  return p;
}

// Every call of the library that may fail goes through here: its sentence becomes the error's.
function must(ok) {
  if (ok) return ok;
  throw new Error(text(lib.page_error()) || 'out of memory, or too many networks are kept');
}

// A moment for waiting messages. setTimeout would be slowed to 4 ms and more.
const channel = new MessageChannel();
const waiting = [];
channel.port1.onmessage = () => waiting.shift()();
const pause = () => new Promise(go => { waiting.push(go); channel.port2.postMessage(0); });

const tell = (event, more) => postMessage(Object.assign({event}, more));

// ---- Networks ----
const CONFIG = ['depth', 'width', 'heads', 'mlp', 'image', 'patch', 'classes', 'distilled', 'form',
                'goneAttention', 'goneActivation', 'prefix', 'classToken'];
const BLOCK = ['heads', 'headDim', 'hidden', 'attention', 'mlp'];
const ATTENTION_STATES = ['kept', 'removed', 'fitted'];
const MLP_STATES = ['kept', 'linear', 'fused', 'fitted'];
const ATTENTION = 0, ACTIVATION = 1;
const FORMS = ['norm', 'skip', 'double'];

function describe(h) {
  const n = lib.page_config(h), a = answer(n), c = {block: []};
  CONFIG.forEach((name, i) => { c[name] = a[i]; });
  for (let l = 0, at = CONFIG.length; l < c.depth; l++, at += BLOCK.length) {
    const b = Object.fromEntries(BLOCK.map((name, i) => [name, a[at + i]]));
    b.attention = ATTENTION_STATES[b.attention], b.mlp = MLP_STATES[b.mlp];
    c.block.push(b);
  }
  c.tokens = (c.image / c.patch) ** 2 + c.prefix;
  c.form = FORMS[c.form];
  must(lib.page_cost(h));
  const [params, macs, macsNoProducts] = answer(3);
  return {handle: h, config: c, cost: {params, macs, macsNoProducts}};
}

// Layers are pairs [type, block].
function fitAll(h, layers) {
  const pairs = lib.page_alloc(8 * layers.length);
  new Int32Array(lib.memory.buffer, pairs, 2 * layers.length).set(layers.flat());
  const ok = lib.page_fit(h, pairs, layers.length);
  lib.page_free(pairs);
  must(ok);
  const [count, images, tokens, lambda, error] = answer(5);
  return {count, images, tokens, lambda, error};
}

// A copy of network `base` in which every layer is as `plan` wants it: 'kept', 'plain' or 'fit',
// and fused where plan.fused says so. What cannot be done is said in `notes`, and left. Plain
// removals come first and the maps after them, in forward order, as in `boundarydpt prune`.
function build(base, plan) {
  const h = must(lib.page_clone(base)), from = describe(base).config, notes = [], fits = [];
  const attempt = ok => { if (!ok) notes.push(text(lib.page_error())); return ok; };
  let fit = null;
  try {
    lib.page_form(h, FORMS.indexOf(plan.form));
    [plan.attention, plan.activation].forEach((wanted, type) => wanted.forEach((want, l) => {
      const state = type === ATTENTION ? from.block[l].attention : from.block[l].mlp;
      let there = state === 'kept';
      if (!there && want !== 'plain' && !(want === 'fit' && state === 'fitted'))
        there = attempt(lib.page_restore(h, type, l));
      if (there && want === 'plain') must(lib.page_prune(h, type, l));
      if (there && want === 'fit') fits.push([type, l]);
    }));
    if (fits.length) fit = fitAll(h, fits);
    describe(h).config.block.forEach((b, l) => {
      if (plan.fused[l] && b.mlp === 'linear') attempt(lib.page_fuse(h, l));
    });
  } catch (e) {
    lib.page_drop(h);
    throw e;
  }
  return Object.assign(describe(h), {notes, fit, certificate: text(lib.page_certificate(h))});
}

// ---- Measuring ----
// Accuracy over a set in pieces, as the sum of whole counts. null: stopped.
async function evaluate(h, set, most) {
  const sum = {count: 0, top1: 0, top5: 0, loss: 0};
  for (let first = 0; first < most; first += 50) {
    must(lib.page_evaluate(h, set, first, Math.min(50, most - first)));
    const [count, top1, top5, loss] = answer(4);
    sum.count += count, sum.top1 += top1, sum.top5 += top5, sum.loss += loss;
    await pause();
    if (stopped) return null;
  }
  return {count: sum.count, right: sum.top1, accuracy: 100 * sum.top1 / sum.count,
          top5: 100 * sum.top5 / sum.count, loss: sum.loss / sum.count};
}

const sorted = a => a.slice().sort((x, y) => x - y);
const quantile = (s, q) => s[Math.min(s.length - 1, Math.floor(q * s.length))];
function spread(values) {
  const s = sorted(values);
  return {ms: quantile(s, 0.5), low: quantile(s, 0.1), high: quantile(s, 0.9), rounds: s.length};
}

// As many images at once as make a reading of about a hundredth of a second.
const batchFor = macs => Math.max(1, Math.min(8, Math.round(8e7 / macs)));

// Milliseconds per image of two networks, in turn, so that what disturbs one disturbs the other.
// On a machine that is busy elsewhere the readings scatter; then up to three times as many count.
async function timePair(a, b, budget) {
  const n = batchFor(describe(a).cost.macs), ta = [], tb = [], ratio = [];
  const once = h => {
    const began = performance.now();
    must(lib.page_run(h, n));
    return (performance.now() - began) / n;
  };
  must(lib.page_batch(a, n));
  once(a), once(b);
  const began = performance.now(), calm = () => spread(ta).high < 1.15 * spread(ta).ms;
  const enough = () => {
    const took = performance.now() - began;
    return ta.length >= (budget ? 7 : 1) && (took > 3 * budget || (took > budget && calm()));
  };
  while (!enough()) {
    const x = once(a), y = once(b);
    ta.push(x), tb.push(y), ratio.push(y / x);
    await pause();
    if (stopped) return null;
  }
  const r = spread(ratio);
  return {now: spread(ta), dense: spread(tb), batch: n,
          ratio: {value: r.ms, low: r.low, high: r.high}};
}

// ---- The commands ----
const commands = {
  async boot({simd, scalar, network, images}) {
    modules = {simd, scalar};
    embedded = {network, images};
    const fast = WebAssembly.validate(simd);
    lib = await instantiate(fast ? simd : scalar);
    const count = lib.page_start(put(images), images.length);
    if (count < 0) must(0);
    const at = put(network), h = must(lib.page_parse(at, network.length));
    lib.page_free(at);
    const classes = [];
    for (let k = 0; k < 100; k++) classes.push(text(lib.page_class(k)));
    return {simd: fast, count, version: text(lib.page_version()), classes, dense: describe(h)};
  },

  // The pixels and labels of the embedded images, for thumbnails.
  images({count}) {
    const planes = new Uint8Array(count * 3072), labels = [];
    for (let i = 0; i < count; i++) {
      planes.set(bytesAt(lib.page_image(i), 3072), i * 3072);
      labels.push(answer(1)[0]);
    }
    return {planes, labels};
  },

  build({base, plan}) { return build(base, plan); },
  describe({h}) { return describe(h); },
  drop({h}) { lib.page_drop(h); },
  clone({h}) { return must(lib.page_clone(h)); },

  parse({bytes}) {
    const at = put(bytes), h = lib.page_parse(at, bytes.length);
    lib.page_free(at);
    must(h);
    return Object.assign(describe(h), {preprocessing: text(lib.page_preprocessing(h))});
  },

  save({h}) {
    const p = must(lib.page_build(h)), n = answer(1)[0], bytes = bytesAt(p, n).slice();
    lib.page_built(p, n);
    return bytes;
  },

  async evaluate({h, set, count}) { return evaluate(h, set, count); },

  async time({a, b, budget}) { return timePair(a, b, budget); },

  layerCosts({h}) {
    const depth = describe(h).config.depth, out = [[], []];
    for (const type of [ATTENTION, ACTIVATION]) {
      for (let l = 0; l < depth; l++) {
        must(lib.page_layer_cost(h, type, l));
        const [params, macs] = answer(3);
        out[type].push({params, macs});
      }
    }
    return out;
  },

  certify({h}) {
    must(lib.page_certify(h));
    const [fused, images, difference, agree, ties] = answer(5);
    return Object.assign(describe(h), {sentence: text(lib.page_certificate(h)),
                                       certificate: {fused, images, difference, agree, ties}});
  },

  // Asks for what is refused, to hear why. Tried on a copy: nothing changes.
  refuse({h, layer, which}) {
    const copy = must(lib.page_clone(h));
    const ok = which === 'fuse' ? lib.page_fuse(copy, layer) : lib.page_linear(copy, layer, which);
    const sentence = ok ? '' : text(lib.page_error());
    lib.page_drop(copy);
    return sentence;
  },

  // One picture through a network: planes of `side` x `side`, or the embedded image `index`. The
  // arrays are copies: maps of the blocks that have them, the stream, the lens (see glue.c).
  look({h, index, planes, side}) {
    const at = planes ? put(planes) : lib.page_image(index);
    const ok = lib.page_look(h, at, planes ? side : 32), a = answer(6 + 65);
    if (planes) lib.page_free(at);
    if (!ok) {
      throw new Error(text(lib.page_error()) ||
                      'the attention maps of this network are too large to be kept (64 MB)');
    }
    const {config} = describe(h), [tokens, width, classes, maps, stream, lens, ...ends] = a;
    return {
      tokens, width, classes,
      maps: config.block.map((b, l) => ends[l + 1] > ends[l]
        ? floatsAt(maps + 4 * ends[l], ends[l + 1] - ends[l]).slice() : null),
      stream: floatsAt(stream, (2 * config.depth + 1) * tokens * width).slice(),
      lens: floatsAt(lens, (config.depth + 1) * classes).slice()
    };
  },

  own({rgba, width, height, side, crop}) {
    const at = put(rgba), p = lib.page_own(at, width, height, side, crop ? 1 : 0);
    lib.page_free(at);
    must(p);
    const planes = bytesAt(p, 3 * side * side).slice();
    lib.page_free(p);
    return planes;
  },

  predict({h, index}) {
    const p = must(lib.page_predict(h, index));
    return floatsAt(p, describe(h).config.classes).slice();
  },

  // Fits a surface through points [attention, activation, accuracy]; values on a grid come with it.
  map({points, degree, depth, budget}) {
    const p = lib.page_alloc(points.length * 24);
    new Float64Array(lib.memory.buffer, p, points.length * 3).set(points.flat());
    const ok = lib.page_map(p, points.length, degree);
    lib.page_free(p);
    must(ok);
    const [chosen, terms, fit, ...errors] = answer(7), grid = [];
    for (let g = 0; g <= depth; g++) {
      for (let a = 0; a <= depth; a++) grid.push(lib.page_map_at(a / depth, g / depth));
    }
    must(lib.page_split(depth, budget));
    const [attention, activation, predicted] = answer(3);
    return {degree: chosen, terms, fit, errors, grid, split: {attention, activation, predicted}};
  },

  // Tries every remaining layer: a copy of the network gives it up, the fitted map takes its place,
  // held-out images judge. The smallest loss wins; nothing is trained.
  async greedy({h, count}) {
    const {block} = describe(h).config;
    let best = null;
    for (let l = 0; l < block.length; l++) {
      for (const type of [ATTENTION, ACTIVATION]) {
        if ((type === ATTENTION ? block[l].attention : block[l].mlp) !== 'kept') continue;
        const copy = must(lib.page_clone(h));
        try {
          fitAll(copy, [[type, l]]);
          const found = await evaluate(copy, 1, count);
          if (!found) return null;
          const {accuracy, loss} = found;
          if (!best || loss < best.loss) best = {type, layer: l, accuracy, loss};
          tell('tried', {type, layer: l, accuracy, loss});
        } finally {
          lib.page_drop(copy);
        }
      }
    }
    return best;
  },

  // The same step by the library's bdpt_greedy, for comparison.
  libraryGreedy({h, count}) {
    must(lib.page_greedy(h, count));
    const [type, layer, loss] = answer(3);
    return {type, layer, loss};
  },

  // Trains copies of one or two networks in turn, on the same images, until the time is over. They
  // come back as handles. Steps are planned from a trial, so that the cosine ends with the time.
  async train({networks, teacher, seconds, size, rate, count}) {
    const copies = networks.map(h => must(lib.page_clone(h)));
    const judged = async (k, images) => {
      const began = performance.now(), found = await evaluate(copies[k], 1, count);
      if (found) tell('judged', {k, images, accuracy: found.accuracy, loss: found.loss});
      return performance.now() - began;
    };
    try {
      let judging = 0, stepping = 0;
      for (let k = 0; k < copies.length; k++) {
        judging += await judged(k, 0);
        stepping += pace(networks[k], teacher, size);
      }
      const times = Math.max(3, Math.min(15, Math.round(seconds / 4)));
      const left = Math.max(seconds * 1000 - times * judging, seconds * 500);
      const steps = Math.max(2 * times, Math.floor(left / stepping));
      const began = performance.now(), late = seconds * 1200;
      copies.forEach((h, k) => must(lib.page_train(k, h, teacher, steps, size, rate, 0)));
      let step = 0, seen = 0;
      while (step < steps && !stopped && performance.now() - began < late) {
        step++;
        for (let k = 0; k < copies.length && !stopped; k++) {
          const loss = lib.page_step(k);
          if (Number.isNaN(loss)) must(0);
          tell('step', {k, step, steps, loss, images: step * size});
          await pause();
        }
        if (Math.floor(step * times / steps) > seen || step === steps) {
          seen = Math.floor(step * times / steps);
          for (let k = 0; k < copies.length && !stopped; k++) await judged(k, step * size);
        }
      }
      return {networks: copies, steps: step, images: step * size,
              seconds: (performance.now() - began) / 1000};
    } catch (e) {
      copies.forEach(h => lib.page_drop(h));
      throw e;
    } finally {
      for (let k = 0; k < copies.length; k++) lib.page_train_end(k);
    }
  },

  // Gradient disparity: mean |dL/dm| of every layer over some steps of training a copy.
  async disparity({h, steps, size}) {
    const copy = must(lib.page_clone(h)), sum = [new Float64Array(64), new Float64Array(64)];
    try {
      must(lib.page_train(0, copy, 0, steps, size, 3e-4, 1));
      for (let step = 1; step <= steps && !stopped; step++) {
        if (Number.isNaN(lib.page_step(0))) must(0);
        lib.page_gradients(0);
        const g = answer(128);
        for (let i = 0; i < 64; i++) sum[0][i] += g[i], sum[1][i] += g[64 + i];
        tell('gradients', {step, steps, mean: sum.map(t => Array.from(t, v => v / step))});
        await pause();
      }
    } finally {
      lib.page_train_end(0);
      lib.page_drop(copy);
    }
  },

  // The shipped network under both modules, in turn: with SIMD and without.
  async speed({budget}) {
    const n = 4, which = [];
    const open = async bytes => {
      const m = await instantiate(bytes);
      if (m.page_start(put(embedded.images, m), embedded.images.length) < 0) throw new Error('?');
      const h = m.page_parse(put(embedded.network, m), embedded.network.length);
      m.page_batch(h, n), m.page_run(h, n);
      return {m, h, times: []};
    };
    if (WebAssembly.validate(modules.simd)) which.push(await open(modules.simd));
    which.push(await open(modules.scalar));
    const end = performance.now() + budget;
    while (which[0].times.length < 5 || performance.now() < end) {
      for (const w of which) {
        const began = performance.now();
        w.m.page_run(w.h, n);
        w.times.push((performance.now() - began) / n);
        await pause();
        if (stopped) return null;
      }
    }
    const all = which.map(w => spread(w.times));
    return {simd: all.length > 1 ? all[0] : null, scalar: all[all.length - 1]};
  }
};

// Milliseconds of one training step, on a copy that is thrown away; the first step also allocates.
function pace(h, teacher, size) {
  const copy = must(lib.page_clone(h)), times = [];
  try {
    must(lib.page_train(0, copy, teacher, 3, size, 1e-6, 0));
    for (let i = 0; i < 3; i++) {
      const began = performance.now();
      if (Number.isNaN(lib.page_step(0))) must(0);
      times.push(performance.now() - began);
    }
  } finally {
    lib.page_train_end(0);
    lib.page_drop(copy);
  }
  return (times[1] + times[2]) / 2;
}

// ---- One call after another ----
let last = Promise.resolve();
onmessage = ({data}) => {
  if (data.stop) {
    stopped = true;
    return;
  }
  last = last.then(async () => {
    stopped = false;
    try {
      postMessage({id: data.id, value: await commands[data.name](data.args || {})});
    } catch (e) {
      postMessage({id: data.id, error: e.message});
    }
  });
};
