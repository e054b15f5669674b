// Routes, page by page: what they take, where it goes, their conditions, what of them was ignored; and the other objects.

import { json, repeat } from './api.js';
import { conditionChips, conditionList, conditionText } from './conditions.js';
import { debounce, h, replace, write } from './dom.js';
import { NONE, awayText, count, percent, seconds, several } from './format.js';
import { change } from './router.js';
import { table } from './table.js';

const PAGE = 100;
const INTERVAL = 5000;
const KINDS = { routes: ['routes', 'route'], objects: ['objects', 'object'] };

export function routes({ root, query, announce, signal }) {
  let asked = readQuery(query);
  let answer = null;
  let turn = null;
  const search = h('input', { type: 'search', id: 'search', value: asked.search, placeholder: 'name, host, model, backend', autocomplete: 'off', spellcheck: 'false' });
  const problems = h('input', { type: 'checkbox', id: 'problems' });
  problems.checked = Boolean(asked.problems);
  const found = h('p', { class: 'found' });
  const failure = h('div');
  const place = h('div');
  const tabs = Object.entries({ routes: 'Routes', objects: 'Other objects' }).map(([of, name]) => h('button', { type: 'button', onclick: () => set({ of, offset: '0', open: '' }) }, name));
  const pages = [['Previous', -PAGE], ['Next', PAGE]].map(([name, by]) => h('button', { type: 'button', onclick: () => set({ offset: String(Math.max(0, Number(asked.offset) + by)) }) }, name));
  const tools = h('div', { class: 'tools' }, h('div', { class: 'switch', role: 'group', 'aria-label': 'Kind of objects' }, tabs),
      h('span', { class: 'row field' }, h('label', { for: 'search' }, 'Search'), search), h('span', { class: 'row' }, problems, h('label', { for: 'problems' }, 'Only with problems')), found,
      h('span', { class: 'row pages' }, pages));
  replace(root, h('h1', { class: 'unseen' }, 'Routes'), tools, failure, place);

  const tables = {
    routes: routeTable(() => asked.open, (name) => set({ open: name === asked.open ? '' : name })),
    objects: objectTable(() => asked.open, (name) => set({ open: name === asked.open ? '' : name })),
  };

  function set(changes) {
    const before = asked;
    asked = { ...asked, ...changes };
    const { of, ...rest } = asked;
    change({ ...rest, of: of === 'routes' ? '' : of, offset: Number(rest.offset) ? rest.offset : '' });
    const isSame = ['of', 'search', 'problems', 'offset'].every((name) => before[name] === asked[name]);
    if (isSame) return draw();
    if (before.of !== asked.of) answer = null;
    load(true);
  }

  async function load(isAsked) {
    turn?.abort();
    turn = new AbortController();
    const { of, search: text, problems: only, offset } = asked;
    try {
      const got = await json(of, { query: { search: text, problems: only && 1, offset, limit: PAGE }, signal: AbortSignal.any([turn.signal, signal]) });
      // An address may name a page beyond the last.
      if (!got[of]?.length && got.total > 0 && Number(offset) > 0) return set({ offset: String(Math.floor((got.total - 1) / PAGE) * PAGE) });
      answer = got;
      replace(failure);
      draw();
      if (isAsked) announce(found.textContent);
    } catch (error) {
      if (error.name === 'AbortError') return;
      for (const part of [tools, place]) part.hidden = error.kind === 'missing';
      replace(failure, h('div', { class: 'notice' }, h('p', {}, h('strong', {}, error.kind === 'missing' ? 'This process has no routes: they are seen at a gateway or the controller.' : error.message)), error.kind !== 'missing' && error.detail && h('p', { class: 'note' }, error.detail)));
    }
  }

  function draw() {
    const shown = tables[asked.of] ?? tables.routes;
    if (place.firstChild !== shown.element) replace(place, shown.element);
    tabs.forEach((tab, at) => tab.setAttribute('aria-pressed', Object.keys(KINDS)[at] === asked.of));
    const rows = answer?.[asked.of] ?? [];
    const offset = Number(asked.offset);
    const total = answer?.total ?? rows.length;
    write(found, !answer ? 'asking' : total > rows.length ? `${count(offset + 1)} to ${count(offset + rows.length)} of ${count(total)} ${asked.of}` : several(total, KINDS[asked.of][1], asked.of) + awayText(answer.away));
    pages[0].disabled = offset === 0;
    pages[1].disabled = !answer || answer.next === null || answer.next === undefined;
    if (answer) shown.update(rows);
  }

  search.addEventListener('input', debounce(200, () => set({ search: search.value.trim(), offset: '0' })));
  problems.addEventListener('change', () => set({ problems: problems.checked ? '1' : '', offset: '0' }));
  draw();
  repeat(INTERVAL, signal, () => load(false));
  return {
    change(next) {
      asked = readQuery(next);
      search.value = asked.search;
      problems.checked = Boolean(asked.problems);
      answer = null;
      load(false);
    },
  };
}

/** An address as the view takes it: people write addresses, too. */
function readQuery({ of, search = '', problems = '', offset, open = '' }) {
  return { of: of === 'objects' ? of : 'routes', search, problems, offset: String(Math.max(0, parseInt(offset, 10) || 0)), open };
}

