// Heat map: an engine a row, five seconds a column, five minutes. Drawn on a canvas; its numbers are the table's, and the cursor's.

import { h, replace, write } from './dom.js';
import { NONE, clock } from './format.js';

const COLUMNS = 60;
const STEP = 5;
/** Height of a row in pixels; rows of many engines are low, and only the cursor names them. */
const heightOf = (rows) => (rows <= 40 ? 20 : rows <= 120 ? 8 : 3);

/** Makes a heat map. `label` names it, `format` writes a value; the signal ends it. */
export function heatMap({ label, format, signal }) {
  const canvas = h('canvas', { 'aria-hidden': 'true' });
  const said = h('p', { class: 'note said' });
  const names = h('ol', { class: 'rows', 'aria-hidden': 'true' });
  const plot = h('div', { class: 'plot', role: 'slider', tabindex: 0, 'aria-label': `${label}: engine and time`, 'aria-valuemin': 0, 'aria-valuenow': 0, 'aria-valuemax': 1 }, canvas);
  const scale = h('p', { class: 'scale' });
  const element = h('div', { class: 'heat' }, h('div', { class: 'map' }, names, plot), h('div', { class: 'foot' }, scale, said));
  let grid = { rows: [], top: 1, times: [] };
  let cursor = null;
  let width = 0;

  function draw() {
    if (!width) return;
    const ratio = devicePixelRatio || 1;
    const row = heightOf(grid.rows.length);
    const height = Math.max(1, grid.rows.length) * row;
    canvas.width = width * ratio;
    canvas.height = height * ratio;
    canvas.style.setProperty('block-size', `${height}px`);
    const paint = canvas.getContext('2d');
    paint.scale(ratio, ratio);
    const style = getComputedStyle(element);
    const [cold, hot, edge] = ['--cold', '--hot', '--ink'].map((name) => style.getPropertyValue(name).trim());
    const cell = width / COLUMNS;
    const gap = row > 8 ? 2 : row > 3 ? 1 : 0;
    paintCells(paint, grid, { cell, row, gap }, { cold, hot });
    if (cursor) paintCursor(paint, cursor, { cell, row, gap }, edge);
    say();
  }

  function say() {
    const at = cursor ?? { row: 0, column: COLUMNS - 1 };
    const row = grid.rows[at.row];
    const value = row?.values[at.column];
    const text = row ? `${row.name}, ${clock(grid.times[at.column])}: ${value === null ? NONE : format(value)}` : '';
    write(said, cursor ? text : 'Point at a cell, or use the arrow keys, to read it.');
    plot.setAttribute('aria-valuetext', text);
  }

  function move(row, column) {
    const last = grid.rows.length - 1;
    cursor = last < 0 || row === null ? null : { row: Math.max(0, Math.min(last, row)), column: Math.max(0, Math.min(COLUMNS - 1, column)) };
    draw();
  }

  plot.addEventListener('pointermove', (event) => {
    const box = canvas.getBoundingClientRect();
    move(Math.floor((event.clientY - box.top) / heightOf(grid.rows.length)), Math.floor(((event.clientX - box.left) / box.width) * COLUMNS));
  });
  plot.addEventListener('pointerleave', () => move(null));
  plot.addEventListener('blur', () => move(null));
  plot.addEventListener('keydown', (event) => {
    const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -COLUMNS], End: [0, COLUMNS] }[event.key];
    if (!step) return;
    event.preventDefault();
    const at = cursor ?? { row: 0, column: COLUMNS - 1 };
    move(at.row + step[0], at.column + step[1]);
  });
  new ResizeObserver(([entry]) => {
    width = Math.floor(entry.contentRect.width);
    draw();
  }).observe(plot);
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw, { signal });

  return {
    element,
    /** Takes samples and the endpoints of the newest; `read(endpoint, before)` gives a cell's value, or null. `top`: the value of the deepest colour. */
    update(samples, pool, read, top) {
      grid = gridOf(samples, pool, read);
      grid.top = top ?? Math.max(1e-9, ...grid.rows.flatMap((row) => row.values.map((value) => value ?? 0)));
      names.hidden = heightOf(grid.rows.length) < 20;
      replace(names, !names.hidden && grid.rows.map((row) => h('li', { title: row.name }, row.name)));
      replace(scale, h('span', {}, format(0)), h('span', { class: 'ramp', 'aria-hidden': 'true' }), h('span', {}, format(grid.top)));
      draw();
    },
  };
}

/** Paints cells of `cell` by `row` pixels: the cold colour, and over it as much of the hot one as the value has. */
function paintCells(paint, { rows, top }, { cell, row, gap }, { cold, hot }) {
  for (const [at, { values }] of rows.entries()) {
    for (const [column, value] of values.entries()) {
      if (value === null) continue;
      paint.globalAlpha = 1;
      paint.fillStyle = cold;
      paint.fillRect(column * cell, at * row, cell - 1, row - gap);
      paint.globalAlpha = Math.max(0, Math.min(1, value / top));
      paint.fillStyle = hot;
      paint.fillRect(column * cell, at * row, cell - 1, row - gap);
    }
  }
}

function paintCursor(paint, at, { cell, row, gap }, colour) {
  paint.globalAlpha = 1;
  paint.strokeStyle = colour;
  paint.lineWidth = 2;
  paint.strokeRect(at.column * cell, at.row * row, cell - 1, row - gap);
}

/** Number of the five seconds that a sample is in: [`Store`] keeps pools once in each. */
const stepOf = (sample) => Math.floor(sample.uptimeSeconds / STEP);

function gridOf(samples, pool, read) {
  const newest = samples.at(-1);
  const last = stepOf(newest);
  const kept = Array(COLUMNS).fill(null);
  for (const sample of samples) {
    const column = COLUMNS - 1 - (last - stepOf(sample));
    if (column >= 0 && sample.pools) kept[column] = sample.pools.find((each) => each.name === pool.name);
  }
  const chosen = kept.map((found) => found && new Map(found.endpoints.map((each) => [each.address, each])));
  const times = chosen.map((_, column) => Date.parse(newest.at) - (COLUMNS - 1 - column) * STEP * 1000);
  const rows = pool.endpoints.map((endpoint) => ({
    name: endpoint.name,
    values: chosen.map((engines, column) => {
      const now = engines?.get(endpoint.address);
      return now ? read(now, chosen[column - 1]?.get(endpoint.address), engines, chosen[column - 1]) : null;
    }),
  }));
  return { rows, times };
}
