// training.js: training with its curves drawn as it happens, and the race between the two kinds of
// layer; before that, the axes that every plot of the page uses.

// About n round numbers between low and high.
function ticks(low, high, n) {
  const rough = (high - low) / n, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map(k => k * power).find(s => s >= rough * 0.999), out = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + step * 1e-9; t += step) out.push(t);
  return out;
}
const tickText = t => Math.abs(t) >= 1000 ? grouped(t) : String(Number(t.toFixed(6)));

// An empty plot in `box`, as wide as it: X and Y bring values to places on it.
function axes(box, o) {
  const w = Math.max(260, box.clientWidth), h = o.height || Math.round(Math.min(320, w * 0.62));
  const left = 46, right = 14, top = 12, bottom = 40;
  const X = v => left + (w - left - right) * (v - o.x[0]) / (o.x[1] - o.x[0]);
  const Y = v => h - bottom - (h - top - bottom) * (v - o.y[0]) / (o.y[1] - o.y[0]);
  const g = svg('svg', {class: 'chart', width: w, height: h, viewBox: `0 0 ${w} ${h}`,
                        role: 'img', 'aria-label': o.summary || ''});
  for (const t of o.yTicks || ticks(o.y[0], o.y[1], 5)) {
    g.append(svg('line', {class: 'rule', x1: left, x2: w - right, y1: Y(t), y2: Y(t)}),
             svg('text', {x: left - 8, y: Y(t) + 4, 'text-anchor': 'end'},
                 (o.yText || tickText)(t)));
  }
  for (const t of o.xTicks || ticks(o.x[0], o.x[1], w < 420 ? 4 : 7)) {
    g.append(svg('line', {class: 'rule faint', x1: X(t), x2: X(t), y1: top, y2: h - bottom}),
             svg('text', {x: X(t), y: h - bottom + 18, 'text-anchor': 'middle'},
                 (o.xText || tickText)(t)));
  }
  g.append(svg('text', {class: 'axis', x: (left + w - right) / 2, y: h - 4,
                        'text-anchor': 'middle'}, o.xLabel || ''));
  if (o.yLabel) {
    g.append(svg('text', {class: 'axis', x: 12, y: (top + h - bottom) / 2, 'text-anchor': 'middle',
                          transform: `rotate(-90 12 ${(top + h - bottom) / 2})`}, o.yLabel));
  }
  box.replaceChildren(g);
  return {g, X, Y, w, h, left, right, top, bottom};
}

const path = (points, a) => points.map(([x, y], i) =>
  `${i ? 'L' : 'M'}${a.X(x).toFixed(1)} ${a.Y(y).toFixed(1)}`).join(' ');

// ---- What a training has told so far ----
let run = null;

function drawRun() {
  if (!run) {
    for (const id of ['recovery-plot', 'loss-plot'])
      $(id).replaceChildren(el('p', {class: 'empty'}, 'Nothing has trained here yet.'));
    return;
  }
  const judged = run.series.flatMap(s => s.judged.map(j => j.accuracy)).concat(run.level);
  const low = Math.max(0, Math.floor((Math.min(...judged) - 6) / 10) * 10);
  const high = Math.min(100, Math.ceil((Math.max(...judged) + 4) / 10) * 10);
  const most = Math.max(run.most, 1);
  const a = axes($('recovery-plot'), {x: [-most * 0.06, most], y: [low, high], xLabel:
    'training images seen', xTicks: ticks(0, most, 5), summary: summaryOfRun()});
  a.g.append(svg('line', {class: 'level', x1: a.left, x2: a.w - a.right,
                          y1: a.Y(run.level), y2: a.Y(run.level)}),
             svg('text', {class: 'note', x: a.w - a.right - 4, y: a.Y(run.level) - 6,
                          'text-anchor': 'end'}, `dense ${fixed(run.level, 1)} %`));
  run.series.forEach((s, k) => {
    if (!s.judged.length) return;
    const points = s.judged.map(j => [j.images, j.accuracy]);
    a.g.append(svg('path', {class: `drop ${s.cls}`,
                            d: path([[-most * 0.06, run.level], [0, points[0][1]]], a)}),
               svg('path', {class: `curve ${s.cls}`, d: path(points, a)}));
    points.forEach(([x, y]) => a.g.append(
      svg(k ? 'rect' : 'circle', k ? {class: `dot ${s.cls}`, x: a.X(x) - 3.5, y: a.Y(y) - 3.5,
                                      width: 7, height: 7}
        : {class: `dot ${s.cls}`, cx: a.X(x), cy: a.Y(y), r: 4})));
    const [x, y] = points[points.length - 1];
    a.g.append(svg('text', {class: `note ${s.cls}`, x: Math.min(a.X(x) + 8, a.w - a.right),
                            y: a.Y(y) + (k ? 18 : -8),
                            'text-anchor': x > most * 0.6 ? 'end' : 'start'}, s.label));
  });
  drawLosses(most);
}

