// Shortcuts of single keys. They can be switched off, and do nothing while somebody types.

import { h } from './dom.js';

const KEPT = 'pailou.keys';
const LIST = [['1 … 6', 'the views, in their order'], ['/', 'search or filter'], ['j, k', 'next and previous row'], ['Enter', 'open the row'], ['u', 'back to the list'], ['p', 'pause, go on'], ['?', 'this list'], ['← →', 'in a chart: through time']];
const isOn = () => localStorage.getItem(KEPT) !== 'off';

/** Listens for keys. */
export function installKeys({ help, views, pause }) {
  const dialog = dialogOf();
  document.body.append(dialog);
  help.addEventListener('click', () => dialog.showModal());
  document.addEventListener('keydown', (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !isOn() || dialog.open) return;
    if (event.target.closest('input, textarea, select, [contenteditable]')) {
      if (event.key === 'Escape') event.target.blur();
      return;
    }
    if (!act(event.key, { dialog, views, pause })) return;
    event.preventDefault();
  });
}

function act(key, { dialog, views, pause }) {
  const view = views[Number(key) - 1];
  if (view) return view.click(), true;
  switch (key) {
    case '?': dialog.showModal(); return true;
    case '/': return focus(document.querySelector('#main input[type=search]'));
    case 'p': pause.click(); return true;
    case 'u': document.querySelector('#main a.back')?.click(); return true;
    case 'j': return step(1);
    case 'k': return step(-1);
    default: return false;
  }
}

function focus(element) {
  element?.focus();
  element?.select?.();
  return Boolean(element);
}

/** Moves among the links and buttons that open rows. */
function step(by) {
  const rows = [...document.querySelectorAll('#main tbody .opens')];
  const at = rows.indexOf(document.activeElement);
  const next = at < 0 ? (by > 0 ? 0 : rows.length - 1) : at + by;
  rows[next]?.scrollIntoView({ block: 'nearest' });
  return focus(rows[next]);
}

function dialogOf() {
  const box = h('input', { type: 'checkbox', id: 'keys-on', onchange: () => localStorage.setItem(KEPT, box.checked ? 'on' : 'off') });
  box.checked = isOn();
  const dialog = h('dialog', { 'aria-labelledby': 'keys-name' },
    h('h2', { id: 'keys-name' }, 'Keys'),
    h('dl', { class: 'keys' }, LIST.map(([key, what]) => h('div', {}, h('dt', {}, h('kbd', {}, key)), h('dd', {}, what)))),
    h('p', { class: 'row' }, box, h('label', { for: 'keys-on' }, 'Single keys work on this machine')),
    h('p', { class: 'row' }, h('button', { type: 'button', onclick: () => dialog.close() }, 'Close')));
  return dialog;
}
