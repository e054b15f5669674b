// A pailou with simulated engines, a browser, and traffic. PAILOU names the binary, CHROMIUM the browser.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

import puppeteer from 'puppeteer-core';

const BINARY = process.env.PAILOU;
const BROWSER = process.env.CHROMIUM || '/usr/bin/chromium';
export const ROUTES = 250;
/** Text that would run if it became markup. */
export const HOSTILE = '<img src=x onerror=alert(1)>';

/** A port that is free on an address now. */
function freePort(host) {
  return new Promise((resolve, reject) => {
    const server = createServer().once('error', reject).listen(0, host, () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

/** Asks until an answer is 2xx, for 20 s. */
async function ready(url, options) {
  for (let left = 200; ; left -= 1) {
    const response = await fetch(url, options).catch(() => null);
    if (response?.ok) return;
    if (!left) throw new Error(`${url} is not ready`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

function start(log, ...words) {
  const child = spawn(BINARY, words, { stdio: ['ignore', 'ignore', 'pipe'] });
  child.stderr.on('data', (piece) => log.push(String(piece)));
  const ended = new Promise((resolve) => child.once('exit', resolve));
  return { stop: () => (child.kill('SIGKILL'), ended) };
}

/** Many routes, so that the page has pages of them. */
function manyRoutes() {
  const one = (at) => `---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: many-${at}}\nspec:\n  parentRefs: [{name: models}]\n  hostnames: [many-${at}.example.com]\n  rules: [{backendRefs: [{group: inference.networking.k8s.io, kind: InferencePool, name: qwen}]}]\n`;
  return Array.from({ length: ROUTES }, (_, at) => one(at)).join('');
}

/** Starts engines and a gateway; `flags` are more flags of `pailou serve`. */
export async function gateway({ flags = [], token } = {}) {
  const directory = mkdtempSync(join(tmpdir(), 'pailou-page-'));
  const [port, admin, engine] = [await freePort('127.0.0.1'), await freePort('127.0.0.1'), await freePort('127.0.9.1')];
  const objects = readFileSync(new URL('gateway.yaml', import.meta.url), 'utf8').replaceAll('${PORT}', port).replaceAll('${ENGINE}', engine);
  writeFileSync(join(directory, 'gateway.yaml'), objects + manyRoutes());
  const log = [];
  const more = [...flags];
  if (token) {
    writeFileSync(join(directory, 'token'), token);
    more.push('--admin-token-file', join(directory, 'token'));
  }
  const engines = [1, 2].map((at) => start(log, 'sim', '--listen', `127.0.9.${at}:${engine}`, '--name', `qwen-${at - 1}`, '--model', 'qwen', '--time-scale', '0.2'));
  const serve = () => start(log, 'serve', '-f', join(directory, 'gateway.yaml'), '--admin', `127.0.0.1:${admin}`, '--receipts-sample', '1', ...more);
  let process = serve();
  const it = {
    port, log, page: `http://127.0.0.1:${admin}/`, url: `http://127.0.0.1:${port}/v1/chat/completions`,
    stop: () => process.stop(),
    async restart() {
      process = serve();
      await ready(`${it.page}readyz`);
    },
    async close() {
      await Promise.all([process.stop(), ...engines.map((each) => each.stop())]);
      rmSync(directory, { recursive: true });
    },
  };
  try {
    await ready(`${it.page}readyz`);
    for (const at of [1, 2]) await ready(`http://127.0.9.${at}:${engine}/health`);
  } catch (error) {
    await it.close();
    throw new Error(`${error.message}:\n${log.join('')}`);
  }
  return it;
}

/** Sends a request, and takes its whole response; its status. */
export async function ask(world, { model = 'qwen', text = 'Tell me a story.', team, id, stream = false } = {}) {
  const headers = { 'content-type': 'application/json', ...(team && { 'x-team': team }), ...(id && { 'x-request-id': id }) };
  const response = await fetch(world.url, { method: 'POST', headers, body: JSON.stringify({ model, stream, max_tokens: 12, messages: [{ role: 'user', content: text }] }) });
  await response.text();
  return response.status;
}

/** A day's traffic in small: successes, an unknown model, a pool that is away, one that nobody made, a spent limit. */
export async function traffic(world) {
  const long = 'Once upon a time there was a gate. '.repeat(60);
  for (let at = 0; at < 12; at += 1) await ask(world, { text: `${long}${at % 3}`, stream: at % 2 === 0, id: `story-${at}` });
  for (let at = 0; at < 3; at += 1) await ask(world, { model: HOSTILE });
  for (let at = 0; at < 2; at += 1) {
    await ask(world, { model: 'away' });
    await ask(world, { model: 'broken' });
  }
  for (let at = 0; at < 7; at += 1) await ask(world, { team: at < 6 ? 'red' : HOSTILE });
}

/** A browser whose pages fail a test by an error on their console. */
export async function browser() {
  const chromium = await puppeteer.launch({ executablePath: BROWSER, args: ['--no-sandbox', '--disable-gpu', '--disable-dev-shm-usage', '--force-color-profile=srgb'] });
  return {
    close: () => chromium.close(),
    async page(t, { width = 1280, height = 800, scheme = 'light', expected = /$^/ } = {}) {
      const page = await chromium.newPage();
      t.after(() => page.close());
      page.complaints = [];
      const complain = (text) => expected.test(text) || page.complaints.push(text);
      page.on('console', (message) => ['error', 'warn'].includes(message.type()) && complain(`${message.text()} ${message.location()?.url ?? ''}`));
      page.on('pageerror', (error) => complain(String(error.stack)));
      page.on('dialog', (dialog) => (complain('a dialog'), dialog.dismiss()));
      await page.setViewport({ width, height });
      await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }, { name: 'prefers-reduced-motion', value: 'reduce' }]);
      return page;
    },
  };
}
