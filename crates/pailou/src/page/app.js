// The frame: views by address, the state of the connection, one polite live region.

import { ask, manyViewers, token } from './api.js';
import { h, replace, write } from './dom.js';
import { seconds } from './format.js';
import { installKeys } from './keys.js';
import { address, link, scope } from './router.js';
import { scopeChooser } from './scope.js';
import { Store } from './store.js';
import { now } from './now.js';
import { routes } from './routes.js';
import { pools } from './pools.js';
import { requests } from './requests.js';
import { receipt } from './receipt.js';
import { limits } from './limits.js';
import { tryOut } from './try.js';

const VIEWS = [['now', 'Now', now], ['routes', 'Routes', routes], ['pools', 'Pools', pools], ['requests', 'Requests', requests], ['limits', 'Limits', limits], ['try', 'Try', tryOut]];
const $ = (id) => document.getElementById(id);
const store = new Store();
const badge = h('sup', {});
const links = VIEWS.map(([id, name]) => h('a', { href: link(id), id: `view-${id}` }, name));
/** Query that each view had when it was left: a click on its name leads back to it, a further click to the whole view. */
const left = {};
let shown = { view: '', id: '', about: '', stop: null };
const chooser = scopeChooser(choose);
/** Address of the list of requests when it was last seen. */
let list = link('requests');

/** Says something to those who do not see it. */
function announce(text) {
  write($('live'), '');
  setTimeout(() => write($('live'), text), 50);
}

/** Begins anew with the proxies that have been chosen. */
function choose() {
  store.start();
  leave();
  show();
}

function show() {
  const { view, id } = address();
  const about = JSON.stringify(scope());
  const [name, title, made] = VIEWS.find(([each]) => each === view) ?? VIEWS[0];
  if (shown.view === name && shown.id === id && shown.about === about && shown.change) {
    shown.change(address().query);
    return;
  }
  const isFirst = !shown.view;
  shown.stop?.abort();
  const stop = new AbortController();
  shown = { view: name, id, about, stop };
  const root = $('main');
  replace(root);
  links.forEach((each, at) => (VIEWS[at][0] === name ? each.setAttribute('aria-current', 'page') : each.removeAttribute('aria-current')));
  $('views').scrollLeft = $(`view-${name}`).offsetLeft - 40;
  const heading = id && name === 'requests' ? `Request ${id}` : title;
  document.title = `${heading} – Pailou`;
  const draw = id && name === 'requests' ? receipt : made;
  shown.change = draw({ root, id, query: address().query, list, store, announce, signal: stop.signal })?.change;
  if (isFirst) return;
  scrollTo(0, 0);
  root.focus({ preventScroll: true });
  announce(heading);
}

function leave() {
  left[shown.view] = shown.id ? {} : address().query;
  for (const [at, each] of links.entries()) {
    const [view] = VIEWS[at];
    each.setAttribute('href', link(view, { query: view === shown.view && !shown.id ? {} : left[view] }));
  }
}

const WORDS = { wait: 'connecting', live: 'live', paused: 'paused', gone: 'no answer', token: 'token wanted', forbidden: 'refused', busy: 'too many viewers', missing: 'no samples', refused: 'refused' };
let told = '';

function tell({ state, refusal, last }) {
  const mark = $('state');
  if (told !== state) {
    mark.dataset.state = state;
    write(mark, WORDS[state] ?? state);
    if (told && state !== 'wait') announce(`Connection: ${WORDS[state]}`);
    replace($('notice'), refusal && noticeOf(refusal));
    told = state;
  }
  $('pause').setAttribute('aria-pressed', store.isPaused);
  write($('pause'), store.isPaused ? 'Go on' : 'Pause');
  $('pause').disabled = state !== 'paused' && state !== 'live';
  chooser.update(last?.proxies);
  if (!last) return;
  write($('instance'), `${last.name} · ${last.version} · up ${last.uptimeSeconds < 100 ? `${Math.round(last.uptimeSeconds)} s` : seconds(last.uptimeSeconds)}${last.ready ? '' : ' · not ready'}`);
  const count = last.problems ? String(last.problems) : '';
  if ((badge.firstChild?.textContent ?? '') === count) return;
  replace(badge, count && [count, h('span', { class: 'unseen' }, ' with problems')]);
  links[1].title = count && `${count} objects have a failing condition or ignored fields`;
}

function noticeOf(refusal) {
  if (refusal.kind === 'token') return tokenForm();
  const busy = refusal.kind === 'busy' && /look at the overview already/.test(refusal.detail);
  const words = busy ? manyViewers('watch this process') : refusal.message;
  const more = refusal.kind === 'forbidden' ? 'Open it on the machine itself (127.0.0.1), through kubectl port-forward, or set --admin-token-file.' : '';
  return h('div', { class: `notice ${refusal.kind}` }, h('p', {}, h('strong', {}, words), ' ', more), refusal.detail && !busy && h('p', { class: 'note' }, refusal.detail));
}

function tokenForm() {
  const input = h('input', { type: 'password', name: 'token', id: 'token', autocomplete: 'off', required: true, 'aria-describedby': 'token-note' });
  const wrong = h('p', { class: 'wrong', role: 'alert' });
  async function submit(event) {
    event.preventDefault();
    const text = input.value.trim();
    const refuse = (why) => (write(wrong, why), input.select());
    if (!token.isPossible(text)) return refuse('That is not the token: it has blanks, or characters beyond ASCII such as typographic quotes.');
    try {
      await ask('overview', { headers: { authorization: `Bearer ${text}` } });
    } catch (error) {
      return refuse(error.kind === 'token' ? 'That is not the token.' : error.message);
    }
    token.keep(text);
    location.reload();
  }
  return h('form', { class: 'notice token', onsubmit: submit }, h('p', {}, h('strong', {}, 'This gateway wants its admin token.')),
    h('p', { class: 'row' }, h('label', { for: 'token' }, 'Token'), input, h('button', {}, 'Open')),
    h('p', { class: 'note', id: 'token-note' }, 'It is the content of the file that --admin-token-file names. The page keeps it until this tab is closed.'), wrong);
}

links[1].append(badge);
$('views').append(...links);
$('instance').before(chooser.element);
$('skip').addEventListener('click', (event) => {
  event.preventDefault();
  $('main').focus();
});
$('pause').addEventListener('click', () => store.pause(!store.isPaused));
addEventListener('hashchange', (event) => {
  const { hash } = new URL(event.oldURL);
  if (/^#\/requests(\?|$)/.test(hash)) list = hash;
  if (shown.about !== JSON.stringify(scope())) choose();
  else show();
});
document.addEventListener('click', leave, true);
installKeys({ help: $('help'), views: links, pause: $('pause') });
store.listen(null, tell);
store.start();
show();
