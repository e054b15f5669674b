// Server-sent events, read by fetch: EventSource cannot send a token.

import { Refusal, ask, gone } from './api.js';

/** Longest silence of a stream with comments each 15 s, in milliseconds. */
const SILENCE_TIMEOUT = 40_000;
/** Longest piece without an end, in characters. */
const MAX_REST = 32_000_000;
const RENEWAL_PAUSE = 250;
const BACKOFF = { first: 1000, most: 10_000 };

/** Time after which a page that nobody sees lets go of its streams, in milliseconds: browsers allow six connections to a host. */
const HIDDEN_TIMEOUT = 5000;

/** Follows a stream until the signal ends it, and opens it again when it breaks, or when the page is seen again.
 * `from` is the number of the last event that is known, `silence` the longest silence in milliseconds. `onEvent(name, data)` gets events,
 * `onState(refusal | null)` the failures, and null once it flows. */
export async function follow(path, { query, signal, from, silence = SILENCE_TIMEOUT, onEvent, onState }) {
  const seen = { id: String(from ?? '') };
  let pause = BACKOFF.first;
  while (!signal.aborted) {
    const hidden = whenHidden();
    let hasFlowed = false;
    try {
      await seenAgain(signal);
      await readOnce(path, { query, seen, silence, signal: AbortSignal.any([signal, hidden.signal]), onEvent, onOpen: () => onState(null), onPiece: () => {
        hasFlowed = true;
        pause = BACKOFF.first;
      } });
      // A stream has its end; the next begins after what has been seen.
      await wait(hasFlowed ? RENEWAL_PAUSE : pause, signal);
    } catch (error) {
      if (signal.aborted) return;
      if (hidden.signal.aborted) continue;
      // A connection has its end, too, which says nothing of the gateway: opening it again does.
      if (hasFlowed && error.kind === 'gone' && !error.isSilence) {
        await wait(RENEWAL_PAUSE, signal);
        continue;
      }
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

async function readOnce(path, { query, seen, silence, signal, onEvent, onOpen, onPiece }) {
  const silent = new AbortController();
  let timer;
  const heard = () => {
    clearTimeout(timer);
    timer = setTimeout(() => silent.abort(), silence);
  };
  heard();
  try {
    const headers = { accept: 'text/event-stream', ...(seen.id && { 'last-event-id': seen.id }) };
    const response = await ask(path, { query, headers, signal: AbortSignal.any([signal, silent.signal]) });
    onOpen();
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const parse = parser(seen, onEvent);
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      heard();
      onPiece();
      parse(value);
    }
  } catch (error) {
    throw error.kind ? error : Object.assign(gone(), { isSilence: silent.signal.aborted });
  } finally {
    clearTimeout(timer);
  }
}

/** A function that takes a stream's text in pieces, of events of `most` characters.
 * @throws {Refusal} where one is longer. */
export function parser(seen, onEvent, most = MAX_REST) {
  let rest = '';
  let event = { name: 'message', data: [] };
  let size = 0;
  return (text) => {
    size += text.length;
    const lines = (rest + text).split(/\r?\n/);
    rest = lines.pop();
    for (const line of lines) {
      if (line === '') {
        if (event.data.length) onEvent(event.name, event.data.join('\n'));
        event = { name: 'message', data: [] };
        size = rest.length;
        continue;
      }
      const colon = line.indexOf(':');
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? '' : line.slice(colon + 1).replace(/^ /, '');
      if (field === 'event') event.name = value;
      else if (field === 'data') event.data.push(value);
      else if (field === 'id') seen.id = value;
    }
    if (size > most) throw new Refusal('refused', `An event of the stream is longer than ${most} characters.`);
  };
}

function wait(milliseconds, signal) {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true });
  });
}
