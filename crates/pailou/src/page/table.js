// Tables whose rows keep their place: keyed, sorted, changed only where a cell's text has changed.

import { h, replace, write } from './dom.js';

/** Makes a table.
 * Columns: `id`, `name`, `text(row)`; `number`, `wide` (left out on a phone), `wider` (on a tablet, too), `head` (names the row), `value(row)` (to sort by), `node(row)` (instead of
 * the text, made again when the text changes). `key(row)` tells rows apart. */
export function table({ label, columns, key, empty, sort = null, onSort, rowClass, onOpen, detail }) {
  const order = sort ?? { by: '', down: false };
  const heads = columns.map((column) => headOf(column, order, (next) => {
    Object.assign(order, next);
    onSort?.(order);
    draw();
  }));
  const body = h('tbody');
  const hollow = h('div', { class: 'empty', hidden: true });
  const element = h('div', { class: 'scroll', role: 'region', 'aria-label': label, tabindex: 0 },
    h('table', {}, h('caption', { class: 'unseen' }, label), h('thead', {}, h('tr', {}, heads.map((head) => head.cell))), body), hollow);
  const kept = new Map();
  let shown = [];

  function draw() {
    for (const head of heads) head.mark(order);
    const rows = sorted(shown, columns, order);
    const used = new Set();
    let at = body.firstChild;
    for (const row of rows) {
      const name = key(row);
      used.add(name);
      const line = kept.get(name) ?? lineOf(columns, onOpen);
      kept.set(name, line);
      line.fill(row, rowClass?.(row) ?? '');
      if (at === line.element) at = at.nextSibling;
      else body.insertBefore(line.element, at);
      const extra = detail?.(row, line.extra);
      if (line.extra && line.extra !== extra) {
        if (at === line.extra) at = at.nextSibling;
        line.extra.remove();
      }
      line.extra = extra ?? null;
      if (!extra) continue;
      if (at === extra) at = at.nextSibling;
      else body.insertBefore(extra, at);
    }
    for (const [name, line] of kept) {
      if (used.has(name)) continue;
      line.element.remove();
      line.extra?.remove();
      kept.delete(name);
    }
    hollow.hidden = rows.length > 0;
    element.classList.toggle('hollow', rows.length === 0);
    if (!rows.length) replace(hollow, typeof empty === 'function' ? empty() : empty);
  }

  return {
    element,
    update(rows) {
      shown = rows;
      draw();
    },
  };
}

function headOf(column, order, onOrder) {
  const kind = [column.number && 'number', column.wide && 'wide', column.wider && 'wider'].filter(Boolean).join(' ');
  if (!column.value || !onOrder) {
    const cell = h('th', { scope: 'col', class: kind, title: column.title }, column.name || h('span', { class: 'unseen' }, column.id));
    return { cell, mark: () => {} };
  }
  const arrow = h('span', { class: 'arrow', 'aria-hidden': 'true' });
  const button = h('button', { type: 'button', title: column.title, onclick: turn }, column.name, arrow);
  const cell = h('th', { scope: 'col', class: kind }, button);
  function turn() {
    const isSame = order.by === column.id;
    onOrder({ by: column.id, down: isSame ? !order.down : Boolean(column.number) });
  }
  return {
    cell,
    mark(now) {
      const is = now.by === column.id;
      write(arrow, is ? (now.down ? '↓' : '↑') : '');
      if (is) cell.setAttribute('aria-sort', now.down ? 'descending' : 'ascending');
      else cell.removeAttribute('aria-sort');
    },
  };
}

function lineOf(columns, onOpen) {
  const cells = columns.map((column) => {
    const kind = [column.number && 'number', column.wide && 'wide', column.wider && 'wider', column.kind].filter(Boolean).join(' ');
    return h(column.head ? 'th' : 'td', { class: kind, scope: column.head ? 'row' : undefined });
  });
  const texts = columns.map(() => undefined);
  const line = { element: h('tr', {}, cells), extra: null, row: null };
  if (onOpen) {
    line.element.classList.add('open');
    line.element.addEventListener('click', (event) => {
      if (!event.target.closest('a, button, input') && !getSelection().toString()) onOpen(line.row);
    });
  }
  line.fill = (row, kind) => {
    line.row = row;
    if (line.kind !== kind) {
      if (line.kind) line.element.classList.remove(line.kind);
      if (kind) line.element.classList.add(kind);
      line.kind = kind;
    }
    for (const [at, column] of columns.entries()) {
      const text = column.text(row);
      if (texts[at] === text) continue;
      texts[at] = text;
      if (column.node) replace(cells[at], column.node(row));
      else cells[at].textContent = text;
    }
  };
  return line;
}

function sorted(rows, columns, order) {
  const column = columns.find((each) => each.id === order.by);
  if (!column?.value) return rows;
  const sign = order.down ? -1 : 1;
  const compare = (a, b) => {
    const [left, right] = [column.value(a), column.value(b)];
    if (left === right) return 0;
    if (left === null || left === undefined) return 1;
    if (right === null || right === undefined) return -1;
    return sign * (typeof left === 'string' ? left.localeCompare(right) : left - right);
  };
  return [...rows].sort(compare);
}
