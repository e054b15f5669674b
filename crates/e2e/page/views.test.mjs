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
