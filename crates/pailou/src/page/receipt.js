// One receipt as a picture: why the request went where it went.

import { json } from './api.js';
import { bar, copyButton, h, replace } from './dom.js';
import { FAULTS, faultOf, flagWords } from './flags.js';
import { NONE, bytes, clock, count, dollars, millis, percent, several, short } from './format.js';
import { timeline } from './timeline.js';

const KEPT = { failed: 'kept because it failed', retried: 'kept because it was retried', slow: 'kept because it was slow', traced: 'kept because somebody waited for it', sampled: 'kept by sampling' };

export function receipt({ root, id, list, signal }) {
  const back = h('p', {}, h('a', { class: 'back', href: list }, '← All requests'));
  const place = h('div', { class: 'empty' }, 'Asking for the receipt.');
  replace(root, back, h('h1', { class: 'unseen' }, 'Request'), place);
  json(`receipts/${encodeURIComponent(id)}`, { signal }).then(
    (it) => replace(root, back, pictureOf(it)),
    (error) => error.name !== 'AbortError' && replace(place, h('p', {}, h('strong', {}, error.kind === 'missing' ? 'No receipt of this request.' : error.message)),
      h('p', {}, error.kind === 'missing' ? 'It was not kept, or newer ones have taken its place. Failed, retried and slow requests are always kept.' : error.detail)),
  );
}

function pictureOf(it) {
  return h('article', { class: 'receipt' },
    h('header', {}, h('h1', {}, `${it.method} ${it.path} `, h('span', { class: `status ${it.flag ? `fault ${faultOf(it.flag)}` : ''}` }, it.status ?? 'no status')),
      h('p', { class: 'story' }, storyOf(it)),
      h('p', { class: 'note' }, [it.request_id, clock(it.time), it.host, it.listener, it.proxy, KEPT[it.kept] ?? it.kept].filter(Boolean).join(' · '))),
    it.flag && h('p', { class: `trouble ${faultOf(it.flag)}` }, h('strong', {}, `${it.flag}: ${flagWords(it.flag)}. `), `Cause: ${FAULTS[faultOf(it.flag)][0].toLowerCase()}. `, it.detail),
    part('Time', timeline(it)),
    it.pick && part('Choice of the endpoint', pickOf(it.pick, it.attempts)),
    h('div', { class: 'columns' }, part('Rule', ruleOf(it.rule)), h('div', {}, part('Tokens', tokensOf(it)), part('Filters and policies', policiesOf(it)))),
    rawOf(it));
}

const part = (name, ...content) => h('section', {}, h('h2', {}, name), content);

/** The whole in two or three sentences. */
function storyOf(it) {
  const told = [];
  told.push(it.rule.matched ? `${it.rule.matched} took it.` : 'No rule took it.');
  if (it.pick?.chosen) told.push(it.pick.strategy === 'external' ? `An external picker sent it to ${it.pick.chosen}.` : `${it.pick.chosen} was picked of ${several(it.pick.judged, 'endpoint')}: ${it.pick.why}.`);
  if (it.attempts_made > 1) told.push(`It took ${it.attempts_made} attempts.`);
  if (!it.attempts_made) told.push('It was sent to no endpoint.');
  if (it.timing.ttft) told.push(`First token after ${millis(it.timing.ttft)}, the end after ${millis(it.timing.total)}.`);
  else told.push(`It ended after ${millis(it.timing.total)}.`);
  return told.join(' ');
}

