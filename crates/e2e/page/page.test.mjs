// The page in a browser, against a gateway with simulated engines.

import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, test } from 'node:test';

import { HOSTILE, ROUTES, ask, browser, gateway, traffic } from './world.mjs';

const AXE = readFileSync(new URL('node_modules/axe-core/axe.min.js', import.meta.url), 'utf8');
const PICTURES = process.env.PAILOU_PAGE_PICTURES;
/** 320 is a page of 1280 at 400 %. */
const SIZES = [[320, 640], [390, 844], [1024, 768], [1680, 1050]];
/** Each view, and a text that stands there once its data has come. */
const VIEWS = { now: 'Errors by cause', routes: 'default/broken', pools: 'qwen-1', requests: 'qwen-0', 'requests/story-3': 'Choice of the endpoint', limits: 'red', try: 'curl' };
let world;
let chromium;

before(async () => {
  [world, chromium] = [await gateway({ flags: ['--admin-try'] }), await browser()];
  await traffic(world);
});
after(() => Promise.all([chromium?.close(), world?.close()]));

const has = (page, text) => page.waitForFunction((wanted) => document.querySelector('main').innerText.includes(wanted), { timeout: 30_000 }, text);
const query = (page) => page.evaluate(() => location.hash);
const clean = (page) => assert.deepEqual(page.complaints, []);

async function open(page, view, text = VIEWS[view]) {
  await page.goto(`${world.page}#/${view}`);
  await page.waitForFunction(() => document.querySelector('#state').dataset.state === 'live', { timeout: 30_000 });
  if (text) await has(page, text);
}

for (const scheme of ['light', 'dark']) {
  for (const [width, height] of SIZES) {
    test(`every view fits ${width} pixels, is ${scheme}, and axe finds nothing`, async (t) => {
      const page = await chromium.page(t, { width, height, scheme });
      for (const view of Object.keys(VIEWS)) {
        await open(page, view);
        await page.evaluate(AXE);
        const found = await page.evaluate(() => axe.run(document, { runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'] }));
        assert.deepEqual(found.violations.map((each) => [each.id, each.nodes.map((node) => node.html)]), [], view);
        assert.equal(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), true, `${view} is wider than the window`);
        if (PICTURES) await picture(page, `${view.replace('/', '-')}-${width}-${scheme}`);
      }
      clean(page);
        });
  }
}

async function picture(page, name) {
  mkdirSync(PICTURES, { recursive: true });
  await page.screenshot({ path: join(PICTURES, `${name}.png`) });
}

test('now tells rates, and errors by their cause', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'now');
  await page.waitForFunction(() => [...document.querySelectorAll('.faults tbody tr:not([hidden])')].every((row) => Number(row.lastChild.textContent) > 0), { timeout: 30_000 });
  const flags = await page.$$eval('section.columns a', (links) => links.map((link) => link.textContent));
  assert.ok(['NR', 'RL', 'UF'].every((flag) => flags.includes(flag)), String(flags));
  await page.click('details.numbers summary');
  await page.waitForSelector('details.numbers tbody tr');
  clean(page);
});

test('a filter stays in the address, over a reload, the back button and a receipt', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'requests');
  await page.keyboard.press('/');
  await page.keyboard.type('away');
  await page.waitForFunction(() => location.hash.includes('model=away') && document.querySelectorAll('main tbody tr').length === 2);
  await page.reload();
  await page.waitForFunction(() => document.querySelector('#model')?.value === 'away' && document.querySelectorAll('main tbody tr').length === 2);
  await page.keyboard.press('j');
  await page.keyboard.press('Enter');
  await has(page, 'no connection');
  assert.match(await query(page), /^#\/requests\/./);
  await page.goBack();
  await page.waitForFunction(() => location.hash.includes('model=away') && document.querySelectorAll('main tbody tr').length === 2);
  await page.click('main tbody tr td:nth-child(3)');
  await has(page, 'Choice of the endpoint');
  await page.click('a.back');
  await page.waitForFunction(() => location.hash.includes('model=away'));
  clean(page);
});

test('a request shows up by itself, unless the list is paused', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'requests');
  const name = `live-${process.pid}`;
  await ask(world, { id: name });
  await page.waitForSelector(`a[href="#/requests/${name}"]`);
  await page.evaluate(() => [...document.querySelectorAll('.tools button')].find((button) => button.textContent === 'Pause the list').click());
  await ask(world, { id: `${name}-held` });
  await page.waitForFunction(() => document.querySelector('.found').textContent.startsWith('held still'));
  await page.evaluate(() => [...document.querySelectorAll('.tools button')].find((button) => button.textContent === 'Go on').click());
  await page.waitForSelector(`a[href="#/requests/${name}-held"]`);
  clean(page);
});

test('single keys go through the views, and can be switched off', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'now');
  for (const [key, view] of [['2', 'routes'], ['3', 'pools'], ['4', 'requests'], ['5', 'limits'], ['6', 'try'], ['1', 'now']]) {
    await page.keyboard.press(key);
    await page.waitForFunction((wanted) => location.hash.startsWith(`#/${wanted}`) && document.activeElement.id === 'main', {}, view);
  }
  await page.keyboard.press('?');
  await page.waitForSelector('dialog[open]');
  await page.click('#keys-on');
  await page.keyboard.press('Escape');
  await page.keyboard.press('2');
  await page.keyboard.press('Tab');
  assert.match(await query(page), /^#\/now/);
  await page.evaluate(() => localStorage.clear());
  clean(page);
});

