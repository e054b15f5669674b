// Pools: an engine a row, predicted against actual cache hits, and a heat map over time.

import { bar, h, replace, write } from './dom.js';
import { count, percent, several, short } from './format.js';
import { heatMap } from './heat.js';
import { before } from './rates.js';
import { change } from './router.js';
import { table } from './table.js';

const MINUTE = 60;
const share = (part, whole) => (whole > 0 ? part / whole : null);

/** Figures of the heat map: name, value of a cell, how it is written, value of the deepest colour. */
const FIGURES = {
  kv: ['KV cache', (now) => now.kv, percent, 1],
  waiting: ['Waiting', (now) => now.waiting, short],
  running: ['Running', (now) => now.running, short],
  picks: ['Picks', (now, old) => (old ? Math.max(0, now.requests - old.requests) : null), (value) => `${short(value)} in 5 s`],
};

export function pools({ root, query, store, signal }) {
  const asked = readQuery(query);
  const places = new Map();
  const list = h('div');
  const chooser = h('select', { id: 'pool', onchange: () => set({ pool: chooser.value }) });
  const figures = Object.entries(FIGURES).map(([id, [name]]) => h('button', { type: 'button', onclick: () => set({ figure: id }) }, name));
  const tools = h('div', { class: 'tools' }, h('span', { class: 'row field' }, h('label', { for: 'pool' }, 'Pool'), chooser), h('span', { class: 'row' }, h('span', { class: 'label', id: 'figure-name' }, 'Heat map of'), h('div', { class: 'switch', role: 'group', 'aria-labelledby': 'figure-name' }, figures)));
  replace(root, h('h1', { class: 'unseen' }, 'Pools'), tools, list);

  function set(changes) {
    Object.assign(asked, changes);
    change({ ...asked, figure: asked.figure === 'kv' ? '' : asked.figure });
    draw();
  }

  function draw() {
    const { last, samples } = store;
    if (!last) return;
    const known = last.pools ?? [];
    if (chooser.options.length !== known.length + 1) replace(chooser, h('option', { value: '' }, `all ${known.length}`), known.map((pool) => h('option', {}, pool.name)));
    chooser.value = asked.pool;
    Object.keys(FIGURES).forEach((id, at) => figures[at].setAttribute('aria-pressed', id === asked.figure));
    tools.hidden = !known.length;
    const shown = known.filter((pool) => !asked.pool || pool.name === asked.pool);
    const past = before(samples, samples.length - 1, MINUTE);
    for (const [name, place] of places) {
      if (shown.some((pool) => pool.name === name)) continue;
      place.element.remove();
      places.delete(name);
    }
    for (const pool of shown) {
      if (!places.has(pool.name)) {
        const place = placeOf(pool, asked, set, signal);
        places.set(pool.name, place);
        list.append(place.element);
      }
      places.get(pool.name).update(pool, past?.pools?.find((each) => each.name === pool.name), samples, asked.figure);
    }
    if (!last.pools) replace(list, h('div', { class: 'empty' }, h('p', {}, h('strong', {}, 'This process knows no pools. '), last.unknown && `Not known here: ${last.unknown}`)));
    else if (!shown.length) replace(list, h('div', { class: 'empty' }, h('p', {}, h('strong', {}, known.length ? 'No pool of this name.' : 'There is no InferencePool.')), h('p', {}, 'An InferencePool is a set of engines among which Pailou picks by load and cache. docs/concepts/endpoint-selection.md tells more; examples/prefix-cache.yaml has one.')));
    else list.querySelector(':scope > .empty')?.remove();
  }

  store.listen(signal, draw);
  return {
    change(next) {
      Object.assign(asked, readQuery(next));
      draw();
    },
  };
}

const readQuery = ({ pool = '', figure, sort = '' }) => ({ pool, figure: Object.hasOwn(FIGURES, figure) ? figure : 'kv', sort });

function placeOf(pool, asked, set, signal) {
  const summary = h('p', { class: 'summary' });
  const heats = new Map();
  const heatPlace = h('div', {});
  const [by, way] = asked.sort.split('.');
  const engines = engineTable(pool.name, { by: by || 'name', down: way === 'down' }, (order) => set({ sort: order.by === 'name' && !order.down ? '' : `${order.by}.${order.down ? 'down' : 'up'}` }));
  const omitted = h('p', { class: 'note' });
  const element = h('section', { class: 'pool' }, h('h2', {}, pool.name), summary, h('div', { class: 'pool-parts' }, h('div', {}, engines.element, omitted), heatPlace));
  return {
    element,
    update(now, past, samples, figure) {
      write(summary, summaryOf(now, past));
      const old = new Map(past?.endpoints.map((each) => [each.address, each]));
      const rows = now.endpoints.map((endpoint) => ({ endpoint, ...recent(endpoint, old.get(endpoint.address)) }));
      const picks = rows.reduce((total, row) => total + (row.picks ?? 0), 0);
      for (const row of rows) row.share = row.picks === null ? null : share(row.picks, picks);
      engines.update(rows);
      write(omitted, now.endpointsOmitted ? `${several(now.endpointsOmitted, 'engine')} more than are shown` : '');
      const [, read, format, top] = FIGURES[figure];
      if (!heats.has(figure)) heats.set(figure, heatMap({ label: `${FIGURES[figure][0]} of ${pool.name}`, format, signal }));
      const map = heats.get(figure);
      if (heatPlace.firstChild !== map.element) replace(heatPlace, map.element);
      map.update(samples, now, read, top);
    },
  };
}

