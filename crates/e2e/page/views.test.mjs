// Views of the page in a browser, with answers that a gateway gives seldom.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { event, mock, sample, send, stream } from './mock.mjs';
import { HOSTILE, browser } from './world.mjs';

let chromium;
before(async () => { chromium = await browser(); });
after(() => chromium?.close());

/** Opens a view of a page with these answers. */
async function open(t, view, answers, expected) {
  const world = await mock(answers);
  t.after(() => world.close());
  const page = await chromium.page(t, { expected });
  await page.goto(`${world.page}#/${view}`);
  return page;
}

const has = (page, text) => page.waitForFunction((wanted) => document.querySelector('main').innerText.includes(wanted), { timeout: 20_000 }, text);
const overview = (...samples) => ({ 'overview/stream': (_, response) => stream(response, ...samples.map((each, at) => event('sample', each, at + 1))) });

test('requests that backends answer with 500 have failed', async (t) => {
  const page = await open(t, 'now', overview(sample({ requests: { total: 40, byStatus: { '5xx': 40 } } })));
  await has(page, 'No failure has a flag');
  assert.ok(!(await page.$eval('main', (main) => main.innerText)).includes('No request has failed'));
  await page.waitForFunction(() => document.querySelector('.faults tr:has(.fault.backend) td:last-child').textContent === '40');
});

const receipt = (id) => ({ request_id: id, time: '2026-01-01T00:00:00.000Z', method: 'GET', path: '/', status: 200, rule: { matched: null }, attempts: [], attempts_made: 0, timing: {}, kept: 'sampled', model: { asked: id } });

test('a list continues where it ended, though the tab was hidden meanwhile', async (t) => {
  const asked = [];
  const page = await open(t, 'requests', {
    receipts: (_, response) => send(response, { receipts: [], last: 7 }),
    'receipts/stream': (request, response) => {
      asked.push(request.headers['last-event-id']);
      // The first stream says how far it is, and ends as if nobody saw the page.
      stream(response, asked.length === 1 ? 'id: 9\n\n' : event('receipt', receipt('late'), 10));
      if (asked.length === 1) response.end();
    },
  });
  await page.waitForSelector('a[href="#/requests/late"]');
  assert.deepEqual(asked, ['7', '9']);
});

test('a token that no header can carry is refused, and only the right one is kept', async (t) => {
  const guarded = (answer) => (request, response, url) => (request.headers.authorization === 'Bearer right' ? answer(request, response, url) : send(response, 'token\n', 401));
  const page = await open(t, 'now', {
    'overview/stream': guarded((_, response) => stream(response, event('sample', sample(), 1))),
    overview: guarded((_, response) => send(response, sample())),
  }, /401/);
  const enter = async (text, wanted) => {
    await page.waitForSelector('#token');
    await page.$eval('#token', (input, value) => { input.value = value; input.form.requestSubmit(); }, text);
    if (wanted) await page.waitForFunction((words) => document.querySelector('.wrong').textContent.includes(words), {}, wanted);
    if (wanted) assert.equal(await page.evaluate(() => sessionStorage.length), 0);
  };
  await enter('“0123”', 'beyond ASCII');
  await enter('wrong', 'is not the token');
  await enter('right');
  await has(page, 'Errors by cause');
  // A tab that has kept such a token still opens.
  await page.evaluate(() => sessionStorage.setItem('pailou.token', '“0123”'));
  await page.reload();
  await page.waitForSelector('#token');
  assert.deepEqual(page.complaints, []);
});

test('all requests leads to the list as it was, whatever came before', async (t) => {
  const page = await open(t, 'requests?model=story', {
    receipts: (_, response) => send(response, { receipts: [receipt('story')], last: 1 }),
    'receipts/stream': (_, response) => stream(response),
    'receipts/story': (_, response) => send(response, { ...receipt('story'), bytes: {}, timing: { total: 1 } }),
  }, /404/);
  await page.waitForSelector('a[href="#/requests/story"]');
  for (const hash of ['#/try', '#/requests/story']) await page.evaluate((to) => { location.hash = to; }, hash);
  await page.waitForSelector('.receipt');
  await page.click('a.back');
  await page.waitForFunction(() => location.hash === '#/requests?model=story');
});

const listeners = ['127.0.0.2', '127.0.0.3'].map((address) => ({ port: 8080, protocol: 'HTTP', address, hostnames: [] }));

