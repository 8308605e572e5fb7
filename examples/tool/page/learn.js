// learn.js: the guided tours and the exercises.

// ---- Tours: each step says something, points at a place, and may do something first ----
// A step's text is a function, so that it can speak of what was just measured.
const acc = () => S.now && S.now.measured.count ? `${fixed(S.now.measured.accuracy, 2)} %`
  : 'not measured yet';
const denseAcc = () => S.dense.entry ? `${fixed(S.dense.entry.measured.accuracy, 2)} %`
  : 'the dense one\u2019s';

// Puts the page into the state that a link would, and waits until it is measured.
async function become(text) {
  if (S.working) return;
  history.replaceState(null, '', `#${text}`);
  await followLink();
}
const plain = () => become('form=norm');

const TOURS = [
  {name: 'Dimension mismatch', about: 'Why a linear cannot go, and a GELU can', steps: [
    {at: 'network', focus: [1, 8], act: plain, text: () => `An MLP reads 64 numbers of each token,
      makes 256 of them, bends each one a little (the GELU), and makes 64 again. Look at the two
      wedges of block 8, and at the sizes beside this drawing.`},
    {at: 'detail', focus: [1, 8], act: () => refuse(8, 1), text: () => `What if only the first
      linear went? The library was just asked, and refused: <q>${$('message').textContent}</q> The
      second linear waits for 256 numbers and would get 64.`},
    {at: 'detail', focus: [1, 8], act: () => refuse(8, 'fuse'), text: () => `Could both become one?
      Not as they are: <q>${$('message').textContent}</q> Between them stands the GELU, and no
      matrix bends.`},
    {at: 'network', focus: [1, 8], act: () => become('g=8'), text: () => `So the GELU goes, and
      nothing else. No shape has changed; accuracy is ${acc()} instead of ${denseAcc()}. And the
      numbers of parameters and MACs are what they were: so far nothing is gained.`},
    {at: 'figures', focus: [1, 8], act: () => become('g=8&u=8'), text: () => `Now two linears stand
      in a row, and their product is one matrix of 64 ${TIMES} 64. 33,088 parameters become 4,160.
      Accuracy: ${acc()}, the same, because the function is the same.`}]},
  {name: 'Recovery asymmetry', about: 'What hurts at once is not what hurts in the end', steps: [
    {at: 'network', focus: [0, 5], act: plain, text: () => `The dense network has ${denseAcc()}.
      Two kinds of layer can go. Which kind is cheaper to lose?`},
    {at: 'figures', focus: [0, 5], act: () => become('a=5&form=skip'), text: () => `Attention of
      block 5 is gone, a plain skip in its place: ${acc()}. It hardly hurts.`},
    {at: 'figures', focus: [1, 1], act: () => become('g=1'), text: () => `Attention is back, and the
      GELU of block 1 is gone instead: ${acc()}. A disaster, it seems. Whoever judges now will say:
      never touch a GELU.`},
    {at: 'training', act: () => {
      $('race-block').value = 1;
      race();
    }, text: () => `Judge later. Two copies train now, one without attention 1, one without GELU 1,
      on the same pictures in turn. Watch the dashed lines fall and the curves rise; it takes as
      long as the box above says. Stop ends it early.`},
    {at: 'training', text: () => `${$('train-result').textContent || 'The race still runs.'} The
      paper calls this recovery asymmetry: activations lose at once and win back fast, attention
      loses little and wins back slowly. So the two kinds must not be ranked in one list by what
      they cost at once.`}]},
  {name: 'Gradient disparity', about: 'Why the gradient cannot rank both kinds', steps: [
    {at: 'gradients', act: plain, text: () => `Which layer matters? One idea is to ask the gradient:
      give every layer a mask m, 1 for kept, and see how strongly the loss pulls at it.`},
    {at: 'gradients', act: disparity, text: () => `Measured, over 24 steps of a copy. Blue is
      attention, orange is activations; a step of the scale is ten times.
      ${$('disparity-result').textContent}`},
    {at: 'gradients', text: () => `Where does the gap come from? A mask of an activation sums over
      256 features, one of attention over 64: the root of 4 is 2. The rest is how large f ${MINUS} r
      is, the difference between the layer and what it leaves. None of it says that activations
      matter more.`},
    {at: 'gradients', text: () => `AdamW divides every gradient by its own size, so the learned
      importance does not even see the gap. The lesson stays: compare attention with attention and
      activations with activations. The predictor decides how many of each.`}]},
  {name: 'Fusing', about: 'One matrix for two, with a certificate', steps: [
    {at: 'network', focus: [1, 3], act: () => become('g=3,5,7'), text: () => `Three GELUs are gone:
      3, 5 and 7. Accuracy ${acc()}. The function has changed, the work has not.`},
    {at: 'network', focus: [1, 3], act: async () => {
      if (!$('fuse').disabled) await fuse();
    }, text: () => `Fused: W = W\u2082 W\u2081, b = W\u2082 b\u2081 + b\u2082, computed in double.
      ${$('certificate').textContent} So many pictures were compared before and after; what is left
      is rounding.`},
    {at: 'figures', text: () => `Each fused MLP spares 28,928 parameters, and the time is measured,
      not promised: ${$('ms').textContent} ms, ${$('ms-more').textContent}.`},
    {at: 'network', act: () => become('fg=3,5,7'), text: () => `Another way: instead of the straight
      line, the map that does best what the MLP did, by least squares on 224 pictures. It is one
      matrix from the start, costs the same, and begins at ${acc()}. It is not exact: it stands for
      an MLP that it can only approach.`}]},
  {name: 'The predictor', about: 'How many of each kind', steps: [
    {at: 'predictor', act: () => setPredictor(0, 8), text: () => `A dot is a network that was
      pruned, trained and measured: DeiT-Tiny on CIFAR-100, this project\u2019s study. Right: fewer
      attention layers; up: fewer activations.`},
    {at: 'predictor', text: () => `A polynomial goes through the dots. Its degree is chosen by
      leaving every pair of dots out once and predicting them: too low misses the shape, too high
      follows the noise. ${$('map-result').textContent}`},
    {at: 'predictor', text: () => `The dashed line is where eight layers are gone; the diamond is
      its highest point, the split. Move the budget and watch it walk.`},
    {at: 'predictor', act: () => setPredictor(3, 8), text: () => `These are the paper\u2019s own 22
      points, DeiT-Base on ImageNet. The paper says four and four; the same method on its points
      says: ${$('map-result').textContent}`},
    {at: 'predictor', act: () => setPredictor(facts.points.length, 8), text: () => `And these are
      the networks that you visited here. ${$('map-result').textContent} Visit more, or train some:
      a surface through networks that were never trained says how they fail, not how they
      recover.`}]},
  {name: 'The Pareto plot', about: 'Better or cheaper, with honest bars', steps: [
    {at: 'pareto', act: () => become('g=8&u=8'), text: () => `Every network that you visit becomes a
      dot: how accurate, how long a picture takes, measured here. Two are there now: the dense one,
      and one without GELU 8.`},
    {at: 'pareto', act: () => become('fg=5,8'), text: () => `Two fitted maps: ${acc()}.`},
    {at: 'pareto', act: () => become('a=10,11&fg=5,8&form=skip'), text: () => `And two attention
      layers less: ${acc()}, ${$('ms').textContent} ms. The line joins those that no other beats in
      both.`},
    {at: 'pareto', text: () => `Look at the bars. Of 300 pictures a network that is right three
      times of four shows between 70 and 80: two dots whose bars overlap are not ranked by this
      plot. Time has bars too, and both networks were timed in turn.`},
    {at: 'training', text: () => `Train one of them for a minute, then look here again: the trained
      one is a square, to the left of the dense network and nearly as high. That is what depth
      pruning is for.`}]}
];