function summaryOf(pool, past) {
  const ready = pool.endpoints.filter((endpoint) => endpoint.state === 'ready').length;
  const cached = past ? pool.cachedTokens - past.cachedTokens : null;
  const predicted = past ? pool.predictedTokens - past.predictedTokens : null;
  return [
    `${ready} of ${several(pool.endpoints.length + (pool.endpointsOmitted ?? 0), 'engine')} ready`,
    `${percent(pool.saturation)} full`,
    pool.queue && `${pool.queue.waiting ? several(pool.queue.waiting, 'request') : 'nothing'} waiting here`,
    ...(pool.queue?.levels ?? []).map(waitingOf),
    cached === null ? '' : `last minute: ${count(predicted)} prompt tokens expected in caches, ${count(cached)} found`,
  ].filter(Boolean).join(' · ');
}

function waitingOf({ priority, requests, flows, flowsOmitted }) {
  const names = flows.map((flow) => `${flow.name ?? 'several'} ${flow.requests}`);
  return `priority ${priority}: ${requests} (${names.join(', ')}${flowsOmitted ? `, ${flowsOmitted} more` : ''})`;
}

function recent(now, old) {
  const grown = (name) => (old ? Math.max(0, now[name] - old[name]) : null);
  return { picks: grown('requests'), predicted: grown('predictedTokens'), cached: grown('cachedTokens') };
}

const withBar = (read, text, kind = '') => (row) => [h('span', {}, text(row)), bar(read(row), typeof kind === 'function' ? kind(row) : kind)];
const STATES = { ready: ['✓', 'good'], failing: ['!', 'open'], ejected: ['✕', 'bad'], unhealthy: ['✕', 'bad'], stale: ['?', 'open'] };

function stateOf({ endpoint }) {
  const [sign, how] = STATES[endpoint.state] ?? ['?', 'open'];
  return [h('span', { class: `chip ${how}` }, h('span', { 'aria-hidden': 'true' }, sign), ` ${endpoint.state}`), endpoint.problem && h('span', { class: 'note' }, endpoint.problem)];
}

function engineTable(pool, sort, onSort) {
  const figure = (id, name, format = short, more = {}) => ({ id, name, number: true, value: ({ endpoint }) => endpoint[id], text: ({ endpoint }) => format(endpoint[id]), ...more });
  const kv = ({ endpoint }) => endpoint.kv;
  return table({
    label: `Engines of ${pool}`, key: ({ endpoint }) => `${endpoint.name} ${endpoint.address}`, sort, onSort,
    empty: h('p', {}, 'No engine: no pod matches the selector of the pool, or none is ready.'),
    columns: [
      { id: 'name', name: 'Engine', head: true, kind: 'keep', value: ({ endpoint }) => endpoint.name, text: ({ endpoint }) => `${endpoint.name} ${endpoint.address} ${endpoint.role}`, node: ({ endpoint }) => [endpoint.name, h('span', { class: 'note' }, [endpoint.address, endpoint.role].filter(Boolean).join(', '))] },
      { id: 'state', name: 'State', kind: 'state-cell', value: ({ endpoint }) => endpoint.state, text: ({ endpoint }) => `${endpoint.state} ${endpoint.problem ?? ''}`, node: stateOf },
      figure('waiting', 'Waiting'), figure('running', 'Running'),
      figure('kv', 'KV cache', percent, { kind: 'barred', node: withBar(kv, (row) => percent(kv(row)), (row) => (kv(row) > 0.9 ? 'high' : '')) }),
      figure('inFlight', 'In flight', count, { wide: true, title: 'requests of this gateway under way at the engine' }),
      { id: 'share', name: 'Picks', title: 'share of the last minute', number: true, kind: 'barred', value: (row) => row.share, text: (row) => `${percent(row.share)} ${row.picks}`, node: withBar((row) => row.share, (row) => percent(row.share)) },
      { id: 'predicted', name: 'Hits expected', title: 'prompt tokens of the last minute', number: true, value: (row) => row.predicted, text: (row) => count(row.predicted) },
      { id: 'cached', name: 'Hits found', title: 'prompt tokens of the last minute', number: true, kind: 'barred', value: (row) => row.cached, text: (row) => `${count(row.cached)} ${row.predicted}`, node: withBar((row) => share(row.cached, Math.max(row.predicted, row.cached)), (row) => count(row.cached)) },
    ],
  });
}
