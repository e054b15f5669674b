// Tables of Now: flags, models, a controller's Gateways, a picker's outcomes.

import { conditionChips } from './conditions.js';
import { h } from './dom.js';
import { FAULTS, faultOf, flagWords } from './flags.js';
import { NONE, count, perSecond, seconds } from './format.js';
import { growth, rate } from './rates.js';
import { link } from './router.js';
import { table } from './table.js';

/** Flags: rows `{flag, number, recent}`; `failures()` gives the number of requests that failed, with a flag or without. */
export const flagTable = (failures) => table({
  label: 'Errors by flag', key: (row) => row.flag, empty: () => h('p', {}, failures() ? 'No failure has a flag: the statuses are those of backends and filters.' : 'No request has failed since the start.'), sort: { by: 'recent', down: true },
  columns: [
    { id: 'flag', name: 'Flag', head: true, value: (row) => row.flag, text: (row) => row.flag, node: (row) => h('a', { href: link('requests', { query: { flag: row.flag } }) }, row.flag) },
    { id: 'reason', name: 'Reason', text: (row) => flagWords(row.flag) },
    { id: 'cause', name: 'Cause', wide: true, value: (row) => faultOf(row.flag), text: (row) => FAULTS[faultOf(row.flag)][0], node: (row) => h('span', { class: `fault ${faultOf(row.flag)}` }, FAULTS[faultOf(row.flag)][0]) },
    { id: 'recent', name: 'Last minute', number: true, value: (row) => row.recent, text: (row) => count(row.recent) },
    { id: 'number', name: 'Since start', number: true, value: (row) => row.number, text: (row) => count(row.number) },
  ],
});

const nameOf = (model) => `${model.model}\n${model.sent}`;
const otherName = ({ model, sent }) => (sent && sent !== model ? sent : '');

/** Rows of models: what they did between two samples. */
export function modelRows(past, last) {
  const before = new Map(past?.models?.map((each) => [nameOf(each), each]));
  return (last.models ?? []).map((model) => {
    // A model that a full list did not name may have been there; another began after that sample, from 0.
    const old = before.get(nameOf(model)) ?? (past && !past.modelsOmitted ? { ttft: { sum: 0, count: 0 } } : null);
    const grown = (name) => (old ? growth(old, model, (it) => it[name]) : null);
    const rateOf = (name) => (old ? rate(past, last, (it) => (it === last ? model : old)[name]) : null);
    const seen = old ? model.ttft.count - old.ttft.count : 0;
    return { model, requests: rateOf('requests'), refused: grown('clientErrors'), failed: grown('errors'), input: rateOf('inputTokens'), output: rateOf('outputTokens'), ttft: seen > 0 ? (model.ttft.sum - old.ttft.sum) / seen : null };
  });
}

/** Models: rows of [`modelRows`]. */
export const modelTable = () => table({
  label: 'Models in the last minute', key: ({ model }) => nameOf(model), empty: h('p', {}, 'No model has been called yet.'), sort: { by: 'requests', down: true },
  columns: [
    { id: 'model', name: 'Model', head: true, value: (row) => row.model.model, text: ({ model }) => nameOf(model), node: ({ model }) => [h('a', { href: link('requests', { query: { model: model.model } }) }, model.model), otherName(model) && h('span', { class: 'note' }, `sent as ${otherName(model)}`)] },
    { id: 'requests', name: 'Requests/s', number: true, value: (row) => row.requests, text: (row) => perSecond(row.requests) },
    { id: 'refused', name: '4xx', wide: true, number: true, value: (row) => row.refused, text: (row) => count(row.refused) },
    { id: 'failed', name: '5xx', number: true, value: (row) => row.failed, text: (row) => count(row.failed) },
    { id: 'ttft', name: 'First token', title: 'mean of the last minute', number: true, value: (row) => row.ttft, text: (row) => seconds(row.ttft) },
    { id: 'input', name: 'Tokens in/s', wide: true, number: true, value: (row) => row.input, text: (row) => perSecond(row.input) },
    { id: 'output', name: 'out/s', wide: true, number: true, value: (row) => row.output, text: (row) => perSecond(row.output) },
  ],
});

const standings = (row) => ['accepted', 'programmed'].map((name) => ({ type: name === 'accepted' ? 'Accepted' : 'Programmed', status: row[name], reason: row[name], message: row.problem ?? '' }));

/** Gateways that a controller follows. */
export const gatewayTable = () => table({
  label: 'Gateways', key: (row) => row.name, sort: { by: 'name', down: false },
  empty: h('p', {}, 'There is no Gateway of a class of Pailou’s yet: docs/guides/kubernetes.md makes the first.'),
  columns: [
    { id: 'name', name: 'Gateway', head: true, value: (row) => row.name, text: (row) => row.name },
    { id: 'conditions', name: 'Conditions', text: (row) => `${row.accepted} ${row.programmed} ${row.problem}`, node: (row) => [conditionChips(standings(row)), row.problem && h('span', { class: 'note' }, row.problem)] },
    { id: 'addresses', name: 'Addresses', text: (row) => row.addresses.join(', ') || NONE },
    { id: 'listeners', name: 'Listeners', number: true, value: (row) => row.listeners, text: (row) => count(row.listeners) },
    { id: 'routes', name: 'Routes', number: true, value: (row) => row.attachedRoutes, text: (row) => count(row.attachedRoutes) },
  ],
});

const standing = ({ away, ready }) => (away ? 'away' : ready ? 'ready' : 'not ready');

/** Proxies that a controller asks. */
export const proxyTable = () => table({
  label: 'Proxies', key: (row) => row.name, sort: { by: 'name', down: false },
  empty: h('p', {}, 'There is no proxy yet: the controller makes some for each Gateway.'),
  columns: [
    { id: 'name', name: 'Proxy', head: true, value: (row) => row.name, text: (row) => row.name, node: (row) => [row.name, h('span', { class: 'note' }, `of ${row.gateway}`)] },
    { id: 'state', name: 'State', kind: 'state-cell', value: standing, text: (row) => `${standing(row)} ${row.away ?? ''}`, node: (row) => [h('span', { class: `chip ${row.away ? 'bad' : row.ready ? 'good' : 'open'}` }, standing(row)), row.away && h('span', { class: 'note' }, row.away)] },
    { id: 'active', name: 'Under way', number: true, value: (row) => row.active, text: (row) => count(row.active) },
    { id: 'requests', name: 'Requests', title: 'since its start', number: true, value: (row) => row.requests, text: (row) => count(row.requests) },
    { id: 'version', name: 'Version', wide: true, value: (row) => row.version, text: (row) => row.version || NONE },
  ],
});

/** Counts by a word: a picker's outcomes, a controller's writes. */
export const countTable = (label, name) => table({
  label, key: (row) => row.name, empty: h('p', {}, 'None yet.'), sort: { by: 'number', down: true },
  columns: [
    { id: 'name', name, head: true, value: (row) => row.name, text: (row) => row.name.replaceAll('_', ' ') },
    { id: 'number', name: 'Since start', number: true, value: (row) => row.number, text: (row) => count(row.number) },
  ],
});

/** Rows of such a table. */
export const countRows = (counts) => Object.entries(counts ?? {}).map(([word, number]) => ({ name: word, number }));
