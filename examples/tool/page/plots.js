// plots.js: the Pareto plot with its table, the predictor's surface, gradient disparity, speeds.

// ---- Pareto ----
const COSTS = {
  ms: {label: 'ms per image, measured here', of: v => v.time && v.time.now.ms,
       bar: v => [v.time.now.low, v.time.now.high], less: true},
  ratio: {label: 'times as fast as the dense network, measured in turn',
          of: v => v.time && v.time.ratio.value,
          bar: v => [v.time.ratio.low, v.time.ratio.high], less: false},
  macs: {label: 'million multiply-accumulates per image', of: v => v.cost.macs / 1e6, less: true},
  params: {label: 'thousand parameters', of: v => v.cost.params / 1e3, less: true}
};

// Those that no other network beats in both, cheapest first.
function front(list, cost) {
  const sign = cost.less ? 1 : -1;
  const order = list.slice().sort((a, b) => sign * (cost.of(a) - cost.of(b)) ||
                                            b.measured.accuracy - a.measured.accuracy);
  let best = -1;
  return order.filter(v => v.measured.accuracy > best && (best = v.measured.accuracy, true));
}

function drawPareto() {
  const name = document.querySelector('input[name=axis]:checked').value, cost = COSTS[name];
  const list = S.visited.filter(v => v.measured && Number.isFinite(cost.of(v)));
  if (!list.length) return;
  const xs = list.map(cost.of), ys = list.map(v => v.measured.accuracy);
  const room = Math.max((Math.max(...xs) - Math.min(...xs)) * 0.12, Math.max(...xs) * 0.06);
  const best = front(list, cost), accuracy = v => v.measured.accuracy;
  const a = axes($('pareto-plot'), {height: 340,
    x: [Math.max(0, Math.min(...xs) - room), Math.max(...xs) + room],
    y: [Math.max(0, Math.floor((Math.min(...ys) - 8) / 10) * 10),
        Math.min(100, Math.ceil((Math.max(...ys) + 6) / 10) * 10)],
    xLabel: cost.label, summary: `Accuracy against ${cost.label}; ` +
      `${counted(list.length, 'network')}, on the front: ${best.map(v => v.name).join('; ')}`});
  a.g.append(svg('path', {class: 'front', d: path(best.map(v => [cost.of(v), accuracy(v)]), a)}));
  for (const v of list) {
    const x = a.X(cost.of(v)), y = a.Y(accuracy(v)), c = chance(accuracy(v), v.measured.count);
    const now = v === S.now, g = svg('g', {class: `network${now ? ' now' : ''}` +
      (best.includes(v) ? ' best' : ''), onclick: () => goTo(v)});
    g.append(svg('title', {}, `${v.name}: ${fixed(accuracy(v), 2)} %, ${fixed(cost.of(v), 2)} ` +
                 cost.label));
    g.append(svg('line', {class: 'whisker', x1: x, x2: x, y1: a.Y(Math.min(100, accuracy(v) + c)),
                          y2: a.Y(Math.max(0, accuracy(v) - c))}));
    if (cost.bar) {
      const [low, high] = cost.bar(v);
      g.append(svg('line', {class: 'whisker', x1: Math.max(a.left, a.X(low)),
                            x2: Math.min(a.w - a.right, a.X(high)), y1: y, y2: y}));
    }
    g.append(v.base.trained ? svg('rect', {x: x - 5, y: y - 5, width: 10, height: 10})
                            : svg('circle', {cx: x, cy: y, r: 5.5}));
    if (now || v.name === 'dense')
      g.append(svg('text', {class: 'note', x: x + 9, y: y - 9}, now ? 'now' : 'dense'));
    a.g.append(g);
  }
  drawVisited(best);
}

function drawVisited(best) {
  const head = ['', 'network', 'accuracy, %', 'parameters', 'MACs', 'ms per image',
                'times as fast'];
  const cells = v => [
    best.includes(v) ? 'on the front' : '',
    el('button', {type: 'button', class: 'quiet', 'aria-current': v === S.now ? 'true' : null,
                  onclick: () => goTo(v)}, v.name),
    `${fixed(v.measured.accuracy, 2)} ${PLUSMINUS} ` +
      fixed(chance(v.measured.accuracy, v.measured.count), 1),
    grouped(v.cost.params), macsText(v.cost.macs).join(''),
    v.time ? `${millis(v.time.now.ms)} (${spreadText(v.time.now)})` : DASH,
    v.time ? fixed(v.time.ratio.value, 2) : DASH
  ];
  $('visited').replaceChildren(el('thead', {}, el('tr', {}, ...head.map(h => el('th', {}, h)))),
    el('tbody', {}, ...S.visited.filter(v => v.measured).map(v =>
      el('tr', {class: v === S.now ? 'now' : ''}, ...cells(v).map(c => el('td', {}, c))))));
}

