// The table of requests: a receipt a row.

import { h } from './dom.js';
import { faultOf, flagWords } from './flags.js';
import { NONE, clock, count, millis } from './format.js';
import { link } from './router.js';
import { table } from './table.js';

/** Tells receipts apart: clients may send one id twice. */
export const keyOf = (receipt) => `${receipt.request_id} ${receipt.time}`;

/** Cause of a failure; empty of a success. A status without a flag is the backend's own. */
const causeOf = ({ flag, status }) => (flag ? faultOf(flag) : status >= 500 ? 'backend' : status >= 400 ? 'client' : '');

function statusOf(receipt) {
  const how = causeOf(receipt);
  return [h('span', { class: how ? `fault ${how}` : '' }, receipt.status ?? NONE), receipt.flag && h('span', { class: 'more', title: flagWords(receipt.flag) }, receipt.flag)];
}

const endpointOf = (receipt) => receipt.attempts.at(-1)?.endpoint ?? NONE;

/** Requests: rows are receipts. */
export function receiptTable() {
  const open = (receipt) => link('requests', { id: receipt.request_id });
  return table({
    label: 'Requests, newest first', key: keyOf, onOpen: (receipt) => { location.hash = open(receipt); }, rowClass: (receipt) => (causeOf(receipt) ? `failed-${causeOf(receipt)}` : ''),
    empty: () => h('div', {}, h('p', {}, h('strong', {}, 'No receipt meets this.')), h('p', {}, 'Failed, retried and slow requests are always kept, others by --receipts-sample (one of a hundred). Send one to see it here: ', h('a', { href: link('try') }, 'Try'), ' has the line for it.')),
    columns: [
      { id: 'time', name: 'Began', head: true, kind: 'keep', text: (it) => clock(it.time), node: (it) => h('a', { class: 'opens', href: open(it) }, clock(it.time)) },
      { id: 'status', name: 'Status', kind: 'keep', text: (it) => `${it.status} ${it.flag}`, node: statusOf },
      { id: 'model', name: 'Model', text: (it) => it.model?.asked ?? NONE },
      { id: 'rule', name: 'Rule', text: (it) => it.rule.matched ?? 'none', wide: true, node: (it) => [it.rule.matched?.replace(/^HTTPRoute /, '') ?? h('span', { class: 'note' }, 'none matched'), it.proxy && h('span', { class: 'note' }, it.proxy)] },
      { id: 'path', name: 'Request', wider: true, text: (it) => `${it.method} ${it.path}` },
      { id: 'endpoint', name: 'Endpoint', text: (it) => `${endpointOf(it)} ${it.attempts_made}`, node: (it) => [endpointOf(it), it.attempts_made > 1 && h('span', { class: 'more' }, `attempt ${it.attempts_made}`)] },
      { id: 'kept', name: 'Kept as', wider: true, text: (it) => it.kept },
      { id: 'ttft', name: 'First token', number: true, text: (it) => millis(it.timing.ttft) },
      { id: 'total', name: 'Total', number: true, text: (it) => millis(it.timing.total) },
      { id: 'input', name: 'In', title: 'prompt tokens', wide: true, number: true, text: (it) => count(it.usage?.input) },
      { id: 'cached', name: 'Cached', title: 'prompt tokens found in the cache', wide: true, number: true, text: (it) => count(it.cache?.actual) },
      { id: 'output', name: 'Out', title: 'tokens of the answer', wide: true, number: true, text: (it) => count(it.usage?.output) },
    ],
  });
}
