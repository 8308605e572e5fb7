// network.js: the drawing of the network, its layers as buttons, and what is said about each.

const layerButton = (type, l) => $('net').querySelector(`[data-type="${type}"][data-layer="${l}"]`);

// The two wedges of an MLP with the GELU between them; a class on the button says which parts show.
function mlpPicture() {
  return svg('svg', {viewBox: '0 0 72 44', 'aria-hidden': 'true', class: 'glyph'},
    svg('path', {class: 'wedge first', d: 'M4 16 L30 4 L30 40 L4 28 Z'}),
    svg('path', {class: 'wedge second', d: 'M68 16 L42 4 L42 40 L68 28 Z'}),
    svg('path', {class: 'one', d: 'M25 11 L47 11 L47 33 L25 33 Z'}),
    svg('circle', {class: 'bend', cx: 36, cy: 22, r: 9.5}),
    svg('path', {class: 'curve', d: 'M29.5 25 C33 26.5 36 25 38.5 20.5 L41.5 15.5'}),
    svg('path', {class: 'line', d: 'M29.5 28.5 L42.5 15.5'}),
    svg('text', {class: 'about', x: 36, y: 27, 'text-anchor': 'middle'}, '\u2248'));
}

// The stream passes through a block; each layer reads it and adds to it.
function streamPicture() {
  const wires = 'M14 20 L14 0 M42 0 L42 20', below = 'M58 20 L58 40 M86 40 L86 20';
  const draw = (cls, box, line, a, b) => svg('svg', {class: cls, viewBox: box,
    preserveAspectRatio: 'none', 'aria-hidden': 'true'},
    svg('path', {class: 'main', d: line}), svg('path', {class: 'wire a', d: a}),
    svg('path', {class: 'wire g', d: b}));
  return el('span', {class: 'stream'},
    draw('across', '0 0 100 40', 'M0 20 L100 20', wires, below),
    draw('down', '0 0 40 100', 'M20 0 L20 100', 'M20 14 L0 14 M0 42 L20 42',
         'M20 58 L40 58 M40 86 L20 86'),
    el('span', {class: 'plus a'}), el('span', {class: 'plus g'}));
}

function makeNetwork() {
  const net = $('net'), depth = S.dense.config.depth;
  net.style.setProperty('--depth', depth);
  net.replaceChildren();
  net.append(el('div', {class: 'end'}, el('canvas', {id: 'net-picture', width: 32, height: 32}),
                el('span', {class: 'small'}, 'patches')));
  for (let l = 0; l < depth; l++) {
    const layer = (type, ...inside) => el('button', {
      type: 'button', class: `layer ${type ? 'mlp' : 'attn'}`, 'data-type': type,
      'data-layer': l, tabindex: -1,
      onclick: () => toggle(type, l),
      onfocus: () => setFocus(type, l)
    }, ...inside, el('span', {class: 'try', 'aria-hidden': 'true'}));
    net.append(el('div', {class: 'block', style: `--at:${l}`},
      el('span', {class: 'number', 'aria-hidden': 'true'}, String(l)),
      layer(ATTENTION, el('canvas', {width: 17, height: 17}), el('span', {class: 'left'})),
      streamPicture(),
      layer(ACTIVATION, mlpPicture(), el('span', {class: 'shape', 'aria-hidden': 'true'}))));
  }
  net.append(el('div', {class: 'end out'}, el('span', {id: 'net-answer'}),
                el('span', {class: 'small'}, 'answer')));
  net.onkeydown = moveFocus;
  layerButton(S.focus.type, S.focus.layer).tabIndex = 0;
}

const oneMap = b => b.mlp === 'fused' || b.mlp === 'fitted';
const FORM_TEXT = {norm: 'x + LN(x)', skip: 'x', double: '2x'};