/** The choice of an endpoint: candidates with their scores, and those that were tried and failed. */
export function pickOf(pick, attempts = []) {
  const failed = new Set(attempts.filter((attempt) => attempt.flag).map((attempt) => attempt.endpoint));
  const rows = pick.candidates ?? [];
  const scores = rows.filter((row) => !row.excluded).map((row) => row.score);
  const [low, high] = [Math.min(0, ...scores), Math.max(0, ...scores)];
  const length = (score) => (high > low ? (score - low) / (high - low) : 0);
  const said = `Pool ${pick.pool}, by ${pick.strategy}. ${several(pick.judged, 'endpoint')} judged, the pool ${percent(pick.saturation)} full.`;
  if (!rows.length) return [h('p', {}, said), pick.chosen && h('p', {}, `Chosen: ${pick.chosen}. The picker gives no reasons.`)];
  const heads = [['Endpoint'], ['Score', 'higher is better'], ['Prefix', 'share of the prompt in its cache'], ['Tokens', 'of the prompt in its cache'], ['Queue'], ['Running'], ['KV cache']];
  return [h('p', {}, said, ' ', h('strong', {}, `${pick.chosen}: ${pick.why}.`)),
    h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Candidates' }, h('table', {}, h('caption', { class: 'unseen' }, 'Candidates, best first'),
      h('thead', {}, h('tr', {}, heads.map(([name, title], at) => h('th', { scope: 'col', class: at ? 'number' : '', title }, name)))),
      h('tbody', {}, rows.map((row) => h('tr', { class: row.endpoint === pick.chosen ? 'chosen' : row.excluded ? 'excluded' : '' },
        h('th', { scope: 'row' }, h('span', { class: 'keep' }, row.endpoint), row.endpoint === pick.chosen && h('span', { class: 'chip good' }, 'chosen'), failed.has(row.endpoint) && h('span', { class: 'chip bad' }, '✕ failed'), row.endpoint === pick.runner_up && h('span', { class: 'chip' }, 'next best'),
          row.excluded && h('span', { class: 'note' }, `comes last: ${row.excluded}`), !row.fresh && h('span', { class: 'note' }, 'its own figures were old: estimated')),
        h('td', { class: 'number barred' }, h('span', {}, short(row.score)), !row.excluded && bar(length(row.score))),
        h('td', { class: 'number barred' }, h('span', {}, percent(row.prefix)), bar(row.prefix, 'cache')),
        [count(row.overlap_tokens), short(row.queue), short(row.running), percent(row.kv)].map((text) => h('td', { class: 'number' }, text)))))))];
}

/** The rule that took a request, and those that did not. */
export function ruleOf(rule) {
  return [h('p', {}, h('strong', {}, rule.matched ?? 'No rule matched'), rule.by && h('span', { class: 'line' }, rule.by)),
    rule.beaten?.length > 0 && [h('h3', {}, rule.matched ? 'Rules beaten' : 'Rules that came close'), h('ul', { class: 'beaten' }, rule.beaten.map((each) => h('li', {}, each.rule, h('span', { class: 'line' }, each.match), h('span', { class: 'note' }, `not taken: ${each.why}`))))],
    rule.others > 0 && h('p', { class: 'note' }, `${several(rule.others, 'further match', 'further matches')} of other paths.`),
    rule.note && h('p', { class: 'note' }, rule.note)];
}

function tokensOf({ cache, usage, cost_usd: cost, bytes: sizes, model }) {
  const whole = Math.max(usage?.input ?? 0, cache?.predicted ?? 0, cache?.actual ?? 0);
  const line = (name, value, kind) => value !== undefined && h('tr', {}, h('th', { scope: 'row' }, name), h('td', { class: 'number barred' }, h('span', {}, count(value)), bar(whole ? value / whole : 0, kind)));
  const row = (name, text) => text && text !== NONE && h('tr', {}, h('th', { scope: 'row' }, name), h('td', { class: 'number' }, text));
  return h('table', { class: 'facts' }, h('tbody', {},
    row('Model', model?.asked), row('Sent as', model?.sent),
    line('Prompt', usage?.input), line('Cached, expected', cache?.predicted, 'expected'), line('Cached, found', cache?.actual, 'cache'),
    row('Answer', usage && count(usage.output)), row('of it reasoning', usage?.reasoning && count(usage.reasoning)), row('Price', dollars(cost)),
    row('Request body', bytes(sizes.request)), row('Response body', bytes(sizes.response))));
}

function policiesOf(it) {
  const names = (label, list) => list?.length > 0 && h('p', {}, `${label}: `, h('span', { class: 'chips' }, list.map((name) => h('span', { class: 'chip' }, name))));
  return it.filters || it.policies ? [names('Filters, in their order', it.filters), names('Policies', it.policies)] : h('p', { class: 'note' }, 'None.');
}

function rawOf(it) {
  const text = JSON.stringify(it, null, 2);
  return h('details', { class: 'raw' }, h('summary', {}, 'The receipt as JSON'), copyButton(text), h('pre', { tabindex: 0 }, text), it.truncated && h('p', { class: 'note' }, 'Something was left out or cut to keep it short.'));
}
