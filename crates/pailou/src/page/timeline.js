// A request on a line of time: what the gateway did, and each attempt, with the moments of head and first content.

import { h, s } from './dom.js';
import { faultOf } from './flags.js';
import { NONE, millis } from './format.js';
import { niceTop } from './chart.js';

/** Least share of the whole that an eye sees. */
const LEAST = 0.002;
const STAGES = [['gateway', 'in the gateway'], ['wait', 'waiting for room'], ['head', 'until the response’s head'], ['first', 'until the first content'], ['rest', 'until the end']];

/** Stages of the request's rows: [name, note, [[kind, from, to], …]]. */
function rowsOf({ timing, attempts, attempts_made: made }) {
  const rows = [];
  const start = attempts[0]?.start ?? timing.total;
  const wait = timing.wait ?? 0;
  rows.push(['Gateway', made ? `${millis(timing.overhead ?? Math.max(0, start - wait))}${wait ? `, and ${millis(wait)} waiting` : ''}` : millis(timing.total), [['gateway', 0, Math.max(0, start - wait)], ['wait', Math.max(0, start - wait), start]]]);
  for (const [at, attempt] of attempts.entries()) {
    const head = attempt.head ?? attempt.end;
    const first = attempt.first_content ?? head;
    const skipped = made > attempts.length && at === attempts.length - 1 ? made : at + 1;
    rows.push([`${skipped}. ${attempt.endpoint}`, `${[attempt.result ?? NONE, attempt.flag].filter(Boolean).join(' ')} after ${millis(attempt.end - attempt.start)}`,
      [['head', attempt.start, head], ['first', head, first], ['rest', first, attempt.end]], attempt]);
  }
  return rows;
}

/** The picture, and its numbers. */
export function timeline(receipt) {
  const rows = rowsOf(receipt);
  const end = Math.max(receipt.timing.total, ...receipt.attempts.map((attempt) => attempt.end), 0.001);
  const used = new Set(rows.flatMap(([, , stages]) => stages.filter(([kind, from, to]) => to > from && (kind === 'gateway' || (to - from) / end > LEAST)).map(([kind]) => kind)));
  const legend = h('p', { class: 'legend' }, STAGES.filter(([kind]) => used.has(kind)).map(([kind, name]) => h('span', { class: `key stage-${kind}` }, h('span', { class: 'swatch', 'aria-hidden': 'true' }), name)));
  const lines = h('ol', { class: 'timeline' }, rows.map(([name, note, stages, attempt]) => h('li', {}, h('span', { class: 'name' }, name), laneOf(stages, end), h('span', { class: `said ${attempt?.flag ? `fault ${faultOf(attempt.flag)}` : ''}` }, attempt?.flag && '✕ ', note))));
  return [legend, lines, h('div', { class: 'axis', 'aria-hidden': 'true' }, h('span'), axisOf(end), h('span')), numbersOf(receipt)];
}

function laneOf(stages, end) {
  const parts = stages.filter(([, from, to]) => to > from).map(([kind, from, to]) => s('rect', { class: `stage-${kind}`, x: `${(from / end) * 100}%`, width: `${Math.max(0.15, ((to - from) / end) * 100)}%`, y: 3, height: 16 }));
  return s('svg', { class: 'lane', height: 22, width: '100%', 'aria-hidden': 'true', focusable: 'false' }, s('line', { class: 'grid', x1: 0, x2: '100%', y1: 21.5, y2: 21.5 }), parts);
}

function axisOf(end) {
  const step = niceTop(end / 4);
  const marks = [];
  for (let at = 0; at <= end * 0.96; at += step) marks.push(at);
  return s('svg', { height: 18, width: '100%', focusable: 'false' }, marks.map((at) => s('text', { class: `tick ${at ? 'middle' : 'start'}`, x: `${(at / end) * 100}%`, y: 13 }, at ? millis(at) : '0')));
}

function numbersOf({ attempts, timing }) {
  const cell = (value) => h('td', { class: 'number' }, millis(value));
  const named = [['Gateway’s own', timing.overhead], ['Waiting for room', timing.wait], ['Response’s head', timing.head], ['First content', timing.ttft], ['End', timing.total]];
  return h('details', { class: 'numbers' }, h('summary', {}, 'Numbers'), h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': 'Times' },
    h('table', {}, h('thead', {}, h('tr', {}, ['Attempt', 'Start', 'Head', 'First content', 'End', 'Result'].map((name, at) => h('th', { scope: 'col', class: at && at < 5 ? 'number' : '' }, name)))),
      h('tbody', {}, attempts.map((it) => h('tr', {}, h('th', { scope: 'row' }, it.endpoint), [it.start, it.head, it.first_content, it.end].map(cell), h('td', {}, [it.result, it.flag].filter(Boolean).join(' ')))))),
    h('dl', { class: 'facts' }, named.filter(([, value]) => value !== undefined).map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, millis(value)))))));
}
