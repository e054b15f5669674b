// Try: a request to a model, sent by the gateway's own listener, explained without being sent, or as lines to paste.

import { json } from './api.js';
import { send } from './answer.js';
import { copyButton, h, replace, write } from './dom.js';
import { percent, several } from './format.js';
import { APIS, bodyOf } from './models.js';
import { pickOf, ruleOf } from './receipt.js';
import { change } from './router.js';
import { SNIPPETS, headersOf } from './snippets.js';

export function tryOut({ root, query, announce, signal }) {
  const known = { enabled: false, why: '', listeners: [], models: [] };
  const { listener, host, path, models, model, text, most, stream, headers, skipped } = fieldsOf(query);
  const sendButton = h('button', { class: 'main', disabled: true }, 'Send');
  const explainButton = h('button', { type: 'button', onclick: explain }, 'Explain without sending');
  const off = h('p', { class: 'note' });
  const place = h('div', { class: 'answer' }, h('div', { class: 'empty' }, h('p', {}, 'The answer appears here while it comes, with the way to its receipt.')));
  const snippet = h('pre', { tabindex: 0 });
  const tabs = Object.keys(SNIPPETS).map((name) => h('button', { type: 'button', onclick: () => { asked.as = name; draw(); } }, name));
  const asked = { as: Object.hasOwn(SNIPPETS, query.as) ? query.as : 'curl' };
  let turn = null;

  const labelled = (name, element, note) => h('p', {}, h('label', { for: element.id }, name), element, note && h('span', { class: 'note' }, note));
  const form = h('form', { onsubmit: submit, oninput: draw },
    h('div', { class: 'pair' }, labelled('Listener', listener), labelled('API', path)),
    h('div', { class: 'pair' }, labelled('Model', model), labelled('Host', host)), models,
    labelled('Text', text),
    h('div', { class: 'pair' }, labelled('Most tokens', most), h('p', { class: 'row' }, stream, h('label', { for: stream.id }, 'Stream the answer'))),
    labelled('Headers, one a line', headers), skipped,
    h('p', { class: 'row' }, sendButton, explainButton), off);
  replace(root, h('h1', { class: 'unseen' }, 'Try'), h('div', { class: 'try' }, form, h('section', { 'aria-label': 'Answer' }, h('h2', {}, 'Answer'), place),
    h('section', { class: 'snippets', 'aria-label': 'Lines to paste' }, h('div', { class: 'tools' }, h('h2', {}, 'The same to paste'), h('div', { class: 'switch', role: 'group', 'aria-label': 'Language' }, tabs), copyButton(() => snippet.textContent)), snippet)));

  const headerLines = () => headersOf(headers.value).headers;
  const chosen = () => known.listeners.find((each) => nameOf(each) === listener.value || String(each.port) === listener.value) ?? { port: 8080, protocol: 'HTTP' };
  const hostOf = () => host.value.trim() || location.hostname;
  const body = () => bodyOf(path.value, { model: model.value.trim() || 'MODEL', text: text.value, most: Number(most.value) || undefined, stream: stream.checked });
  const url = (name = hostOf()) => `${chosen().protocol === 'HTTPS' ? 'https' : 'http'}://${name}:${chosen().port}${path.value}`;

  function draw() {
    write(snippet, SNIPPETS[asked.as]({ ...wayTo(chosen(), hostOf(), url, headerLines()), body: body() }));
    const { wrong } = headersOf(headers.value);
    write(skipped, wrong.length ? `Left out, as it is no header (name: value): line ${wrong.join(', ')}` : '');
    for (const tab of tabs) tab.setAttribute('aria-pressed', tab.textContent === asked.as);
    change({ listener: listener.value, host: host.value.trim(), path: path.value === '/v1/chat/completions' ? '' : path.value, model: model.value.trim(), as: asked.as === 'curl' ? '' : asked.as });
  }

  async function submit(event) {
    event.preventDefault();
    if (turn) return turn.abort();
    if (!known.enabled) return;
    turn = new AbortController();
    write(sendButton, 'Stop');
    const trial = { listener: chosen().port, address: chosen().address, host: hostOf(), path: path.value, headers: headerLines(), body: body() };
    announce('Sent');
    announce(await send(trial, place, AbortSignal.any([turn.signal, signal])));
    turn = null;
    write(sendButton, 'Send');
  }

  async function explain() {
    const asks = { method: 'POST', url: url(), headers: Object.entries(headerLines()), body: JSON.stringify(body()) };
    try {
      replace(place, explained(await json('explain', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(asks), signal })));
    } catch (error) {
      if (error.name !== 'AbortError') replace(place, h('p', {}, h('strong', {}, error.message), ' ', error.detail));
    }
  }

  if (Object.hasOwn(APIS, query.path)) path.value = query.path;
  json('try', { signal }).then((answer) => Object.assign(known, answer), (error) => { known.why = error.kind === 'missing' ? 'Sending from this page is not possible here.' : error.detail || error.message; }).then(() => {
    replace(listener, (known.listeners.length ? known.listeners : [chosen()]).map((each) => h('option', { value: nameOf(each) }, `${each.protocol} ${nameOf(each)}`)));
    const wanted = known.listeners.find((each) => [nameOf(each), String(each.port)].includes(query.listener));
    if (wanted) listener.value = nameOf(wanted);
    if (!listener.value) listener.selectedIndex = 0;
    replace(models, known.models.map((value) => h('option', { value })));
    if (!model.value) model.value = known.models[0] ?? '';
    const named = chosen().hostnames?.find((each) => !each.startsWith('*'));
    if (!host.value && named) host.value = named;
    sendButton.disabled = !known.enabled;
    write(off, known.enabled ? '' : `${known.why || 'Sending is off: start Pailou with --admin-try.'} The lines to paste do the same.`);
    if (!signal.aborted) draw();
  });
}