/** Opens Try with two Gateways of one port; gives what it sends. */
async function openTry(t, answer = (_, response) => send(response, '')) {
  const sent = [];
  const page = await open(t, 'try', {
    try: (request, response) => {
      if (request.method === 'GET') return send(response, { enabled: true, listeners, models: ['qwen'] });
      request.setEncoding('utf8').on('data', (piece) => sent.push(JSON.parse(piece)));
      return request.on('end', () => answer(request, response));
    },
  });
  await page.waitForSelector('button.main:not(:disabled)');
  return { page, sent };
}

test('a trial goes to the Gateway that is chosen', async (t) => {
  const { page, sent } = await openTry(t);
  await page.select('#try-listener', '127.0.0.3 8080');
  await page.waitForFunction(() => document.querySelector('.snippets pre').textContent.includes('http://127.0.0.3:8080/'));
  await page.click('button.main');
  await page.waitForFunction(() => document.querySelector('.answer').innerText.includes('ended'));
  assert.deepEqual([sent[0].address, sent[0].listener], ['127.0.0.3', 8080]);
});

test('a line that is no header is left out, and named', async (t) => {
  const { page, sent } = await openTry(t);
  await page.type('#try-headers', 'x-team: red\nauthorizatio');
  await has(page, 'line 2');
  await page.click('button.main');
  await page.waitForFunction(() => document.querySelector('.answer').innerText.includes('ended'));
  assert.deepEqual(sent[0].headers, { 'x-team': 'red' });
});

test('a long answer is cut', async (t) => {
  const word = 'word '.repeat(10_000);
  const { page } = await openTry(t, (_, response) => {
    response.writeHead(200, { 'x-pailou-try-status': '200', 'x-pailou-try-type': 'text/event-stream' });
    for (let at = 0; at < 10; at += 1) response.write(`data: ${JSON.stringify({ choices: [{ delta: { content: word } }] })}\n\n`);
    response.end();
  });
  await page.click('button.main');
  await page.waitForFunction(() => document.querySelector('.answer').innerText.includes('ended'));
  for (const place of ['.said-text', '.answer pre']) assert.ok(await page.$eval(place, (it) => it.textContent.length) < 201_000, place);
});

test('routes say why they are refused, and find the last page', async (t) => {
  let isRefused = true;
  const page = await open(t, 'routes?offset=99999', {
    routes: (_, response, url) => (isRefused ? send(response, 'This replica does not lead: ask web-1.\n', 503)
      : send(response, { routes: url.searchParams.get('offset') === '100' ? [{ kind: 'HTTPRoute', name: 'default/last', rules: [], conditions: [], ignored: [] }] : [], next: null, total: 101 })),
  }, /503/);
  await has(page, 'does not lead: ask web-1');
  isRefused = false;
  await has(page, 'default/last');
  assert.equal(await page.$eval('.found', (found) => found.textContent), '101 to 101 of 101 routes');
});

test('limits show the answer to the last question', async (t) => {
  const waiting = [];
  const page = await open(t, 'limits', {
    limits: (_, response, url) => {
      const client = url.searchParams.get('client') ?? '';
      const answer = () => response.destroyed || send(response, { counters: [{ rule: 'r', client: client || 'anybody', limit: 1, spent: 0, reserved: 0, windowSeconds: 1, resetsInSeconds: 1 }], next: null });
      if (client === 'slow') waiting.push(answer);
      else answer();
    },
  });
  await has(page, 'anybody');
  const type = (text) => page.$eval('#client', (input, value) => { input.value = value; input.dispatchEvent(new Event('input')); }, text);
  await type('slow');
  while (!waiting.length) await new Promise((resolve) => setImmediate(resolve));
  await type('quick');
  await page.waitForFunction(() => document.querySelector('tbody').innerText.includes('quick'));
  for (const answer of waiting) answer();
  await page.evaluate(() => fetch('limits?client=after').then((response) => response.text()));
  assert.match(await page.$eval('tbody', (body) => body.innerText), /quick/);
});

test('a new model has rates from its first second', async (t) => {
  const model = { model: 'fresh', sent: 'fresh', requests: 20, errors: 0, clientErrors: 0, inputTokens: 200, outputTokens: 400, ttft: { sum: 10, count: 20 } };
  const page = await open(t, 'now', overview(sample({ uptimeSeconds: 100 }), sample({ uptimeSeconds: 110, models: [model], requests: { total: 20 } })));
  await page.waitForFunction(() => [...document.querySelectorAll('td')].some((cell) => cell.textContent === '2.00'));
});