// The losses of single steps jump; the line is their running mean.
function drawLosses(most) {
  const all = run.series.flatMap(s => s.losses.map(([, y]) => y));
  if (!all.length) return;
  const high = Math.max(...all), low = Math.min(...all);
  const a = axes($('loss-plot'), {x: [-most * 0.06, most],
    y: [Math.max(0, low - 0.1), high + 0.1], xLabel: 'training images seen',
    xTicks: ticks(0, most, 5), summary: 'Loss of each training step'});
  run.series.forEach(s => {
    let mean = null;
    const smooth = s.losses.map(([x, y]) => {
      mean = mean === null ? y : mean + 0.1 * (y - mean);
      return [x, mean];
    });
    a.g.append(svg('path', {class: `faint ${s.cls}`, d: path(s.losses, a)}),
               svg('path', {class: `curve ${s.cls}`, d: path(smooth, a)}));
  });
}

function summaryOfRun() {
  return run.series.filter(s => s.judged.length).map(s => {
    const first = s.judged[0].accuracy, last = s.judged[s.judged.length - 1].accuracy;
    const lost = run.level - first, back = last - first;
    let text = `${s.label}: ${fixed(first, 1)} % at once, ${fixed(last, 1)} % after ` +
      `${counted(s.judged[s.judged.length - 1].images, 'image')}`;
    if (lost > 1) {
      text += `; ${fixed(lost, 1)} points lost, ` + (back > 0
        ? `${fixed(100 * back / lost, 0)} % of them won back` : 'none won back so far');
    }
    return text;
  }).join('. ') + '.';
}

let framePending = false;
function drawRunSoon() { // once a frame at most, however often the worker tells
  if (framePending) return;
  framePending = true;
  requestAnimationFrame(() => { framePending = false, drawRun(); });
}

function hearTraining(e) {
  if (e.event === 'judged') {
    run.series[e.k].judged.push({images: e.images, accuracy: e.accuracy});
  } else if (e.event === 'step') {
    run.series[e.k].losses.push([e.images, e.loss]);
    run.most = e.images / e.step * e.steps;
    progress(e.step / e.steps);
  } else return;
  drawRunSoon();
}

// The dense network on the images that draw curves; measured once.
async function level() {
  if (!S.dense.level) {
    const found = await call('evaluate', {h: S.dense.handle, set: 1, count: S.judges});
    if (!found) return null;
    S.dense.level = found.accuracy;
  }
  return S.dense.level;
}

async function train(networks, labels, classes) {
  const seconds = Number($('seconds').value);
  const teacher = $('teacher').checked ? S.dense.handle : 0;
  const dense = await level();
  if (dense === null) return null;
  run = {level: dense, most: 0, series: labels.map((label, k) =>
    ({label, cls: classes[k], judged: [], losses: []}))};
  const done = await listening(hearTraining, () => call('train',
    {networks, teacher, seconds, size: 32, rate: 5e-4, count: S.judges}));
  drawRun();
  $('train-result').textContent = summaryOfRun();
  return done;
}

async function trainThis() {
  if (S.working) return;
  const from = S.shown;
  await working('train', 'Training', async () => {
    const [a, g] = [S.plan.attention, S.plan.activation].map(s => which(s, 'kept').length);
    const cls = a > g ? 'gelu' : g > a ? 'attn' : 'both';
    const done = await train([from.handle], [nameOf(S.plan, S.base)], [cls]);
    if (!done) return;
    const before = S.base.trained ? S.base.images : 0, images = before + done.images;
    const net = await call('describe', {h: done.networks[0]});
    S.base = {handle: net.handle, images, trained: `on ${counted(images, 'image')}`};
    S.plan = planOf(net.config);
    S.base.config = net.config;
    say(`Trained for ${counted(Math.round(done.seconds), 'second')}, ` +
        `${counted(done.steps, 'step')} of 32 images. ` +
        summaryOfRun());
    await show(net, [], false);
  });
}

// Two copies of the dense network, one without a block's attention, one without its GELU, see the
// same images in turn. What is on show stays as it is.
async function race() {
  if (S.working) return;
  const l = Number($('race-block').value);
  await working('race', 'Two networks train in turn', async () => {
    const make = type => {
      const plan = planOf(S.dense.config);
      plan.form = 'skip';
      layersOf(plan, type)[l] = 'plain';
      return call('build', {base: S.dense.handle, plan});
    };
    const pair = [await make(ATTENTION), await make(ACTIVATION)];
    const done = await train(pair.map(n => n.handle),
      [`without attention ${l}`, `without GELU ${l}`], ['attn', 'gelu']);
    pair.forEach(n => call('drop', {h: n.handle}));
    if (!done) return;
    done.networks.forEach(h => call('drop', {h}));
    say(summaryOfRun());
  });
}
