// Now: rates, time to first token, errors by their cause.

import { timeChart } from './chart.js';
import { copyButton, h, replace, write } from './dom.js';
import { FAULTS } from './flags.js';
import { NONE, count, dollars, perSecond, percent, seconds, short } from './format.js';
import { countRows, countTable, flagTable, gatewayTable, modelRows, modelTable, proxyTable } from './overview-tables.js';
import { before, failedOf, faultsOf, growth } from './rates.js';
import { link } from './router.js';
import { spark } from './spark.js';

/** Span of the tables' rates, in seconds. */
const MINUTE = 60;
/** Those that are named only where they have failed. */
const RARE = new Set(['endpointPicker', 'externalProcessor']);
const failed = (point, cause) => (point?.requests ? percent(Math.min(1, point[cause] / point.requests)) : NONE);

export function now({ root, store, signal }) {
  const place = h('div');
  let kind = '';
  let update = () => {};
  replace(root, h('h1', { class: 'unseen' }, 'Now'), place);
  store.listen(signal, () => {
    const { last, samples, points } = store;
    if (!last) return;
    const now = `${last.kind} ${Boolean(last.latency)}`;
    if (kind !== now) {
      kind = now;
      update = (last.latency ? gatewayPart : otherPart)(place);
    }
    update(last, points, before(samples, samples.length - 1, MINUTE));
  });
}

/** Gateways of a controller, and their proxies. */
function clusterPart() {
  const [gateways, proxies] = [gatewayTable(), proxyTable()];
  const element = h('div', {}, [['Gateways', gateways], ['Proxies', proxies]].map(([name, list]) => h('section', { class: 'part' }, h('h2', {}, name), list.element)));
  return {
    element,
    update(last) {
      element.hidden = !last.gateways;
      gateways.update(last.gateways ?? []);
      proxies.update(last.proxies ?? []);
    },
  };
}

/** Parts of a gateway, or of all that a controller has. */
function gatewayPart(place) {
  let failures = 0;
  const figures = figuresOf();
  const traffic = timeChart({ label: 'Requests', note: 'a second', format: perSecond, axis: short, lines: [{ id: 'requests', name: 'all', kind: 'all', area: true }] });
  const first = timeChart({ label: 'Time to first token', format: seconds, lines: [{ id: 'p95', name: 'p95', kind: 'slow' }, { id: 'p50', name: 'median', kind: 'all', area: true }] });
  const tokens = timeChart({ label: 'Tokens', note: 'a second', format: perSecond, axis: short, lines: [{ id: 'input', name: 'in', kind: 'slow' }, { id: 'output', name: 'out', kind: 'all', area: true }] });
  const [faults, flags, models, hint] = [faultTable(), flagTable(() => failures), modelTable(), h('div')];
  const cluster = clusterPart();
  replace(place, hint, figures.element, h('section', { class: 'charts' }, traffic.element, first.element, tokens.element), cluster.element,
    h('section', { class: 'columns' }, h('div', {}, h('h2', {}, 'Errors by cause'), faults.element, flags.element), h('div', {}, h('h2', {}, 'Models'), models.element)));
  return (last, points, past) => {
    if (!last.requests.total !== hint.hasChildNodes()) replace(hint, !last.requests.total && firstRequest());
    figures.update(last, points.at(-1));
    cluster.update(last);
    for (const chart of [traffic, first, tokens]) chart.update(points);
    faults.update(last, points, past);
    failures = failedOf(last.requests);
    flags.update(countRows(last.requests.flags).filter(({ number }) => number).map(({ name, number }) => ({ flag: name, number, recent: past ? growth(past, last, (it) => it.requests.flags[name]) : null })));
    models.update(modelRows(past, last));
  };
}

