// picture.js: one picture followed through the network: its tokens, where each looks, what each
// layer adds to the stream, and what the head would answer after every block.

const PAGE_OF_THUMBS = 12;
let album = null;        // {planes, labels} of the embedded images
let thumbsAt = 0;
let sight = {now: null, dense: null}; // what look() saw of the picture, see worker.js

const className = k => S.dense.config.classes === 100 && S.classes ? S.classes[k] : `class ${k}`;
const planesOf = i => album.planes.subarray(3072 * i, 3072 * (i + 1));

function drawThumbs() {
  const shown = [];
  for (let i = thumbsAt; i < Math.min(S.count, thumbsAt + PAGE_OF_THUMBS); i++) shown.push(i);
  $('thumbs').replaceChildren(...shown.map(i => {
    const canvas = el('canvas', {});
    paintPlanes(canvas, planesOf(i), 32);
    return el('button', {type: 'button', class: 'thumb',
                         'aria-pressed': String(!S.picture.planes && S.picture.index === i),
                         'aria-label': `Test image ${i}: ${S.classes[album.labels[i]]}`,
                         title: `${i}: ${S.classes[album.labels[i]]}`,
                         onclick: () => choosePicture(i)}, canvas);
  }));
  $('earlier').disabled = thumbsAt === 0;
  $('later').disabled = thumbsAt + PAGE_OF_THUMBS >= S.count;
}

function turnThumbs(by) {
  thumbsAt = Math.max(0, Math.min(S.count - 1, thumbsAt + by * PAGE_OF_THUMBS));
  drawThumbs();
}

async function choosePicture(i) {
  S.picture = {index: i, planes: null, side: 32, name: S.classes[album.labels[i]],
               label: album.labels[i]};
  thumbsAt = PAGE_OF_THUMBS * Math.floor(i / PAGE_OF_THUMBS);
  drawThumbs();
  await look();
  writeLink();
}

// A file of the visitor's: decoded by the browser, made to fit by the library as `classify` does.
async function ownPicture(file) {
  try {
    const bitmap = await createImageBitmap(file), most = 1024;
    const scale = Math.min(1, most / Math.max(bitmap.width, bitmap.height));
    const w = Math.max(1, Math.round(bitmap.width * scale));
    const h = Math.max(1, Math.round(bitmap.height * scale));
    const canvas = el('canvas', {width: w, height: h}), c = canvas.getContext('2d');
    c.drawImage(bitmap, 0, 0, w, h);
    const rgba = new Uint8Array(c.getImageData(0, 0, w, h).data.buffer);
    const side = S.dense.config.image, crop = !S.dense.wholePicture;
    const planes = await call('own', {rgba, width: w, height: h, side, crop});
    S.picture = {index: -1, planes, side, name: file.name, label: null};
    drawThumbs();
    await look();
    say(`${file.name}: ${w} ${TIMES} ${h} pixels, made ${side} ${TIMES} ${side}. It stayed here.`);
  } catch (e) {
    say(`${file.name} cannot be read as a picture: ${e.message}`, true);
  }
}

// ---- Looking ----
async function look() {
  if (!S.shown || !album) return;
  const {index, planes, side} = S.picture, turn = S.turn;
  const at = {index, planes, side};
  try {
    const now = await call('look', {h: S.shown.handle, ...at});
    const dense = S.shown.handle === S.dense.handle ? now
      : await call('look', {h: S.dense.handle, ...at});
    if (turn !== S.turn) return;
    sight = {now, dense};
    drawPicture();
  } catch (e) {
    say(e.message, true);
  }
}

function drawPicture() {
  if (!sight.now) return;
  S.token = Math.min(S.token, sight.now.tokens - 1);
  const own = S.picture.planes, n = own ? S.picture.side : 32;
  const planes = own || planesOf(S.picture.index);
  paintPlanes($('net-picture'), planes, n);
  $('picture-name').textContent = own ? S.picture.name
    : `Test image ${S.picture.index}: ${S.picture.name}`;
  drawTokens(planes, n);
  drawMapsInNetwork();
  drawLarge();
  drawVerdict();
  drawXray();
}

const softmax = z => {
  const top = Math.max(...z), e = Array.from(z, x => Math.exp(x - top));
  const sum = e.reduce((a, b) => a + b, 0);
  return e.map(x => x / sum);
};
const lensAt = (s, l) => softmax(s.lens.subarray(l * s.classes, (l + 1) * s.classes));
const extraTokens = () => S.dense.config.prefix; // those that are no patches
const grid = () => S.dense.config.image / S.dense.config.patch;

