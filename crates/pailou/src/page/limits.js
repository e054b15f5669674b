// Limits: who has spent what of which window.

import { json, repeat } from './api.js';
import { bar, debounce, h, replace, write } from './dom.js';
import { awayText, count, percent, seconds, several } from './format.js';
import { change } from './router.js';
import { table } from './table.js';

const PAGE = 200;
const INTERVAL = 2000;
const used = (row) => (row.limit > 0 ? (row.spent + row.reserved) / row.limit : 1);

export function limits({ root, query, announce, signal }) {
  let asked = readQuery(query);
  let turn = null;
  const inputs = [['rule', 'Rule'], ['client', 'Client']].map(([id, name]) => {
    const input = h('input', { type: 'search', id, value: asked[id], placeholder: 'part of it', autocomplete: 'off', spellcheck: 'false' });
    input.addEventListener('input', debounce(200, () => set({ [id]: input.value.trim(), offset: '0' })));
    return { id, input, element: h('span', { class: 'row field' }, h('label', { for: id }, name), input) };
  });
  const found = h('p', { class: 'found' });
  const failure = h('div');
  const [by, way] = asked.sort.split('.');
  const list = counterTable({ by: by || 'used', down: way !== 'up' }, (order) => { asked.sort = `${order.by}.${order.down ? 'down' : 'up'}`; change(asked); });
  const pages = [['Previous', -PAGE], ['Next', PAGE]].map(([name, step]) => h('button', { type: 'button', onclick: () => set({ offset: String(Math.max(0, Number(asked.offset) + step)) }) }, name));
  const paging = h('span', { class: 'row pages' }, pages);
  const tools = h('div', { class: 'tools' }, inputs.map((each) => each.element), found, paging);
  replace(root, h('h1', { class: 'unseen' }, 'Limits'), tools, failure, list.element);

  function set(changes) {
    asked = { ...asked, ...changes };
    change({ ...asked, offset: Number(asked.offset) ? asked.offset : '' });
    load(true);
  }

  async function load(isAsked) {
    turn?.abort();
    turn = new AbortController();
    const { rule, client, offset } = asked;
    try {
      const answer = await json('limits', { query: { rule, client, offset, limit: PAGE }, signal: AbortSignal.any([turn.signal, signal]) });
      if (!answer.counters.length && Number(offset) > 0) return set({ offset: '0' });
      replace(failure);
      list.update(answer.counters);
      write(found, several(answer.counters.length, 'counter') + (answer.next === null ? '' : ' on this page') + awayText(answer.away));
      paging.hidden = answer.next === null && Number(offset) === 0;
      pages[0].disabled = Number(offset) === 0;
      pages[1].disabled = answer.next === null;
      if (isAsked) announce(found.textContent);
    } catch (error) {
      if (error.name === 'AbortError') return;
      for (const part of [tools, list.element]) part.hidden = error.kind === 'missing';
      replace(failure, h('div', { class: 'notice' }, h('p', {}, h('strong', {}, error.kind === 'missing' ? 'This process counts no limits: gateways do.' : error.message)), error.detail && h('p', { class: 'note' }, error.detail)));
    }
  }

  repeat(INTERVAL, signal, () => load(false));
  return {
    change(next) {
      asked = readQuery(next);
      for (const { id, input } of inputs) input.value = asked[id];
      load(false);
    },
  };
}

const readQuery = ({ rule = '', client = '', offset, sort = '' }) => ({ rule, client, offset: String(Math.max(0, parseInt(offset, 10) || 0)), sort });

const counterTable = (sort, onSort) => table({
  label: 'Counters of limits', key: (row) => `${row.rule}\n${row.client}\n${row.windowSeconds}\n${row.limit}\n${row.proxy}`, sort, onSort, rowClass: (row) => (used(row) >= 1 ? 'failed-client' : ''),
  empty: () => h('div', {}, h('p', {}, h('strong', {}, 'Nobody has spent anything.')), h('p', {}, 'A counter appears with the first request that a limit counts. A BackendTrafficPolicy with rateLimit sets limits of requests, tokens or money: docs/guides/virtual-keys.md.')),
  columns: [
    { id: 'client', name: 'Client', head: true, value: (row) => row.client, text: (row) => row.client || 'everybody' },
    { id: 'rule', name: 'Rule', value: (row) => row.rule, text: (row) => `${row.rule}${row.shadow ? ' shadow' : ''} ${row.proxy}`, node: (row) => [row.rule, row.proxy && h('span', { class: 'note' }, row.proxy), row.shadow && h('span', { class: 'note' }, 'only counted, not enforced')] },
    { id: 'used', name: 'Used', number: true, kind: 'barred', value: used, text: (row) => percent(used(row)), node: (row) => [h('span', {}, percent(used(row))), bar(used(row), used(row) >= 1 ? 'high' : '')] },
    { id: 'spent', name: 'Spent', number: true, value: (row) => row.spent, text: (row) => count(row.spent) },
    { id: 'reserved', name: 'Reserved', title: 'by requests that are under way', number: true, value: (row) => row.reserved, text: (row) => count(row.reserved) },
    { id: 'limit', name: 'Limit', number: true, value: (row) => row.limit, text: (row) => count(row.limit) },
    { id: 'window', name: 'Window', wide: true, number: true, value: (row) => row.windowSeconds, text: (row) => seconds(row.windowSeconds).replace(/\.\d+ s/, ' s') },
    { id: 'reset', name: 'Resets in', number: true, value: (row) => row.resetsInSeconds, text: (row) => seconds(row.resetsInSeconds).replace(/\.\d+ s/, ' s') },
  ],
});
