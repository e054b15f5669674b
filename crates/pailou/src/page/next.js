// Wait for the next request that meets an expression, whatever the sampling.

import { json } from './api.js';
import { h, write } from './dom.js';
import { link } from './router.js';

export function nextRequest(signal, announce) {
  let turn = null;
  const input = h('input', { type: 'text', id: 'expression', placeholder: "request.url_path.startsWith('/v1/chat')", autocomplete: 'off', spellcheck: 'false', 'aria-describedby': 'next-note' });
  const button = h('button', {}, 'Wait for it');
  const said = h('p', { class: 'note' });
  function say(text) {
    write(said, text);
    announce(text);
  }
  async function submit(event) {
    event.preventDefault();
    if (turn) return turn.abort();
    turn = new AbortController();
    write(button, 'Wait no longer');
    say('Waiting for it, for 4 minutes at most.');
    try {
      const receipt = await json('receipts/next', { query: { expression: input.value.trim() }, signal: AbortSignal.any([turn.signal, signal]) });
      location.hash = link('requests', { id: receipt.request_id });
    } catch (error) {
      say(error.name === 'AbortError' ? '' : error.detail || error.message);
    }
    turn = null;
    write(button, 'Wait for it');
  }
  return h('details', { class: 'next' }, h('summary', {}, 'Catch the next request that …'),
    h('form', { class: 'row', onsubmit: submit }, h('label', { for: 'expression' }, 'meets'), input, button),
    h('p', { class: 'note', id: 'next-note' }, 'A CEL expression over the request’s head; empty: any. Its receipt is kept, whatever the sampling.'), said);
}