function prefixName(i) {
  const c = S.dense.config;
  const names = [...(c.classToken ? ['class token'] : []),
                 ...(c.distilled ? ['distillation token'] : [])];
  return names[i] || `register ${i - names.length}`;
}

function tokenName(i) {
  if (i < extraTokens()) return `the ${prefixName(i)}`;
  const p = i - extraTokens();
  return `the patch in row ${Math.floor(p / grid()) + 1}, column ${p % grid() + 1}`;
}

// Row `token` of head `head` in block l, or null where there is no map. head -1: the mean of all.
function attentionRow(s, l, head, token) {
  const maps = s.maps[l], n = s.tokens;
  if (!maps) return null;
  const heads = maps.length / (n * n), row = new Float64Array(n);
  for (let h = 0; h < heads; h++) {
    if (head >= 0 && h !== head) continue;
    for (let j = 0; j < n; j++) row[j] += maps[(h * n + token) * n + j] / (head < 0 ? heads : 1);
  }
  return row;
}

// ---- The picture and its tokens, a group of radio buttons ----
function drawTokens(planes, side) {
  const n = grid(), extra = extraTokens(), canvas = el('canvas', {class: 'photo'});
  paintPlanes(canvas, planes, side);
  const button = i => el('button', {
    type: 'button', role: 'radio', class: i < extra ? 'token class' : 'token',
    'data-token': i, tabindex: i === S.token ? 0 : -1, 'aria-checked': String(i === S.token),
    'aria-label': tokenName(i), onclick: () => chooseToken(i)
  }, i < extra ? prefixName(i) : null);
  const patches = el('div', {class: 'patches', style: `--n:${n}`}, canvas,
                     el('canvas', {class: 'shade', id: 'shade'}));
  for (let i = extra; i < extra + n * n; i++) patches.append(button(i));
  const first = el('div', {class: 'row'});
  for (let i = 0; i < extra; i++) first.append(button(i));
  $('tokens').replaceChildren(first, patches);
  $('tokens').onkeydown = e => {
    const step = {ArrowLeft: -1, ArrowRight: 1, ArrowUp: -n, ArrowDown: n}[e.key];
    if (!step) return;
    e.preventDefault();
    let to = S.token < extra ? (step > 0 ? extra : 0) : S.token + step;
    if (to < extra) to = 0;
    if (to < sight.now.tokens) chooseToken(to, true);
  };
  shade();
}

function chooseToken(i, and) {
  S.token = i;
  $('tokens').querySelectorAll('.token').forEach(b => {
    const on = Number(b.dataset.token) === i;
    b.setAttribute('aria-checked', String(on));
    b.tabIndex = on ? 0 : -1;
    if (on && and) b.focus();
  });
  shade(), drawLarge(), drawXray(), writeLink();
}

// Darkens the patches at which the token does not look.
function shade() {
  const n = grid(), row = sight.now && attentionRow(sight.now, S.map.layer, S.map.head, S.token);
  const canvas = $('shade'), extra = extraTokens();
  canvas.width = canvas.height = n;
  if (!row) return;
  const c = canvas.getContext('2d'), image = c.createImageData(n, n);
  const most = Math.max(...row.slice(extra));
  for (let i = 0; i < n * n; i++)
    image.data.set([8, 12, 24, Math.round(165 * (1 - row[extra + i] / most))], 4 * i);
  c.putImageData(image, 0, 0);
}

// ---- Maps ----
function drawMapsInNetwork() {
  const s = sight.now, n = s.tokens;
  for (let l = 0; l < S.shown.config.depth; l++) {
    const canvas = layerButton(ATTENTION, l).querySelector('canvas'), maps = s.maps[l];
    canvas.hidden = !maps;
    if (!maps) continue;
    const heads = maps.length / (n * n), mean = new Float64Array(n * n);
    for (let h = 0; h < heads; h++)
      for (let i = 0; i < n * n; i++) mean[i] += maps[h * n * n + i] / heads;
    const most = Math.max(...mean);
    paint(canvas, n, n, i => heat(Math.sqrt(mean[i] / most)));
  }
  const answer = lensAt(s, S.shown.config.depth), k = answer.indexOf(Math.max(...answer));
  $('net-answer').replaceChildren(className(k), el('br'), `${fixed(100 * answer[k], 0)} %`);
}

