// Requests to the admin endpoint, and what their failures mean in plain words.

import { scope } from './router.js';

const TOKEN = 'pailou.token';

/** The token that the operator typed, for as long as the tab is open. */
export const token = {
  read: () => sessionStorage.getItem(TOKEN) ?? '',
  /** Whether a header can carry a text: printable ASCII without blanks. */
  isPossible: (text) => /^[\x21-\x7e]+$/.test(text),
  keep: (text) => (text ? sessionStorage.setItem(TOKEN, text) : sessionStorage.removeItem(TOKEN)),
};

/** An answer that is none: `kind` is gone, token, forbidden, busy, missing or refused. */
export class Refusal extends Error {
  constructor(kind, message, detail = '') {
    super(message);
    this.kind = kind;
    this.detail = detail.trim().slice(0, 400);
  }
}

const KINDS = { 401: 'token', 403: 'forbidden', 404: 'missing', 421: 'forbidden', 503: 'busy' };
const WORDS = {
  token: 'This gateway wants its admin token.',
  forbidden: 'The gateway shows this to nobody who asks in this way.',
  missing: 'This process has nothing of the kind.',
  busy: 'The gateway cannot answer this now.',
  refused: 'The gateway refused the question.',
};

/** Tells that as many watch as may. */
export const manyViewers = (does) => `Sixteen pages ${does} already, which is the most that the gateway allows. Close one; this page joins by itself.`;

/** The gateway does not answer at all. */
export const gone = () => new Refusal('gone', 'The gateway does not answer. It has stopped, or the way to it is broken. The page keeps trying.');

/** Sends a request, about the proxies that are chosen.
 * @throws {Refusal} where the answer is not 2xx, or there is none. */
export async function ask(path, { query, signal, headers, ...rest } = {}) {
  const set = Object.entries({ ...query, ...scope() }).filter(([, value]) => value !== '' && value !== undefined && value !== null);
  const search = set.map(([name, value]) => `${name}=${encodeURIComponent(value)}`).join('&');
  const asked = new Headers(headers);
  if (token.isPossible(token.read()) && !asked.has('authorization')) asked.set('authorization', `Bearer ${token.read()}`);
  let response;
  try {
    response = await fetch(search ? `${path}?${search}` : path, { ...rest, signal, headers: asked, cache: 'no-store', redirect: 'error' });
  } catch (error) {
    throw error.name === 'AbortError' ? error : gone();
  }
  if (response.ok) return response;
  const kind = KINDS[response.status] ?? 'refused';
  throw new Refusal(kind, WORDS[kind], await response.text().catch(() => ''));
}

/** An answer that is JSON. */
export async function json(path, options) {
  const response = await ask(path, options);
  try {
    return await response.json();
  } catch (error) {
    throw error.name === 'AbortError' ? error : gone();
  }
}

/** Calls a function now and each so many milliseconds while the page is seen, until the signal ends it. */
export function repeat(milliseconds, signal, call) {
  let timer;
  const turn = async () => {
    if (!document.hidden) await call().catch((error) => error.name !== 'AbortError' && console.debug(error));
    if (!signal.aborted) timer = setTimeout(turn, milliseconds);
  };
  signal.addEventListener('abort', () => clearTimeout(timer));
  turn();
}