test('hostile texts of every kind stay text', async (t) => {
  const name = (kind) => `${HOSTILE}${kind}`;
  const pool = { name: name('pool'), endpoints: [{ name: name('engine'), address: '127.0.0.1:1', role: '', state: 'ready', problem: name('problem'), waiting: 0, running: 0, kv: 0, inFlight: 0, requests: 0 }], queue: { waiting: 0 } };
  const one = sample({ pools: [pool], name: name('process'), models: [{ model: name('model'), sent: '', requests: 1, ttft: {} }] });
  const condition = { type: 'Accepted', status: 'False', reason: name('reason'), message: name('message') };
  const { page } = await openTry(t, (_, response) => response.writeHead(200, { 'x-pailou-try-status': '200' }).end(name('answer')));
  await page.click('button.main');
  await has(page, name('answer'));
  assert.equal(await page.$('main img'), null);
  const other = await open(t, 'now', {
    ...overview(one),
    routes: (_, response) => send(response, { routes: [{ kind: 'HTTPRoute', name: name('route'), rules: [], conditions: [condition], ignored: [name('ignored')] }], next: null, total: 1 }),
    receipts: (_, response) => send(response, { receipts: [receipt(name('request'))], last: 1 }),
    'receipts/stream': (_, response) => stream(response),
  });
  const cell = (text) => other.waitForFunction((wanted) => [...document.querySelectorAll('td, th')].some((it) => it.textContent.includes(wanted)), { timeout: 20_000 }, text);
  for (const [view, ...kinds] of [['now', 'model'], ['pools', 'engine', 'problem'], ['requests', 'request'], ['routes', 'route']]) {
    await other.evaluate((to) => { location.hash = `#/${to}`; }, view);
    for (const kind of kinds) await cell(name(kind));
    assert.equal(await other.$('main img'), null, view);
  }
  await other.click('button.opens');
  for (const kind of ['message', 'ignored']) await cell(name(kind));
  assert.equal(await other.$('img[src=x]'), null);
  assert.deepEqual([...page.complaints, ...other.complaints], []);
});

test('a controller shows all proxies, and those of a choice that stays in the address', async (t) => {
  const asked = [];
  const proxies = [['one-x', null], ['two-x', 'it does not answer within 2 s']].map(([name, away]) => (
    { name: `default/${name}`, gateway: `default/${name.slice(0, 3)}`, version: '1', ready: !away, uptimeSeconds: 9, active: 1, requests: 20, problems: 0, away }));
  const gateways = [{ name: 'default/one', addresses: [], listeners: 1, attachedRoutes: 1, accepted: 'True', programmed: 'True', problem: null }];
  const page = await open(t, 'now', {
    'overview/stream': (_, response, url) => {
      const chosen = url.searchParams.get('proxy') ?? url.searchParams.get('gateway');
      stream(response, event('sample', sample({ kind: 'controller', series: 1, gateways, proxies, requests: { total: chosen ? 20 : 40, byStatus: { '5xx': chosen ? 20 : 40 } } }), 1));
    },
    limits: (_, response, url) => {
      asked.push(url.searchParams.get('proxy'));
      send(response, { counters: [{ rule: 'default/p/rule/0', client: '', spent: 1, reserved: 0, limit: 9, windowSeconds: 60, resetsInSeconds: 9, shadow: false, proxy: 'default/two-x' }], next: null });
    },
  });
  const failed = (number) => page.waitForFunction((wanted) => document.querySelector('.faults tr:has(.fault.backend) td:last-child')?.textContent === wanted, {}, String(number));
  await failed(40);
  await has(page, 'it does not answer within 2 s');
  assert.deepEqual(await page.$$eval('#scope option', (all) => all.map((each) => each.textContent)), ['all 2', 'default/one: all 1', 'default/one-x', 'default/two: all 1', 'default/two-x (away)']);
  await page.select('#scope', 'proxy default/two-x');
  await failed(20);
  assert.equal(new URL(page.url()).hash, '#/now?proxy=default%2Ftwo-x');
  await page.click('#view-limits');
  await has(page, 'default/p/rule/0');
  assert.equal(new URL(page.url()).hash, '#/limits?proxy=default%2Ftwo-x');
  assert.deepEqual([...new Set(asked)], ['default/two-x']);
  await page.select('#scope', '');
  await page.waitForFunction(() => location.hash === '#/limits');
  await page.click('#view-now');
  await failed(40);
  await page.goto(page.url().replace(/#.*/, '#/now?gateway=default/gone'));
  await page.waitForFunction(() => document.querySelector('#scope').selectedOptions[0]?.textContent === 'default/gone (gone)');
});