function drawLarge() {
  if (!sight.now || !S.shown) return;
  const {layer, head} = S.map, s = S.view === 'dense' ? sight.dense : sight.now, n = s.tokens;
  const b = S.shown.config.block[layer], maps = s.maps[layer];
  const heads = maps ? maps.length / (n * n) : b.heads;
  const tabs = el('div', {class: 'row', role: 'group', 'aria-label': 'Head'},
    ...Array.from({length: heads}, (x, h) => el('button', {
      type: 'button', class: 'quiet', 'aria-pressed': String(h === head),
      onclick: () => chooseMap(layer, h)}, `head ${h}`)));
  if (!maps) {
    $('large').replaceChildren(el('h3', {}, `Block ${layer}: no attention`), el('p', {},
      b.attention === 'fitted' ? 'A fitted map stands here: each token for itself, nobody looks.'
        : 'The layer is gone: here no token sees another.'));
    shade();
    return;
  }
  const canvas = el('canvas', {class: 'map', role: 'img', 'aria-label':
    `Attention map of head ${head} in block ${layer}: rows look, columns are looked at`});
  const at = head * n * n;
  const most = Math.max(...maps.subarray(at, at + n * n));
  paint(canvas, n, n, i => heat(Math.sqrt(maps[at + i] / most)));
  const row = attentionRow(s, layer, head, S.token);
  const order = Array.from(row.keys()).sort((i, j) => row[j] - row[i]).slice(0, 3);
  $('large').replaceChildren(
    el('h3', {}, `Block ${layer}, head ${head}`), tabs,
    el('div', {class: 'map-frame', style: `--row:${(S.token + 0.5) / n}; --n:${n}`}, canvas,
       el('span', {class: 'row-mark', 'aria-hidden': 'true'})),
    el('p', {class: 'small'}, `Row: who looks. Column: at whom. Here ${tokenName(S.token)} gives `,
       order.map(j => `${fixed(100 * row[j], 0)} % to ${j === S.token ? 'itself' : tokenName(j)}`)
         .join(', '), '.'));
  shade();
}

function chooseMap(layer, head) {
  S.map = {layer, head};
  drawLarge();
  markColumn();
  writeLink();
}

function markColumn() {
  $('xray').querySelectorAll('[data-column]').forEach(e => {
    e.classList.toggle('chosen', Number(e.dataset.column) === S.map.layer);
  });
}

// ---- The answer, before and now ----
function drawVerdict() {
  const depth = S.shown.config.depth, now = lensAt(sight.now, depth);
  const dense = lensAt(sight.dense, S.dense.config.depth);
  const top = Array.from(now.keys()).sort((i, j) => now[j] - now[i]).slice(0, 4);
  const first = dense.indexOf(Math.max(...dense));
  if (!top.includes(first)) top.push(first);
  const {label} = S.picture;
  if (label !== null && label !== undefined && !top.includes(label)) top.push(label);
  $('verdict').replaceChildren(el('h3', {}, 'What it sees'),
    el('table', {class: 'bars'}, el('thead', {}, el('tr', {}, el('th', {}, 'class'),
      el('th', {}, 'now'), el('th', {}, 'dense'))),
      el('tbody', {}, ...top.map(k => el('tr', {class: k === label ? 'true' : ''},
        el('td', {}, className(k), k === label ? ' \u2713' : ''),
        el('td', {class: 'bar-cell', style: `--bar:${now[k]}`}, `${fixed(100 * now[k], 1)} %`),
        el('td', {class: 'bar-cell pale', style: `--bar:${dense[k]}`},
           `${fixed(100 * dense[k], 1)} %`))))),
    label === null ? el('p', {class: 'small'}, 'The network knows its 100 drawn things only.')
      : el('p', {class: 'small'}, '\u2713 marks what it is.'));
}

// ---- Block by block: a table of small drawings, one column a block ----
const stateAt = (s, half) => s.stream.subarray(half * s.tokens * s.width,
                                               (half + 1) * s.tokens * s.width);
const tokenAt = (s, half, i) => stateAt(s, half).subarray(i * s.width, (i + 1) * s.width);
const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const length = a => Math.sqrt(dot(a, a));