// ---- The predictor ----
// Points: the study's three seeds, the paper's own, and what was measured on this page. Each is
// [retained share of attention, of activations, accuracy].
function mapPoints(source) {
  if (source !== 'here') return facts.points[Number(source)].points;
  const depth = S.dense.config.depth;
  return S.visited.filter(v => v.measured).map(v => [
    1 - v.config.goneAttention / depth, 1 - v.config.goneActivation / depth, v.measured.accuracy]);
}

async function drawPredictor() {
  const source = $('map-source').value, points = mapPoints(source), budget = +$('map-budget').value;
  const depth = source === 'here' ? S.dense.config.depth : 12;
  $('map-budget-value').textContent = budget;
  if (points.length < 4) {
    $('map-plot').replaceChildren();
    $('map-result').textContent = `A surface needs at least four networks; ${points.length} were ` +
      'measured here so far.';
    return;
  }
  let found;
  try {
    found = await call('map', {points, degree: +$('map-degree').value, depth, budget});
  } catch (e) {
    $('map-plot').replaceChildren();
    $('map-result').textContent = e.message;
    return;
  }
  drawSurface(found, points, depth, budget);
  const {attention, activation, predicted} = found.split;
  const errors = found.errors.map((e, i) => Number.isFinite(e)
    ? `degree ${i + 1}: ${fixed(e, 2)}` : null).filter(Boolean).join(', ');
  $('map-result').textContent = `Of ${counted(budget, 'layer')}: ${attention} attention and ` +
    `${counted(activation, 'activation')}, predicted ${fixed(predicted, 1)} %. ` +
    `Degree ${found.degree}; error on points left out, in points of accuracy, ` +
    `${errors || 'cannot be told from so few'}.`;
}

function drawSurface(found, points, depth, budget) {
  const steps = Array.from({length: depth / 2 + 1}, (x, i) => 2 * i);
  const a = axes($('map-plot'), {height: Math.min(460, Math.max(320, $('map-plot').clientWidth)),
    x: [depth + 0.5, -0.5], y: [depth + 0.5, -0.5], xTicks: steps, yTicks: steps,
    xText: t => String(depth - t), yText: t => String(depth - t),
    xLabel: 'attention layers removed', yLabel: 'activations removed',
    summary: `Predicted accuracy by layers removed; for ${counted(budget, 'layer')} the best ` +
      `split is ${found.split.attention} attention and ` +
      `${counted(found.split.activation, 'activation')}`});
  const shownValues = points.map(p => p[2]), low = Math.min(...shownValues) - 4;
  const high = Math.max(...shownValues), cell = [];
  const wide = Math.abs(a.X(0) - a.X(1)), tall = Math.abs(a.Y(0) - a.Y(1));
  for (let g = 0; g <= depth; g++) {
    for (let k = 0; k <= depth; k++) {
      const v = found.grid[g * (depth + 1) + k];
      cell.push(svg('rect', {x: a.X(k) - wide / 2, y: a.Y(g) - tall / 2, width: wide + 0.4,
        height: tall + 0.4, fill: css(heat(0.85 * (v - low) / (high - low)))},
        svg('title', {}, `${depth - k} attention and ` +
            `${counted(depth - g, 'activation')} removed: predicted ` +
            `${fixed(v, 1)} %`)));
    }
  }
  a.g.append(...cell);
  const line = [];
  for (let k = Math.max(0, budget - depth); k <= Math.min(depth, budget); k++)
    line.push([depth - k, depth - (budget - k)]);
  a.g.append(svg('path', {class: 'budget', d: path(line, a)}));
  for (const [k, g] of line) {
    a.g.append(svg('text', {class: 'note', x: a.X(k), y: a.Y(g) - 7, 'text-anchor': 'middle'},
                   fixed(found.grid[g * (depth + 1) + k], 0)));
  }
  for (const [p, q, y] of points) {
    a.g.append(svg('circle', {class: 'point', cx: a.X(p * depth), cy: a.Y(q * depth), r: 4.5},
      svg('title', {}, `measured ${fixed(y, 2)} %`)));
  }
  const x = a.X(depth - found.split.attention), y = a.Y(depth - found.split.activation);
  a.g.append(svg('path', {class: 'choice', d: `M${x - 9} ${y} L${x} ${y - 9} L${x + 9} ${y} ` +
    `L${x} ${y + 9} Z`}));
}

