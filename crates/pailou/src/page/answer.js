// Answer to a trial: the text as it streams, times, and the way to its receipt.

import { ask } from './api.js';
import { h, replace, write } from './dom.js';
import { millis, several } from './format.js';
import { pieceOf, textOf } from './models.js';
import { link } from './router.js';
import { parser } from './stream.js';

/** Longest answer that is shown, in characters: of its text, of its reasoning, and as it came; longest event of a stream. */
const MAX_RAW = 200_000;

/** Sends a trial, and shows the answer in a place while it comes. Gives the end in words. */
export async function send(trial, place, signal) {
  const facts = h('p', { class: 'facts' }, 'sent');
  const reasoning = h('p', { class: 'reasoning', hidden: true });
  const text = h('div', { class: 'said-text', tabindex: 0, role: 'region', 'aria-label': 'Answer' });
  const raw = h('pre', { tabindex: 0 });
  replace(place, facts, reasoning, text, h('details', {}, h('summary', {}, 'As it came'), raw));
  const start = performance.now();
  const told = { status: '', first: null, pieces: 0, id: '' };
  const say = (end) => replace(facts, h('strong', {}, told.status), told.first !== null && ` · first token after ${millis(told.first)}`, told.pieces > 1 && ` · ${several(told.pieces, 'piece')}`,
    end && ` · ${end} after ${millis(performance.now() - start)}`, told.id && [' · ', h('a', { href: link('requests', { id: told.id }) }, 'its receipt')]);
  const add = bounded();
  const first = () => { told.first ??= performance.now() - start; };
  const seen = (piece) => {
    if (piece.reasoning) {
      first();
      reasoning.hidden = false;
      add(reasoning, piece.reasoning);
    }
    if (!piece.text) return;
    first();
    told.pieces += 1;
    add(text, piece.text);
  };
  try {
    const response = await ask('try', { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(trial), signal });
    told.status = `Status ${response.headers.get('x-pailou-try-status') ?? response.status}`;
    told.id = response.headers.get('x-pailou-try-id') ?? '';
    say();
    const isStream = (response.headers.get('x-pailou-try-type') ?? '').startsWith('text/event-stream');
    const whole = await readAll(response, raw, isStream && parser({}, (_, data) => {
      if (data === '[DONE]') return;
      const event = parse(data);
      if (event) seen(pieceOf(event));
      if (event?.error) seen({ text: `\n${event.error.message ?? data}` });
      say();
    }, MAX_RAW));
    const answer = !isStream && parse(whole);
    if (!isStream) write(text, (answer && (textOf(answer) ?? answer.error?.message)) || whole || 'The answer is empty.');
    say('ended');
    return `${told.status}, the answer has ended`;
  } catch (error) {
    told.status ||= 'No answer';
    say(error.name === 'AbortError' ? 'stopped' : 'failed');
    if (error.name !== 'AbortError') text.append(text.textContent ? '\n' : '', [error.message, error.detail].filter(Boolean).join(' '));
    return error.name === 'AbortError' ? 'Stopped' : error.message;
  }
}

/** Appends text to elements, as far as it may. */
function bounded() {
  const sizes = new Map();
  return (element, text) => {
    const before = sizes.get(element) ?? 0;
    if (before > MAX_RAW) return;
    sizes.set(element, before + text.length);
    element.append(text.slice(0, MAX_RAW - before), before + text.length > MAX_RAW ? ' … (cut)' : '');
  };
}

const parse = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

async function readAll(response, raw, feed) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  const add = bounded();
  let whole = '';
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    if (whole.length < MAX_RAW) whole += value.slice(0, MAX_RAW - whole.length);
    add(raw, value);
    if (feed) feed(value);
  }
  // A last event without its empty line counts.
  if (feed) feed('\n\n');
  return whole;
}