const keyOf = (row) => `${row.kind} ${row.name}`;
const isBare = () => h('div', {}, h('p', {}, h('strong', {}, 'Nothing here.')), h('p', {}, 'If the search finds nothing, shorten it. If there are no objects at all, apply a Gateway and an HTTPRoute: docs/guides/standalone.md begins with both.'));

function opener(row, open, toggle) {
  const button = h('button', { type: 'button', class: 'opens plain', 'aria-expanded': open() === keyOf(row), onclick: () => toggle(keyOf(row)) }, row.name);
  return [button, h('span', { class: 'note' }, row.kind)];
}

/** The row below an open one; kept while its text stays. */
function detailRow(width, isOpen, row, old, text, content) {
  if (!isOpen) return null;
  if (old?.dataset.text === text) return old;
  const made = h('tr', { class: 'detail' }, h('td', { colspan: width }, content()));
  made.dataset.text = text;
  return made;
}

const sum = (rules, read) => rules.reduce((total, rule) => total + (read(rule) || 0), 0);
const mean = (rules) => {
  const number = sum(rules, (rule) => rule.ttft?.count);
  return number ? sum(rules, (rule) => rule.ttft?.sum) / number : null;
};
const some = (texts, kind = '') => texts.length > 0 && h('span', { class: `line ${kind}` }, texts[0], texts.length > 1 && h('span', { class: 'more' }, `and ${texts.length - 1} more`));
const all = (row, read) => [...new Set(row.rules.flatMap(read))];

function routeTable(open, toggle) {
  const columns = [
    { id: 'route', name: 'Route', head: true, kind: 'text', text: (row) => `${keyOf(row)} ${open() === keyOf(row)}`, node: (row) => opener(row, open, toggle) },
    { id: 'takes', name: 'Takes', wide: true, kind: 'text', text: (row) => all(row, (rule) => [...(rule.hostnames ?? []), ...rule.matches]).join('\n'), node: (row) => [some(all(row, (rule) => rule.matches)), some(all(row, (rule) => rule.hostnames ?? []), 'note')] },
    { id: 'to', name: 'Sends to', wide: true, kind: 'text', text: (row) => all(row, (rule) => rule.backends).join('\n'), node: (row) => some(all(row, (rule) => rule.backends)) },
    { id: 'conditions', name: 'Conditions', text: (row) => conditionText(row.conditions, row.ignored), node: (row) => conditionChips(row.conditions, row.ignored) },
    { id: 'requests', name: 'Requests', number: true, text: (row) => count(sum(row.rules, (rule) => rule.requests)) },
    { id: 'failed', name: 'Failed', title: 'status of 500 or above', number: true, text: (row) => (sum(row.rules, (rule) => rule.requests) ? percent(sum(row.rules, (rule) => rule.errors) / sum(row.rules, (rule) => rule.requests)) : NONE) },
    { id: 'ttft', name: 'First token', title: 'mean since start', number: true, text: (row) => seconds(mean(row.rules)) },
  ];
  const detail = (row, old) => detailRow(columns.length, open() === keyOf(row), row, old, JSON.stringify(row), () => [
    h('div', { class: 'rules' }, row.rules.map((rule) => h('section', {}, h('h2', {}, rule.name), h('dl', { class: 'facts' },
      fact('Hosts', rule.hostnames), fact('Matches', rule.matches), fact('Backends', rule.backends), fact('Filters', rule.filters), fact('Policies', rule.policies),
      fact('Requests', [`${count(rule.requests)} since start: ${count(rule.errors)} failed (5xx), ${count(rule.clientErrors)} refused (4xx)`, rule.ttft?.count > 0 && `first token after ${seconds(mean([rule]))} on average`]))))),
    conditionList(row.conditions, row.ignored),
  ]);
  return table({ label: 'Routes', key: keyOf, columns, detail, empty: isBare, onOpen: (row) => toggle(keyOf(row)), rowClass: (row) => (open() === keyOf(row) ? 'is-open' : '') });
}

const fact = (name, texts) => texts?.length > 0 && h('div', {}, h('dt', {}, name), texts.map((text) => text && h('dd', {}, text)));

function objectTable(open, toggle) {
  const columns = [
    { id: 'object', name: 'Object', head: true, kind: 'text', text: (row) => `${keyOf(row)} ${open() === keyOf(row)}`, node: (row) => opener(row, open, toggle) },
    { id: 'conditions', name: 'Conditions', text: (row) => conditionText(row.conditions, row.ignored), node: (row) => conditionChips(row.conditions, row.ignored) },
  ];
  const detail = (row, old) => detailRow(columns.length, open() === keyOf(row), row, old, JSON.stringify(row), () => (row.conditions.length || row.ignored.length ? conditionList(row.conditions, row.ignored) : 'Nothing to say of it.'));
  return table({ label: 'Other objects', key: keyOf, columns, detail, empty: isBare, onOpen: (row) => toggle(keyOf(row)), rowClass: (row) => (open() === keyOf(row) ? 'is-open' : '') });
}
