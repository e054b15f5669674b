// Server-sent events, read by fetch: EventSource cannot send a token.

import { ask, gone } from './api.js';

/** Longest silence, in milliseconds: the server sends a comment each 15 s. */
const SILENCE_TIMEOUT = 40_000;
const RENEWAL_PAUSE = 250;
const BACKOFF = { first: 1000, most: 10_000 };

/** Time after which a page that nobody sees lets go of its streams, in milliseconds: browsers allow six connections to a host. */
const HIDDEN_TIMEOUT = 5000;

/** Follows a stream until the signal ends it, and opens it again when it breaks, or when the page is seen again.
 * `onEvent(name, data)` gets events, `onState(refusal | null)` the failures, and null once it flows. */
export async function follow(path, { query, signal, onEvent, onState }) {
  const seen = { id: '' };
  let pause = BACKOFF.first;
  while (!signal.aborted) {
    const hidden = whenHidden();
    try {
      await seenAgain(signal);
      await readOnce(path, query, seen, AbortSignal.any([signal, hidden.signal]), onEvent, () => {
        pause = BACKOFF.first;
        onState(null);
      });
      // A stream has its end; the next begins after what has been seen.
      await wait(RENEWAL_PAUSE, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (hidden.signal.aborted) continue;
      onState(error);
      if (error.kind === 'token' || error.kind === 'missing') return;
      await wait(pause, signal);
      pause = Math.min(pause * 2, BACKOFF.most);
    } finally {
      hidden.end();
    }
  }
}

/** A signal that comes when nobody has seen the page for a while. */
function whenHidden() {
  const stop = new AbortController();
  let timer;
  const turn = () => {
    clearTimeout(timer);
    if (document.hidden) timer = setTimeout(() => stop.abort(), HIDDEN_TIMEOUT);
  };
  document.addEventListener('visibilitychange', turn);
  return {
    signal: stop.signal,
    end() {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', turn);
    },
  };
}

function seenAgain(signal) {
  if (!document.hidden) return null;
  return new Promise((resolve) => {
    document.addEventListener('visibilitychange', resolve, { once: true });
    signal.addEventListener('abort', resolve, { once: true });
  });
}

async function readOnce(path, query, seen, signal, onEvent, onOpen) {
  const silence = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silence.abort(), SILENCE_TIMEOUT);
  };
  heard();
  try {
    const headers = { accept: 'text/event-stream', ...(seen.id && { 'last-event-id': seen.id }) };
    const response = await ask(path, { query, headers, signal: AbortSignal.any([signal, silence.signal]) });
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser(seen, onEvent);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      parse(value);
    }
  } catch (error) {
    throw error.kind ? error : gone();
  } finally {
    clearTimeout(timer);
  }
}

/** A function that takes a stream's text in pieces. */
export function parser(seen, onEvent) {
  let rest = '';
  let event = { name: 'message', data: [] };
  return (text) => {
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (event.data.length) onEvent(event.name, event.data.join('\n'));
        event = { name: 'message', data: [] };
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event.name = value;
      else if (field === 'data') event.data.push(value);
      else if (field === 'id') seen.id = value;
    }
  };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