function stateText(type, l) {
  const c = S.shown.config, b = c.block[l];
  if (type === ATTENTION) {
    if (b.attention === 'kept') return 'kept';
    return b.attention === 'fitted' ? 'replaced by a fitted map'
      : `removed, leaves ${FORM_TEXT[c.form]}`;
  }
  return {kept: 'kept', linear: 'removed, two linears in a row',
          fused: 'removed, the two linears fused into one',
          fitted: 'MLP replaced by a fitted map'}[b.mlp];
}

// Shows the network as it is: S.shown is what describe() said last.
function drawNetwork() {
  const c = S.shown.config;
  c.block.forEach((b, l) => {
    const attn = layerButton(ATTENTION, l), mlp = layerButton(ACTIVATION, l);
    const block = attn.parentElement;
    attn.classList.toggle('removed', b.attention === 'removed');
    attn.classList.toggle('fitted', b.attention === 'fitted');
    attn.querySelector('.left').textContent =
      ({kept: '', removed: FORM_TEXT[c.form], fitted: '\u2248 W'})[b.attention];
    mlp.classList.toggle('removed', b.mlp === 'linear');
    mlp.classList.toggle('fused', b.mlp === 'fused');
    mlp.classList.toggle('fitted', b.mlp === 'fitted');
    mlp.querySelector('.shape').textContent = oneMap(b) ? `${c.width}\u2192${c.width}`
      : `${c.width}\u2192${b.hidden}\u2192${c.width}`;
    block.classList.toggle('no-attention', b.attention === 'removed' && c.form === 'skip');
    for (const [type, button] of [[ATTENTION, attn], [ACTIVATION, mlp]]) {
      const text = stateText(type, l);
      button.setAttribute('aria-pressed', String(text !== 'kept'));
      button.setAttribute('aria-label',
        `Block ${l}, ${type ? 'GELU' : 'attention'}: ${text}`);
      button.title = `Block ${l}, ${type ? 'GELU' : 'attention'}: ${text}`;
    }
  });
  drawDetail();
  drawSwitches();
}

function drawSwitches() {
  const c = S.shown.config;
  const plain = c.block.some(b => b.attention === 'removed' || b.mlp === 'linear');
  const left = c.block.some(b => b.attention === 'kept' || b.mlp === 'kept'), busy = !!S.working;
  const canTrain = c.classes === 100 && c.distilled === 0;
  $('fit').disabled = busy || !plain;
  $('fuse').disabled = busy || c.block.every(b => b.mlp === 'kept' || b.mlp === 'fused');
  $('greedy').disabled = busy || !left || !canTrain;
  $('undo').disabled = busy || S.trail.length < (S.now ? 2 : 1);
  $('restore').disabled = busy || (S.now && S.now.name === 'dense');
  for (const id of ['train', 'train-here', 'race']) $(id).disabled = busy || !canTrain;
  for (const id of ['disparity', 'measure-speed', 'save']) $(id).disabled = busy;
  $('stop').hidden = !busy;
}

// What the little bar in every layer shows after a search: the longer, the smaller the loss without
// that layer.
function drawTry(type, l, loss, best, worst) {
  const bar = layerButton(type, l).querySelector('.try');
  const share = loss === null ? 0 : worst > best ? (worst - loss) / (worst - best) : 1;
  bar.style.setProperty('--try', loss === null ? 0 : Math.max(0.04, share ** 3));
  bar.classList.toggle('on', loss !== null);
  bar.title = loss === null ? '' : `loss without it ${fixed(loss, 3)}`;
}
function clearTries() {
  S.shown.config.block.forEach((b, l) => { drawTry(0, l, null), drawTry(1, l, null); });
}

// ---- Focus ----
function setFocus(type, layer, and) {
  const old = layerButton(S.focus.type, S.focus.layer), button = layerButton(type, layer);
  if (old) old.tabIndex = -1;
  S.focus = {type, layer};
  button.tabIndex = 0;
  if (and) button.focus({preventScroll: false});
  $('net').querySelectorAll('.layer.focus').forEach(b => b.classList.remove('focus'));
  button.classList.add('focus');
  if (S.map.layer !== layer) {
    S.map = {layer, head: 0};
    drawLarge();
    markColumn();
  }
  drawDetail();
  writeLink();
}

