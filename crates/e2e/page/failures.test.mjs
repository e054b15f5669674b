// Words of the page when there is no answer, or not for everybody.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { browser, gateway } from './world.mjs';

const TOKEN = 'open-sesame-open-sesame';
let world;
let chromium;

before(async () => { [world, chromium] = [await gateway({ token: TOKEN }), await browser()]; });
after(() => Promise.all([chromium?.close(), world?.close()]));

const state = (page, wanted) => page.waitForFunction((text) => document.querySelector('#state').dataset.state === text, { timeout: 20_000 }, wanted);

async function enter(page, token) {
  await page.waitForSelector('#token');
  await page.type('#token', token);
  await page.keyboard.press('Enter');
}

test('the page asks for the token, refuses another, and keeps it for the tab alone', async (t) => {
  const page = await chromium.page(t, { expected: /401/ });
  await page.goto(world.page);
  await enter(page, 'another');
  await page.waitForFunction(() => document.querySelector('.wrong').textContent.includes('not the token'));
  await page.$eval('#token', (input) => { input.value = ''; });
  await enter(page, TOKEN);
  await state(page, 'live');
  await page.reload();
  await state(page, 'live');
  assert.deepEqual(await page.evaluate(() => [document.cookie, JSON.stringify(localStorage).includes('sesame'), location.href.includes('sesame')]), ['', false, false]);
  assert.deepEqual(page.complaints, []);
});

test('a gateway that goes is told of, and found again', async (t) => {
  const page = await chromium.page(t, { expected: /ERR_|401/ });
  await page.goto(world.page);
  await enter(page, TOKEN);
  await state(page, 'live');
  await world.stop();
  await state(page, 'gone');
  await page.waitForFunction(() => document.querySelector('#notice').innerText.includes('does not answer') && document.querySelector('main').innerText.includes('Errors by cause'));
  await world.restart();
  await state(page, 'live');
  assert.equal(await page.$eval('#notice', (notice) => notice.innerText), '');
  assert.deepEqual(page.complaints, []);
});

test('one viewer too many learns that there are sixteen', async (t) => {
  const stop = new AbortController();
  const headers = { authorization: `Bearer ${TOKEN}` };
  // The page of the test before may not have been let go of yet.
  for (let viewers = 0; viewers < 16;) {
    const response = await fetch(`${world.page}overview/stream`, { headers, signal: stop.signal });
    if (response.status === 200) viewers += 1;
  }
  const page = await chromium.page(t, { expected: /503|401/ });
  await page.goto(world.page);
  await enter(page, TOKEN);
  await state(page, 'busy');
  await page.waitForFunction(() => document.querySelector('#notice').innerText.includes('Sixteen'));
  stop.abort();
  await state(page, 'live');
  assert.deepEqual(page.complaints, []);
});
