// Line charts of the last five minutes, with a cursor for mouse and keys, and their numbers as a table.

import { h, replace, s, write } from './dom.js';
import { NONE, clock } from './format.js';

const SPAN = 300;
/** Longest time between two points that a line crosses, in seconds. */
const MAX_GAP = 15;
const PAD = { left: 52, right: 10, top: 8, bottom: 20 };

/** Makes a chart. Lines: `id` (a field of the points), `name`, `kind` (its class). `format` writes a value, `axis` those of the axis. */
export function timeChart({ label, note, lines, format, axis = format, height = 150 }) {
  const picture = s('svg', { height, 'aria-hidden': 'true', focusable: 'false' });
  const values = lines.map(() => h('output', { class: 'value' }));
  const legend = h('p', { class: 'legend' }, lines.map((line, at) => h('span', { class: `key ${line.kind}` }, h('span', { class: 'swatch', 'aria-hidden': 'true' }), `${line.name} `, values[at])));
  const when = h('span', { class: 'when' });
  const plot = h('div', { class: 'plot', tabindex: 0, role: 'slider', 'aria-label': `${label}: time`, 'aria-valuemin': -SPAN, 'aria-valuemax': 0, 'aria-valuenow': 0 }, picture);
  const numbers = h('div', { class: 'scroll', tabindex: 0, role: 'region', 'aria-label': `${label}: numbers` });
  const details = h('details', { class: 'numbers', ontoggle: () => details.open && list() }, h('summary', {}, 'Numbers'), numbers);
  const element = h('figure', { class: 'chart' }, h('figcaption', {}, h('h2', {}, label), note && h('span', { class: 'note' }, note), when), legend, plot, details);
  let points = [];
  let cursor = null;
  let width = 0;

  const read = (point) => lines.map((line) => (point ? point[line.id] : null));
  const x = (t) => PAD.left + ((t - (points.at(-1)?.t ?? 0)) / SPAN + 1) * (width - PAD.left - PAD.right);

  function draw() {
    if (!width) return;
    const top = niceTop(Math.max(0, ...points.flatMap((point) => read(point).map((value) => value ?? 0))));
    const y = (value) => PAD.top + (1 - value / top) * (height - PAD.top - PAD.bottom);
    const parts = axesOf({ width, height, top, y, axis });
    for (const line of lines) {
      if (line.area) parts.push(s('path', { class: `area ${line.kind}`, d: path(points, line.id, x, y, y(0)) }));
      parts.push(s('path', { class: `line ${line.kind}`, d: path(points, line.id, x, y) }));
    }
    if (cursor !== null && points[cursor]) parts.push(s('line', { class: 'cursor', x1: x(points[cursor].t), x2: x(points[cursor].t), y1: PAD.top, y2: height - PAD.bottom }));
    picture.setAttribute('width', width);
    replace(picture, parts);
    say();
  }

  function say() {
    const point = points[cursor ?? points.length - 1];
    const said = read(point).map((value) => (value === null || value === undefined ? NONE : format(value)));
    said.forEach((text, at) => write(values[at], text));
    write(when, cursor !== null && point ? clock(point.at) : points.length < 10 ? 'begins now' : '');
    const ago = point ? Math.round(points.at(-1).t - point.t) : 0;
    plot.setAttribute('aria-valuenow', -ago);
    plot.setAttribute('aria-valuetext', `${ago ? `${ago} s ago` : 'now'}: ${lines.map((line, at) => `${line.name} ${said[at]}`).join(', ')}`);
  }

  function move(to) {
    cursor = to === null || !points.length ? null : Math.max(0, Math.min(points.length - 1, to));
    draw();
  }

  function list() {
    replace(numbers, numberTable(points, lines, read, format));
  }

  plot.addEventListener('pointermove', (event) => {
    const share = (event.clientX - plot.getBoundingClientRect().left - PAD.left) / (width - PAD.left - PAD.right);
    const t = (points.at(-1)?.t ?? 0) - (1 - share) * SPAN;
    const near = points.findIndex((point) => point.t >= t);
    move(near < 0 ? points.length - 1 : near);
  });
  plot.addEventListener('pointerleave', () => move(null));
  plot.addEventListener('blur', () => move(null));
  plot.addEventListener('keydown', (event) => {
    const now = cursor ?? points.length - 1;
    const to = { ArrowLeft: now - 1, ArrowRight: now + 1, PageUp: now - 30, PageDown: now + 30, Home: 0, End: points.length - 1, Escape: null }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    move(to);
  });
  new ResizeObserver(([entry]) => {
    width = Math.floor(entry.contentRect.width);
    draw();
  }).observe(plot);

  return {
    element,
    update(next) {
      points = [...next];
      draw();
    },
  };
}

/** Lines and ticks of both axes. */
function axesOf({ width, height, top, y, axis }) {
  const parts = [0, 0.5, 1].map((share) => [
    s('line', { class: 'grid', x1: PAD.left, x2: width - PAD.right, y1: y(share * top), y2: y(share * top) }),
    s('text', { class: 'tick end', x: PAD.left - 6, y: y(share * top) + 4 }, share ? axis(share * top) : '0'),
  ]);
  for (const minute of [5, 4, 3, 2, 1, 0]) {
    const at = PAD.left + (1 - (minute * 60) / SPAN) * (width - PAD.left - PAD.right);
    const anchor = minute === 5 ? 'start' : minute === 0 ? 'end' : 'middle';
    if (width > 480 || [5, 2, 0].includes(minute)) parts.push(s('text', { class: `tick ${anchor}`, x: at, y: height - 4 }, minute ? minute === 5 ? '5 min ago' : `${minute} min` : 'now'));
  }
  return parts;
}

/** Numbers of a chart, one row in ten seconds. */
function numberTable(points, lines, read, format) {
  const rows = points.filter((_, at) => (points.length - 1 - at) % 10 === 0).reverse();
  return h('table', {}, h('thead', {}, h('tr', {}, h('th', { scope: 'col' }, 'Time'), lines.map((line) => h('th', { scope: 'col', class: 'number' }, line.name)))),
    h('tbody', {}, rows.map((point) => h('tr', {}, h('th', { scope: 'row' }, clock(point.at)), read(point).map((value) => h('td', { class: 'number' }, value === null ? NONE : format(value)))))));
}

/** The path of a line, broken where a value is missing; closed down to `floor` where that is given. */
export function path(points, id, x, y, floor) {
  let made = '';
  let first = null;
  let last = null;
  let before = null;
  const close = () => (floor !== undefined && first !== null ? `L${last.toFixed(1)} ${floor.toFixed(1)}L${first.toFixed(1)} ${floor.toFixed(1)}Z` : '');
  for (const point of points) {
    const value = point[id];
    const isGap = before !== null && point.t - before > MAX_GAP;
    before = point.t;
    if (isGap) {
      made += close();
      first = null;
    }
    if (value === null || value === undefined) {
      made += close();
      first = null;
      continue;
    }
    last = x(point.t);
    made += `${first === null ? 'M' : 'L'}${last.toFixed(1)} ${y(value).toFixed(1)}`;
    first ??= last;
  }
  return made + close();
}

/** A round number at or above a value. */
export function niceTop(value) {
  if (!(value > 0)) return 1;
  const size = 10 ** Math.floor(Math.log10(value));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].find((step) => step * size >= value * 0.999) * size;
}
