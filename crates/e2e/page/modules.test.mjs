// Modules of the page, without a browser.

import assert from 'node:assert/strict';
import { after, beforeEach, test } from 'node:test';

import { event, modules, sample } from './mock.mjs';

globalThis.document = Object.assign(new EventTarget(), { hidden: false });
globalThis.sessionStorage = { getItem: () => null };
globalThis.location = { hash: '' };
const [{ before, faultsOf, point, rate }, { Store }, { follow }] = await modules('rates.js', 'store.js', 'stream.js');
const fetchNative = globalThis.fetch;
after(() => { globalThis.fetch = fetchNative; });
beforeEach(() => { document.hidden = false; });

/** Answers each request of a stream by the next of these; the last answer stays open. Tells headers asked for, and the states. */
function streams(...answers) {
  const seen = { asked: [], states: [], events: [] };
  globalThis.fetch = (path, { headers, signal }) => {
    seen.asked.push(headers.get('last-event-id'));
    const answer = answers.length > 1 ? answers.shift() : answers[0];
    return answer ? Promise.resolve(answer(signal)) : Promise.reject(new TypeError('no way'));
  };
  return seen;
}

/** A response with events, which then ends, breaks, or stays. */
const response = (end, ...events) => (signal) => new Response(new ReadableStream({
  start(controller) {
    for (const each of events) controller.enqueue(new TextEncoder().encode(each));
    signal.addEventListener('abort', () => { try { controller.error(signal.reason); } catch { /* it has ended */ } });
    if (end === 'ends') controller.close();
  },
  pull(controller) {
    if (end === 'breaks') controller.error(new TypeError('ERR_INCOMPLETE_CHUNKED_ENCODING'));
  },
}, { highWaterMark: 0 }));

/** Follows a stream until a condition holds; gives what it saw. */
async function followed(seen, isEnough, options = {}) {
  const stop = new AbortController();
  const ended = follow('overview/stream', {
    signal: stop.signal,
    onEvent: (_, data) => { seen.events.push(data); if (isEnough(seen)) stop.abort(); },
    onState: (refusal) => { seen.states.push(refusal?.kind ?? 'open'); if (isEnough(seen)) stop.abort(); },
    ...options,
  });
  await ended;
  return seen;
}

const one = (id) => event('sample', { id }, id);

test('a stream that breaks after it has flowed is opened again without a word', async () => {
  const seen = await followed(streams(response('breaks', one(1)), response('stays', one(2))), ({ events }) => events.length === 2);
  assert.deepEqual(seen.states, ['open', 'open']);
  assert.deepEqual(seen.asked, [null, '1']);
});

test('a stream that cannot be opened again is told of', async () => {
  const seen = await followed(streams(response('breaks', one(1)), null), ({ states }) => states.includes('gone'));
  assert.deepEqual(seen.states, ['open', 'gone']);
});

test('a stream that opens and brings nothing is told of', async () => {
  const seen = await followed(streams(response('breaks')), ({ states }) => states.includes('gone'));
  assert.deepEqual(seen.states, ['open', 'gone']);
});

test('a silent stream is told of, once its silence is too long', async () => {
  const seen = await followed(streams(response('stays', one(1))), ({ states }) => states.includes('gone'), { silence: 50 });
  assert.deepEqual(seen.states, ['open', 'gone']);
});

test('a stream begins after the number that its list names', async () => {
  const seen = await followed(streams(response('stays', one(8))), ({ events }) => events.length === 1, { from: 7 });
  assert.deepEqual(seen.asked, ['7']);
});

test('a backend\'s own statuses are failures, of requests whose fault nobody has counted', () => {
  const requests = { total: 30, byStatus: { '2xx': 10, '4xx': 5, '5xx': 15 }, byFault: { gateway: 3, client: 1 } };
  assert.deepEqual(faultsOf(sample({ requests })), { client: 5, gateway: 3, backend: 12, endpointPicker: 0, externalProcessor: 0 });
  const samples = [sample({ uptimeSeconds: 100 }), sample({ uptimeSeconds: 105, requests })];
  const { failed, backend } = point(samples, 1);
  assert.deepEqual([failed, backend], [4, 2.4]);
});

test('faults that are counted are counted once', () => {
  const requests = { total: 9, byStatus: { '4xx': 4, '5xx': 5 }, byFault: { client: 4, backend: 5 } };
  assert.deepEqual(faultsOf(sample({ requests })), { client: 4, gateway: 0, backend: 5, endpointPicker: 0, externalProcessor: 0 });
});

test('a clock that steps back changes no rate', () => {
  const samples = [0, 1, 2].map((at) => sample({ uptimeSeconds: 100 + at, requests: { total: at * 10 } }));
  samples[2].at = '2020-01-01T00:00:00.000Z';
  assert.equal(before(samples, 2), samples[0]);
  assert.equal(rate(samples[0], samples[2], (it) => it.requests.total), 10);
});

/** A store that has taken samples. */
async function taken(samples, prepare = () => {}) {
  const [store, stop] = [new Store(), new AbortController()];
  prepare(store);
  streams(response('stays', ...samples.map((each, at) => event('sample', each, at + 1))));
  let left = samples.length;
  await new Promise((resolve) => {
    const parse = JSON.parse;
    JSON.parse = (text) => {
      left -= 1;
      if (!left) { JSON.parse = parse; setImmediate(resolve); }
      return parse(text);
    };
    store.start(stop.signal);
  });
  stop.abort();
  return store;
}

test('the picture begins anew with another process', async () => {
  for (const second of [{ name: 'web-1', uptimeSeconds: 300 }, { uptimeSeconds: 3 }, { uptimeSeconds: 300, requests: { total: 1 } }, { uptimeSeconds: 300, series: 2, requests: { total: 60 } }]) {
    const store = await taken([sample({ uptimeSeconds: 100, requests: { total: 50 } }), sample(second)]);
    assert.equal(store.samples.length, 1);
    assert.equal(store.last.uptimeSeconds, second.uptimeSeconds);
  }
});

test('samples of a clock that steps back are taken', async () => {
  const later = { ...sample({ uptimeSeconds: 101 }), at: '2020-01-01T00:00:00.000Z' };
  const store = await taken([sample({ uptimeSeconds: 100 }), later, later]);
  assert.deepEqual(store.samples.map((each) => each.uptimeSeconds), [100, 101]);
});

test('a pause keeps pools of a few samples only', async () => {
  const samples = Array.from({ length: 300 }, (_, at) => sample({ uptimeSeconds: 100 + at, pools: [{ name: 'a', endpoints: [] }] }));
  const store = await taken(samples, (it) => it.pause(true));
  assert.equal(store.samples.length, 0);
  assert.ok(store.heldPools <= 75 + 300 / 5, String(store.heldPools));
  store.pause(false);
  assert.equal(store.samples.length, 300);
});