test('routes come page by page, are found, and say what fails', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'routes');
  await has(page, `of ${ROUTES + 2} routes`);
  await page.evaluate(() => [...document.querySelectorAll('.pages button')].at(-1).click());
  await page.waitForFunction(() => location.hash.includes('offset=100') && document.querySelector('.found').textContent.startsWith('101 to'));
  await page.click('#problems');
  await page.waitForFunction(() => document.querySelectorAll('main tbody tr').length === 1);
  await page.click('button.opens');
  await has(page, 'there is no InferencePool nowhere');
  await page.reload();
  await has(page, 'there is no InferencePool nowhere');
  clean(page);
});

test('other objects say what is not acted on', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'routes?of=objects&search=budgets', 'BackendTrafficPolicy');
  await page.click('button.opens');
  await has(page, 'Ignored, and why');
  assert.match(await query(page), /of=objects/);
  clean(page);
});

test('a pause holds all still, and what came meanwhile is not lost', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'now');
  const total = () => page.$eval('.faults tbody tr td:last-child', (cell) => Number(cell.textContent));
  await page.waitForFunction(() => Number(document.querySelector('.faults tbody tr td:last-child')?.textContent) > 0);
  await page.keyboard.press('p');
  await page.waitForFunction(() => document.querySelector('#state').dataset.state === 'paused');
  const before = await total();
  await ask(world, { model: HOSTILE });
  // Its sample has come to another viewer, thus has been sent to this one.
  const stream = await fetch(`${world.page}overview/stream`);
  const decoder = new TextDecoder();
  let seen = '';
  for await (const piece of stream.body) {
    seen += decoder.decode(piece, { stream: true });
    if (seen.includes(`"client":${before + 1}`)) break;
  }
  assert.equal(await total(), before);
  await page.keyboard.press('p');
  await page.waitForFunction((wanted) => Number(document.querySelector('.faults tbody tr td:last-child').textContent) === wanted, {}, before + 1);
  clean(page);
});

test('a view is found again as it was left, and a second click shows all of it', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'requests?flag=RL', '429');
  await page.click('#view-limits');
  await has(page, 'red');
  await page.click('#view-requests');
  await page.waitForFunction(() => location.hash === '#/requests?flag=RL' && document.querySelector('#flag')?.value === 'RL');
  await page.click('#view-requests');
  await page.waitForFunction(() => location.hash === '#/requests' && document.querySelector('#flag').value === '');
  clean(page);
});

test('columns sort by a click and tell so', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'pools');
  await page.evaluate(() => [...document.querySelectorAll('.pool th button')].find((button) => button.textContent.startsWith('KV')).click());
  await page.waitForSelector('th[aria-sort=descending]');
  assert.match(await query(page), /sort=kv\.down/);
  clean(page);
});

test('a trial streams, and leads to its receipt', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'try');
  await page.waitForSelector('button.main:not(:disabled)');
  await page.$eval('#try-model', (input) => { input.value = 'qwen'; input.dispatchEvent(new Event('input', { bubbles: true })); });
  await page.click('button.main');
  await page.waitForFunction(() => /Status 200.*ended/.test(document.querySelector('.answer').innerText), { timeout: 30_000 });
  assert.ok(await page.$eval('.said-text', (text) => text.textContent.length > 20));
  await page.click('.answer a');
  await has(page, 'Choice of the endpoint');
  clean(page);
});

test('what would happen is told without sending', async (t) => {
  const page = await chromium.page(t);
  await open(page, 'try');
  await page.$eval('#try-model', (input) => { input.value = 'away'; input.dispatchEvent(new Event('input', { bubbles: true })); });
  await page.evaluate(() => [...document.querySelectorAll('button')].find((button) => button.textContent.startsWith('Explain')).click());
  await has(page, 'Nothing was sent');
  await has(page, 'by-model/1');
  clean(page);
});

test('an address that nobody would write shows a view all the same', async (t) => {
  const page = await chromium.page(t, { expected: /400/ });
  for (const view of ['nowhere', 'routes?of=constructor&offset=-x&open=%00', 'pools?figure=constructor&sort=__proto__.down', 'limits?offset=1e99&sort=.', 'try?path=constructor&as=toString&listener=0', 'requests?status=abc', 'requests/%E0%A4%A']) {
    await page.goto('about:blank');
    await open(page, view, null);
    await page.waitForFunction(() => document.querySelector('main').innerText.length > 20);
  }
  assert.deepEqual(page.complaints.filter((text) => !text.includes('404')), []);
});

test('hostile names stay text', async (t) => {
  const page = await chromium.page(t);
  for (const view of ['requests', 'limits', `requests?model=${encodeURIComponent(HOSTILE)}`]) {
    await page.goto(`${world.page}#/${view}`);
    await page.waitForFunction((text) => [...document.querySelectorAll('td, th')].some((cell) => cell.textContent.includes(text)), { timeout: 30_000 }, HOSTILE);
    assert.equal(await page.$('main img'), null, view);
  }
  for (const view of ['routes?search=', 'try?model=', 'requests/']) {
    await page.goto(`${world.page}#/${view}${encodeURIComponent(HOSTILE)}`);
    await page.waitForFunction((text) => document.title.includes(text) || [...document.querySelectorAll('input')].some((input) => input.value === text), { timeout: 30_000 }, HOSTILE);
    assert.equal(await page.$('main img'), null, view);
  }
  assert.deepEqual(page.complaints.filter((text) => !text.includes('404')), []);
});