// Left and right go along the stream, up and down across it; on a phone the drawing stands upright.
function moveFocus(e) {
  const upright = getComputedStyle($('net')).getPropertyValue('--upright').trim() === '1';
  const along = upright ? {ArrowUp: -1, ArrowDown: 1} : {ArrowLeft: -1, ArrowRight: 1};
  const across = upright ? {ArrowLeft: 0, ArrowRight: 1} : {ArrowUp: 0, ArrowDown: 1};
  const last = S.dense.config.depth - 1;
  let {type, layer} = S.focus;
  if (e.key in along) layer = Math.max(0, Math.min(last, layer + along[e.key]));
  else if (e.key in across) type = across[e.key];
  else if (e.key === 'Home') layer = 0;
  else if (e.key === 'End') layer = last;
  else return;
  e.preventDefault();
  setFocus(type, layer, true);
}

// ---- The layer in focus, in words ----
function drawDetail() {
  if (!S.shown || !S.shown.costs) return;
  const {type, layer: l} = S.focus, c = S.shown.config, b = c.block[l];
  const n = c.tokens, d = c.width, h = b.heads, e = b.headDim;
  const cost = S.shown.costs[type][l], share = 100 * cost.macs / S.shown.cost.macs;
  const gone = stateText(type, l) !== 'kept';
  const rows = type === ATTENTION ? [
    ['reads', `${n} ${TIMES} ${d}, normalised`],
    ['asks', `queries, keys, values: ${n} ${TIMES} ${3 * h * e}`],
    ['looks', `${counted(h, 'head')}, each ${n} ${TIMES} ${n}`],
    ['adds', `${n} ${TIMES} ${d}, so any number of these can go`]
  ] : [
    ['reads', `${n} ${TIMES} ${d}, normalised`],
    ['widens', oneMap(b) ? `not: one matrix ${d} ${TIMES} ${d}`
      : `${d} to ${b.hidden} numbers a token`],
    ['bends', b.mlp === 'kept' ? 'GELU, number by number' : 'not: the GELU is gone'],
    ['adds', `${n} ${TIMES} ${d}, so the shapes beside it stay`]
  ];
  const what = type === ATTENTION ? 'it is gone, nothing is spent on it'
    : 'one matrix is left';
  const spared = gone && (type === ATTENTION || oneMap(b)) ? el('p', {}, `In use: ${what}.`)
    : el('p', {}, type ? 'Without its GELU, fused, it spares ' : 'Without it, spared: ',
         el('b', {}, grouped(cost.params)), ' parameters and ',
         el('b', {}, `${fixed(share, 1)} %`), ' of the MACs.');
  const linear = !oneMap(b) && type === ACTIVATION && el('div', {class: 'row'},
    el('button', {type: 'button', class: 'quiet', onclick: () => refuse(l, 1)},
       'Try to remove one linear alone'),
    el('button', {type: 'button', class: 'quiet', onclick: () => refuse(l, 'fuse')},
       'Try to fuse'));
  $('detail').replaceChildren(
    el('h3', {}, `Block ${l}: ${type ? 'MLP and its GELU' : 'attention'}`),
    el('p', {class: 'state'}, stateText(type, l)),
    el('dl', {}, ...rows.flatMap(([k, v]) => [el('dt', {}, k), el('dd', {}, v)])),
    spared, ...(linear ? [linear] : []),
    el('button', {type: 'button', class: 'strong', disabled: S.working ? true : false,
                  onclick: () => toggle(type, l)},
       gone ? 'Put it back' : type ? 'Remove this GELU' : 'Remove this attention layer'));
}

async function refuse(layer, which) {
  const sentence = await call('refuse', {h: S.shown.handle, layer, which});
  say(sentence || 'Nothing stands in the way: the button Fuse does it.', !!sentence);
}