/** Parts of a controller or a picker: what it knows, and who knows the rest. */
function otherPart(place) {
  const [unknown, facts] = [h('p', { class: 'note' }), h('p')];
  const cluster = clusterPart();
  const counts = countTable('Counts', 'Outcome');
  const traffic = timeChart({ label: 'Requests', note: 'a second', format: perSecond, axis: short, lines: [{ id: 'requests', name: 'all', kind: 'all', area: true }] });
  const told = h('h2');
  const parts = [cluster.element, h('section', { class: 'charts' }, traffic.element), h('section', { class: 'part' }, told, counts.element)];
  replace(place, facts, parts, unknown);
  return (last, points) => {
    const { controller, requests } = last;
    write(facts, controller ? `${controller.leader ? 'This replica leads' : controller.leaderName ? `Replica ${controller.leaderName} leads and has the objects; this one shows the proxies alone` : 'No replica is known to lead'} · ${count(controller.objects)} objects` : requests ? `${count(requests.active)} under way · ${count(requests.total)} since start` : '');
    write(told, controller ? 'Statuses written' : 'Requests by outcome');
    parts[1].hidden = !requests;
    cluster.update(last);
    if (requests) traffic.update(points);
    counts.update(countRows(controller ? controller.statusWrites : last.picks));
    write(unknown, last.unknown ? `Not known here: ${last.unknown}` : '');
  };
}

function figuresOf() {
  const list = [
    ['Requests/s', (sample, point) => perSecond(point?.requests)],
    ['Under way', (sample) => count(sample.requests.active)],
    ['Waiting', (sample) => count(sample.queue?.waiting), (sample) => (sample.queue?.waiting ? `oldest ${seconds(sample.queue.oldestWaitSeconds)}` : '')],
    ['First token, median', (sample, point) => seconds(point?.p50), (sample, point) => `p95 ${seconds(point?.p95)}`],
    ['Pailou adds, median', (sample, point) => seconds(point?.own50), (sample, point) => `p95 ${seconds(point?.own95)}`],
    ['Failed', (sample, point) => failed(point, 'failed'), (sample, point) => (point?.client ? `${failed(point, 'client')} by clients` : '')],
    ['Tokens out/s', (sample, point) => perSecond(point?.output)],
    ['Spent since start', (sample) => dollars(sample.costUsd || null)],
  ];
  const cells = list.map(([name, read, more]) => ({ read, more, value: h('dd'), note: h('dd', { class: 'note' }), name }));
  return {
    element: h('dl', { class: 'figures' }, cells.map((cell) => h('div', {}, h('dt', {}, cell.name), cell.value, cell.note))),
    update(sample, point) {
      for (const cell of cells) {
        write(cell.value, cell.read(sample, point));
        write(cell.note, cell.more?.(sample, point) ?? '');
      }
    },
  };
}

function faultTable() {
  const rows = Object.entries(FAULTS).map(([id, [name, words]]) => ({
    id, spark: spark(id, id), recent: h('td', { class: 'number' }), total: h('td', { class: 'number' }),
    name: h('th', { scope: 'row' }, h('span', { class: `fault ${id}` }, name), h('span', { class: 'note' }, words)),
  }));
  for (const row of rows) row.line = h('tr', {}, row.name, h('td', { class: 'wide' }, row.spark.element), row.recent, row.total);
  const head = h('tr', {}, h('th', { scope: 'col' }, 'Cause'), h('th', { scope: 'col', class: 'wide' }, 'Five minutes'), h('th', { scope: 'col', class: 'number' }, 'Last minute'), h('th', { scope: 'col', class: 'number' }, 'Since start'));
  return {
    element: h('table', { class: 'faults' }, h('caption', { class: 'unseen' }, 'Errors by cause'), h('thead', {}, head),
      h('tbody', {}, rows.map((row) => row.line))),
    update(sample, points, past) {
      const top = Math.max(0.1, ...points.flatMap((point) => rows.map((row) => point[row.id])));
      const [fresh, old] = [faultsOf(sample), past && faultsOf(past)];
      for (const row of rows) {
        row.line.hidden = RARE.has(row.id) && !fresh[row.id];
        row.spark.update(points, top);
        write(row.recent, old ? count(growth(old, fresh, (it) => it[row.id])) : NONE);
        write(row.total, count(fresh[row.id]));
      }
    },
  };
}

function firstRequest() {
  const line = `curl http://${location.hostname}:8080/v1/chat/completions -H 'content-type: application/json' -d '{"model": "MODEL", "messages": [{"role": "user", "content": "Hello"}]}'`;
  return h('div', { class: 'notice' }, h('p', {}, h('strong', {}, 'No request has come yet.'), ' Send one, with the port of a listener of yours and a model of yours, or use ', h('a', { href: link('try') }, 'Try'), '.'), h('pre', {}, line), copyButton(line));
}