/** Fields of the form. */
function fieldsOf(query) {
  const field = (id, element) => ((element.id = `try-${id}`), element);
  const listener = field('listener', h('select', {}));
  const host = field('host', h('input', { value: query.host ?? '', placeholder: location.hostname, autocomplete: 'off', spellcheck: 'false' }));
  const path = field('path', h('select', {}, Object.keys(APIS).map((each) => h('option', {}, each))));
  const models = h('datalist', { id: 'models' });
  const model = field('model', h('input', { value: query.model ?? '', list: 'models', autocomplete: 'off', spellcheck: 'false' }));
  const text = field('text', h('textarea', { rows: 4 }, 'Why is the sky blue?'));
  const most = field('most', h('input', { type: 'number', min: 1, max: 100000, value: 128 }));
  const stream = field('stream', h('input', { type: 'checkbox', checked: true }));
  const headers = field('headers', h('textarea', { rows: 2, spellcheck: 'false', placeholder: 'authorization: Bearer sk-…' }));
  const skipped = h('p', { class: 'note', role: 'status' });
  return { listener, host, path, models, model, text, most, stream, headers, skipped };
}

/** Names a listener: several Gateways may have a port. */
const nameOf = ({ address, port }) => `${address ?? ''} ${port}`.trim();

/** Address and headers of the lines to paste: those of the listener, whose certificate alone wants the host's name. */
function wayTo({ address, protocol }, host, url, headers) {
  const isAny = !address || ['0.0.0.0', '::'].includes(address);
  if (isAny || protocol === 'HTTPS' || address === host) return { url: url(), headers };
  return { url: url(address.includes(':') ? `[${address}]` : address), headers: { host, ...headers } };
}

/** Explanation of a request that was not sent. */
function explained(it) {
  return h('div', { class: 'explained' }, h('p', { class: 'note' }, 'Nothing was sent.', it.listener && ` Listener ${it.listener.name}.`),
    it.rule && [h('h3', {}, 'Rule'), ruleOf(it.rule)],
    (it.backends ?? []).map((each) => [h('h3', {}, `${each.backend}, ${percent(each.share)} of the requests`), h('p', {}, `${several(each.endpoints, 'endpoint')}: ${each.names.join(', ')}`), each.pick && pickOf(each.pick)]));
}