// How much the layer adds to the chosen token: |after - before| / |before|.
function added(s, half, i) {
  const x = tokenAt(s, half, i), y = tokenAt(s, half + 1, i);
  return length(y.map((v, k) => v - x[k])) / length(x);
}

function likeness(s, half) {
  const q = tokenAt(s, half, S.token), n = length(q);
  return Array.from({length: s.tokens}, (x, j) => {
    const t = tokenAt(s, half, j);
    return dot(q, t) / (n * length(t));
  });
}

// The drawings of one row: values on the patches, of one network or of their difference.
function patchCanvas(now, dense, scale) {
  const n = grid(), extra = extraTokens(), canvas = el('canvas', {class: 'tile'});
  const show = S.view === 'dense' ? dense : now;
  if (!show || (S.view === 'change' && !dense)) return el('span', {class: 'nothing'});
  const most = Math.max(...Array.from(show).slice(extra), 1e-9);
  paint(canvas, n, n, i => {
    const v = show[extra + i];
    if (S.view === 'change') return change((v - dense[extra + i]) / (scale || 0.25));
    return heat(scale ? v / scale : v / most);
  });
  return canvas;
}

function barCell(now, dense, most, cls) {
  return el('span', {class: `meter ${cls}`, style: `--now:${Math.min(1, now / most)};` +
                     `--dense:${Math.min(1, dense / most)}`,
                     title: `${fixed(now, 2)}, dense ${fixed(dense, 2)}`});
}

function numbersCanvas(l) {
  const s = S.view === 'dense' ? sight.dense : sight.now, d = s.width;
  const canvas = el('canvas', {class: 'numbers'});
  const columns = [2 * l + 1, 2 * l + 2].map(half => {
    const x = tokenAt(s, half, S.token), y = tokenAt(sight.dense, half, S.token);
    const size = length(y) / Math.sqrt(d);
    return Array.from(x, (v, k) => (S.view === 'change' ? v - y[k] : v) / (2 * size));
  });
  paint(canvas, 2, d, i => change(columns[i % 2][i >> 1]));
  return canvas;
}

function drawXray() {
  const now = sight.now, dense = sight.dense;
  if (!now) return;
  const depth = S.shown.config.depth, blocks = Array.from({length: depth}, (x, l) => l);
  const heads = Math.max(...S.dense.config.block.map(b => b.heads));
  const rows = [];
  const row = (label, cells, cls) => rows.push(el('div', {class: 'label'}, label),
    ...cells.map((cell, l) => el('div', {class: `cell ${cls || ''}`, 'data-column': l}, cell)));
  row('block', blocks.map(l => el('span', {}, String(l))), 'number');
  for (let h = 0; h < heads; h++) {
    row(`head ${h} looks`, blocks.map(l => {
      const a = attentionRow(now, l, h, S.token), b = attentionRow(dense, l, h, S.token);
      return el('button', {type: 'button', class: 'open', onclick: () => chooseMap(l, h),
                           'aria-label': `Map of head ${h} in block ${l}`},
                patchCanvas(a, b));
    }));
  }
  const adds = [0, 1].map(type => blocks.map(l => [added(now, 2 * l + type, S.token),
                                                   added(dense, 2 * l + type, S.token)]));
  const most = Math.max(...adds.flat(2).filter(x => x < 10), 0.1);
  row('attention adds', adds[0].map(([a, b]) => barCell(a, b, most, 'a')), 'low');
  row('MLP adds', adds[1].map(([a, b]) => barCell(a, b, most, 'g')), 'low');
  row('patches like it', blocks.map(l =>
    patchCanvas(likeness(now, 2 * l + 2), likeness(dense, 2 * l + 2), 1)));
  row(`its ${now.width} numbers`, blocks.map(numbersCanvas), 'high');
  row('answer so far', blocks.map(l => {
    const p = lensAt(S.view === 'dense' ? dense : now, l + 1), k = p.indexOf(Math.max(...p));
    return el('span', {class: 'guess' + (k === S.picture.label ? ' true' : '')},
              el('b', {}, className(k)), `${fixed(100 * p[k], 0)} %`);
  }), 'words');
  $('xray').style.setProperty('--depth', depth);
  $('xray').replaceChildren(...rows);
  $('token-name').textContent = `Chosen: ${tokenName(S.token)}.`;
  markColumn();
}
