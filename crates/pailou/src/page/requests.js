// Requests: the receipts as they come, filtered; each leads to its picture.

import { json, manyViewers } from './api.js';
import { debounce, h, replace, throttle, write } from './dom.js';
import { awayText, count, several } from './format.js';
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
  let kept = new KeptReceipts();
  let turn = null;
  let isHeld = false;
  let away = [];
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
    kept = new KeptReceipts();
    const got = await json('receipts', { query: { ...asked, limit: MAX_SHOWN }, signal: both }).catch((error) => (error.name === 'AbortError' ? null : refuse(error)));
    if (!got) return;
    kept = new KeptReceipts(got.receipts);
    away = got.away;
    replace(failure);
    draw();
    if (isAsked) announce(`${several(kept.list.length, 'request')} found`);
    follow('receipts/stream', { query: asked, signal: both, from: got.last, onState: (error) => (error ? refuse(error) : replace(failure)), onEvent: take });
  }

  function take(name, data) {
    if (name === 'lost') kept.lost += JSON.parse(data).lost;
    if (name === 'receipt' && kept.add(JSON.parse(data))) later();
  }

  const later = throttle(DRAW_INTERVAL, signal, () => (isHeld || store.isPaused ? say() : draw()));

  function draw() {
    list.update(kept.list.slice(0, MAX_SHOWN));
    say();
  }

  function say() {
    const more = kept.lost ? `, ${count(kept.lost)} let go of before this page saw them` : '';
    write(found, `${isHeld || store.isPaused ? 'held still' : 'newest first'}: ${several(Math.min(kept.list.length, MAX_SHOWN), 'request')}${more}${awayText(away)}`);
  }

  function refuse(error) {
    for (const part of [tools, next, list.element]) part.hidden = error.kind === 'missing';
    replace(failure, noticeOf(error));
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

/** Receipts of a list, the newest first, each once; `lost` counts those that the gateway let go of. */
class KeptReceipts {
  lost = 0;
  #known;

  constructor(list = []) {
    this.list = list;
    this.#known = new Set(list.map(keyOf));
  }

  /** Adds a receipt; false where it is there already. */
  add(receipt) {
    if (this.#known.has(keyOf(receipt))) return false;
    this.#known.add(keyOf(receipt));
    this.list.unshift(receipt);
    while (this.list.length > MAX_KEPT) this.#known.delete(keyOf(this.list.pop()));
    return true;
  }
}

function noticeOf(error) {
  const words = { missing: 'This process has no receipts: they are of gateways, and --receipts 0 switches them off.', busy: /already/.test(error.detail) && manyViewers('follow the requests') }[error.kind] || error.message;
  return h('div', { class: 'notice' }, h('p', {}, h('strong', {}, words)), words === error.message && error.detail && h('p', { class: 'note' }, error.detail));
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