function setPredictor(source, budget) {
  $('map-source').selectedIndex = source;
  $('map-budget').value = budget;
  return drawPredictor();
}

let tour = null, tourStep = 0, tourBusy = false;

function makeTours() {
  $('tours').append(...TOURS.map(t => el('button', {type: 'button', class: 'tour-button',
    onclick: () => startTour(t)}, el('b', {}, t.name), el('span', {}, t.about))));
  $('tour-close').onclick = endTour;
  $('tour-back').onclick = () => goStep(tourStep - 1);
  $('tour-next').onclick = () => goStep(tourStep + 1);
  document.addEventListener('keydown', e => {
    if (e.key === 'Escape' && tour) endTour();
  });
}

function startTour(t) {
  if (busyWith()) return;
  tour = t;
  $('tour').hidden = false;
  goStep(0);
  $('tour-next').focus();
}

function endTour() {
  tour = null;
  $('tour').hidden = true;
  mark(null);
}

function mark(id) {
  document.querySelectorAll('.pointed').forEach(e => e.classList.remove('pointed'));
  if (!id) return;
  $(id).classList.add('pointed');
  const box = $(id).getBoundingClientRect(), top = $('figures').offsetHeight;
  if (id !== 'figures' && (box.top < top || box.top > innerHeight * 0.5))
    scrollTo({top: scrollY + box.top - top - 24, behavior: calm() ? 'auto' : 'smooth'});
}
const calm = () => matchMedia('(prefers-reduced-motion: reduce)').matches;