// ---- Gradient disparity ----
function drawDisparity(mean) {
  const depth = S.shown.config.depth;
  const values = mean.flatMap(t => t.slice(0, depth)).filter(v => v > 0);
  if (!values.length) return;
  const low = Math.floor(Math.log10(Math.min(...values))), high = Math.ceil(
    Math.log10(Math.max(...values)) + 1e-9), powers = [];
  for (let p = low; p <= high; p++) powers.push(p);
  const a = axes($('disparity-plot'), {height: 280, x: [-0.6, depth - 0.4], y: [low, high],
    yTicks: powers, yText: p => p >= 0 ? String(10 ** p) : (10 ** p).toFixed(-p),
    xTicks: Array.from({length: depth}, (v, l) => l), xLabel: 'block',
    summary: 'Mean gradient of each layer\u2019s mask'});
  const wide = Math.max(4, (a.X(1) - a.X(0)) * 0.36);
  for (let l = 0; l < depth; l++) {
    mean.forEach((t, type) => {
      if (!(t[l] > 0)) return;
      const y = a.Y(Math.log10(t[l]));
      a.g.append(svg('rect', {class: type ? 'bar gelu' : 'bar attn', x: a.X(l) + (type ? 1 : -wide),
        y, width: wide - 1, height: a.h - a.bottom - y, rx: 2}, svg('title', {},
        `block ${l}, ${type ? 'activation' : 'attention'}: ${t[l].toPrecision(3)}`)));
    });
  }
}

const geometric = a => Math.exp(a.reduce((s, v) => s + Math.log(v), 0) / a.length);

async function disparity() {
  if (S.working) return;
  await working('disparity', 'A copy trains and its masks listen', async () => {
    let mean = null, step = 0;
    await listening(e => {
      if (e.event !== 'gradients') return;
      mean = e.mean, step = e.step;
      progress(e.step / e.steps);
      drawDisparity(mean);
    }, () => call('disparity', {h: S.shown.handle, steps: 24, size: 32}));
    if (!mean) return;
    const [a, g] = mean.map(t => t.filter(v => v > 0));
    const both = mean[1].map((v, l) => [mean[0][l], v]).filter(([x, y]) => x > 0 && y > 0);
    const larger = both.filter(([x, y]) => y > x).length;
    const ratio = a.length && g.length ? geometric(g) / geometric(a) : NaN;
    say('Measured; the network on show is as it was.');
    $('disparity-result').textContent = `After ${counted(step, 'step')} the masks of ` +
      `activations feel ${fixed(ratio, 1)} times the pull of those of attention (geometric ` +
      `means), in ${larger} of ${counted(both.length, 'block')} the stronger one. The paper ` +
      'found 409 times in DeiT, the study of this project 5 times.';
  });
}

// ---- Speed ----
function drawSpeeds(here) {
  const row = (name, t, where) => el('tr', {}, el('td', {}, name),
    el('td', {}, t ? `${millis(t.ms)} (${spreadText(t)})` : 'not measured yet'),
    el('td', {}, t ? grouped(1000 / t.ms) : ''), el('td', {}, where));
  const made = `when this page was made: ${facts.machine}`;
  const now = 'this browser, now';
  $('speeds').replaceChildren(el('thead', {}, el('tr', {}, ...['', 'ms per image (10th, 90th %)',
    'images a second', 'where'].map(t => el('th', {}, t)))),
    el('tbody', {}, row(`native, ${facts.native.best.isa}`, facts.native.best, made),
      row('native, portable C', facts.native.portable, made),
      row('WebAssembly with SIMD', here && here.simd, now),
      row('WebAssembly, scalar', here && here.scalar, now)));
}

async function measureSpeed() {
  if (S.working) return;
  await working('speed', 'Both modules run in turn', async () => {
    const here = await call('speed', {budget: 3000});
    if (here) drawSpeeds(here);
    say(here ? 'Measured.' : 'Stopped.');
  });
}
