// Requests: the receipts as they come, filtered; each leads to its picture.

import { json } from './api.js';
import { debounce, h, replace, write } from './dom.js';
import { count, several } from './format.js';
import { nextRequest } from './next.js';
import { keyOf, receiptTable } from './requests-table.js';
import { change } from './router.js';
import { follow } from './stream.js';

/** Receipts that the page keeps, and those it shows. */
const MAX_KEPT = 500;
const MAX_SHOWN = 200;
/** Least time between two drawings, in milliseconds. */
const DRAW_INTERVAL = 250;
const STATUSES = ['', '2xx', '4xx', '5xx', '429', '503', '504'];

export function requests({ root, query, store, announce, signal }) {
  let asked = readQuery(query);
  let kept = [];
  let known = new Set();
  let lost = 0;
  let turn = null;
  let isHeld = false;
  const list = receiptTable();
  const found = h('p', { class: 'found' });
  const failure = h('div');
  const fields = fieldsOf(asked, set);
  const hold = h('button', { type: 'button', 'aria-pressed': false, onclick: () => pause(!isHeld) }, 'Pause the list');
  const clear = h('button', { type: 'button', onclick: () => set({ status: '', flag: '', route: '', model: '' }, true) }, 'Clear filters');
  const tools = h('div', { class: 'tools' }, fields.elements, clear, hold, found);
  const next = nextRequest(signal, announce);
  replace(root, h('h1', { class: 'unseen' }, 'Requests'),
    tools, next, failure, list.element);

  function set(changes, isAll = false) {
    asked = { ...asked, ...changes };
    change(asked);
    if (isAll) fields.fill(asked);
    start(true);
  }

  function pause(held) {
    isHeld = held;
    hold.setAttribute('aria-pressed', held);
    write(hold, held ? 'Go on' : 'Pause the list');
    if (!held) draw();
    else say();
  }

  async function start(isAsked) {
    turn?.abort();
    turn = new AbortController();
    const both = AbortSignal.any([turn.signal, signal]);
    clear.disabled = !Object.values(asked).some(Boolean);
    kept = [];
    known.clear();
    lost = 0;
    let got;
    try {
      got = await json('receipts', { query: { ...asked, limit: MAX_SHOWN }, signal: both });
      kept = got.receipts;
      known = new Set(kept.map(keyOf));
      replace(failure);
    } catch (error) {
      if (error.name === 'AbortError') return;
      return refuse(error);
    }
    draw();
    if (isAsked) announce(`${several(kept.length, 'request')} found`);
    follow('receipts/stream', { query: asked, signal: both, from: got.last, onState: (error) => (error ? refuse(error) : replace(failure)), onEvent: take });
  }

  function take(name, data) {
    if (name === 'lost') lost += JSON.parse(data).lost;
    if (name !== 'receipt') return;
    const receipt = JSON.parse(data);
    if (known.has(keyOf(receipt))) return;
    known.add(keyOf(receipt));
    kept.unshift(receipt);
    while (kept.length > MAX_KEPT) known.delete(keyOf(kept.pop()));
    later();
  }

  let timer = null;
  function later() {
    timer ??= setTimeout(() => {
      timer = null;
      if (!isHeld && !store.isPaused) draw();
      else say();
    }, DRAW_INTERVAL);
  }
  signal.addEventListener('abort', () => clearTimeout(timer));

  function draw() {
    list.update(kept.slice(0, MAX_SHOWN));
    say();
  }

  function say() {
    const more = lost ? `, ${count(lost)} let go of before this page saw them` : '';
    write(found, `${isHeld || store.isPaused ? 'held still' : 'newest first'}: ${several(Math.min(kept.length, MAX_SHOWN), 'request')}${more}`);
  }

  function refuse(error) {
    const words = { missing: 'This process has no receipts: they are of gateways, and --receipts 0 switches them off.', busy: 'Sixteen pages follow the requests already. This one joins as soon as one leaves.' }[error.kind] ?? error.message;
    for (const part of [tools, next, list.element]) part.hidden = error.kind === 'missing';
    replace(failure, h('div', { class: 'notice' }, h('p', {}, h('strong', {}, words)), error.kind !== 'busy' && error.detail && h('p', { class: 'note' }, error.detail)));
  }

  store.listen(signal, () => store.isPaused || later());
  start(false);
  return {
    change(next) {
      asked = readQuery(next);
      fields.fill(asked);
      start(false);
    },
  };
}

const readQuery = ({ status = '', flag = '', route = '', model = '' }) => ({ status, flag, route, model });

function fieldsOf(asked, set) {
  const status = h('select', { id: 'status', onchange: () => set({ status: status.value }) }, STATUSES.map((value) => h('option', { value }, value || 'any')));
  const texts = ['model', 'route', 'flag'].map((id) => {
    const input = h('input', { type: 'search', id, size: id === 'flag' ? 6 : 14, autocomplete: 'off', spellcheck: 'false', placeholder: { flag: 'UH', route: 'part of a name', model: 'exact name' }[id] });
    input.addEventListener('input', debounce(250, () => set({ [id]: id === 'flag' ? input.value.trim().toUpperCase() : input.value.trim() })));
    return [id, input];
  });
  function fill(now) {
    if (now.status && !STATUSES.includes(now.status)) status.append(h('option', { value: now.status }, now.status));
    status.value = now.status;
    for (const [id, input] of texts) if (document.activeElement !== input || !now[id]) input.value = now[id];
  }
  fill(asked);
  const labelled = (id, name, input) => h('span', { class: 'row field' }, h('label', { for: id }, name), input);
  return { fill, elements: [...texts.slice(0, 2).map(([id, input]) => labelled(id, id === 'model' ? 'Model' : 'Route', input)), labelled('status', 'Status', status), labelled('flag', 'Flag', texts[2][1])] };
}