async function goStep(n) {
  if (!tour || tourBusy) return;
  if (n >= tour.steps.length || n < 0) {
    endTour();
    return;
  }
  const t = tour, step = t.steps[n];
  tourStep = n, tourBusy = true;
  $('tour-where').textContent = `${t.name}, ${n + 1} of ${t.steps.length}`;
  $('tour-text').textContent = '\u2026';
  $('tour-back').disabled = n === 0;
  $('tour-next').textContent = n + 1 === t.steps.length ? 'Done' : 'Next';
  mark(step.at);
  try {
    if (step.focus) setFocus(...step.focus);
    if (step.act) await step.act();
  } finally {
    tourBusy = false;
  }
  if (tour !== t) return;
  $('tour-text').innerHTML = `<p>${step.text()}</p>`;
  mark(step.at);
}

// ---- Exercises: the page holds a digest of each answer, not the answer ----
const WEEK = [
  {day: 'Monday: count', tasks: [
    {id: 'mon1', ask: 'A picture has 32 \u00d7 32 pixels, a patch 8 \u00d7 8. How many tokens ' +
      'flow through the network?'},
    {id: 'mon2', ask: 'How many numbers do all attention maps of one picture hold together: 12 ' +
      'blocks, 2 heads?'},
    {id: 'mon3', ask: 'Remove one attention layer. How many parameters are gone? Derive the ' +
      'number from the width 64 before you click.'}]},
  {day: 'Tuesday: look', tasks: [
    {id: 'tue1', ask: 'What does the dense network take test image 1 for?'},
    {id: 'tue2', ask: 'Test image 0, block 11, head 0: in which patch does the class token look ' +
      'most? Row and column, such as 2,3.'},
    {id: 'tue3', ask: 'Test image 0: after which block is the answer so far right for the last ' +
      'time?'}]},
  {day: 'Wednesday: remove', tasks: [
    {id: 'wed1', ask: 'Only the GELU of block 8 goes. How many of the 300 test images are still ' +
      'right?'},
    {id: 'wed2', ask: 'Only attention in block 0 goes. How many more test images are right when ' +
      'it leaves x than when it leaves x + LN(x)?'},
    {id: 'wed3', ask: 'One linear alone is refused. How many numbers per token does the second ' +
      'linear expect?'}]},
  {day: 'Thursday: fuse and fit', tasks: [
    {id: 'thu1', ask: 'All twelve GELUs go and all MLPs are fused. How many parameters are left? ' +
      'Compute it, then look.'},
    {id: 'thu2', ask: 'The GELUs of blocks 1 and 2 go, fitted maps take their place. How many of ' +
      'the 300 test images are right?'},
    {id: 'thu3', ask: 'From the dense network, which layer does the greedy choice take first? ' +
      'Such as attention 3, or gelu 3.'}]},
  {day: 'Friday: choose', tasks: [
    {id: 'fri1', ask: 'The paper\u2019s 22 points, eight layers: how many attention layers does ' +
      'the predictor remove?'},
    {id: 'fri2', ask: 'The same points, degree 1 chosen by hand, eight layers: how many ' +
      'attention layers now?'},
    {id: 'fri3', ask: 'All attention layers leave a skip. How many million MACs remain, to two ' +
      'decimals?'}]}
];

// FNV-1a over "id:answer", as bundle.c computes it.
function digest(text) {
  let h = 2166136261;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 16777619);
  return h >>> 0;
}

// Numbers without separators, signs of per cent and trailing zeros; words in small letters.
function canonical(text) {
  const t = text.trim().toLowerCase().replace(/\s+/g, ' ');
  if (/^\d+ ?, ?\d$/.test(t)) return t.replace(/ /g, ''); // row,column
  const n = t.replace(/[ ,%]|million|m$/g, '');
  return n !== '' && Number.isFinite(Number(n)) ? String(Number(n)) : t;
}

function makeWeek() {
  $('week').append(...WEEK.map((d, i) => el('details', {open: i === 0},
    el('summary', {}, d.day), el('ol', {}, ...d.tasks.map(task => {
      const verdict = el('output', {class: 'verdict-text'});
      const input = el('input', {id: `answer-${task.id}`, autocomplete: 'off', size: 14});
      const check = e => {
        e.preventDefault();
        if (!input.value.trim()) return;
        const said = digest(`${task.id}:${canonical(input.value)}`);
        const right = facts.answers[task.id].includes(said);
        verdict.textContent = right ? '\u2713 right' : '\u2717 not yet';
        verdict.className = `verdict-text ${right ? 'right' : 'wrong'}`;
      };
      return el('li', {}, el('form', {onsubmit: check},
        el('label', {for: `answer-${task.id}`}, task.ask),
        el('span', {class: 'row'}, input, el('button', {type: 'submit'}, 'Check'), verdict)));
    })))), el('details', {}, el('summary', {}, 'Saturday: a project without an answer sheet'),
    el('p', {}, 'Find the best network of at most 8.00 million MACs that a minute of training ' +
       'gives. Bring the saved file, the link, and the Pareto plot; say which of your ' +
       'comparisons lie within the bars, and what you would measure next.')));
}
