// The page without a gateway: its files from the source, and answers that a test makes up.

import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { tmpdir } from 'node:os';
import { extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

const SOURCE = new URL('../../pailou/src/page/', import.meta.url);
const TYPES = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.svg': 'image/svg+xml' };

/** Imports modules of the page into this process: `{ 'rates.js': …, … }`. */
export async function modules(...names) {
  const directory = mkdtempSync(join(tmpdir(), 'pailou-modules-'));
  try {
    cpSync(SOURCE, directory, { recursive: true });
    writeFileSync(join(directory, 'package.json'), '{"type":"module"}');
    return await Promise.all(names.map((name) => import(pathToFileURL(join(directory, name)))));
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** A sample of a gateway's overview, with changes. */
export function sample({ uptimeSeconds = 100, name = 'web-0', requests, ...rest } = {}) {
  return {
    at: new Date(Date.UTC(2026, 0, 1) + uptimeSeconds * 1000).toISOString(), uptimeSeconds, version: '1', name, kind: 'gateway', ready: true,
    requests: { active: 0, total: 0, byStatus: {}, byFault: {}, flags: {}, unrouted: 0, ...requests },
    latency: {}, tokens: { input: 0, output: 0 }, costUsd: 0, queue: { waiting: 0 }, models: [], pools: [], receipts: { kept: 0, dropped: 0 }, problems: 0, ...rest,
  };
}

/** An event of a stream. */
export const event = (name, data, id) => `${id === undefined ? '' : `id: ${id}\n`}event: ${name}\ndata: ${JSON.stringify(data)}\n\n`;

export const send = (response, value, status = 200) => response.writeHead(status, { 'content-type': typeof value === 'string' ? 'text/plain' : 'application/json' }).end(typeof value === 'string' ? value : JSON.stringify(value));

/** Opens a stream of events, and writes the first. */
export function stream(response, ...events) {
  response.writeHead(200, { 'content-type': 'text/event-stream' });
  response.write(`: open\n\n${events.join('')}`);
}

/** Serves the page. `answers` by path: `(request, response, url) => …`; without one it is 404, and the overview is one sample. */
export async function mock(answers = {}) {
  const all = { 'overview/stream': (_, response) => stream(response, event('sample', sample(), 1)), ...answers };
  const server = createServer((request, response) => {
    const url = new URL(request.url, 'http://localhost');
    const path = url.pathname.slice(1);
    if (all[path]) return all[path](request, response, url);
    if (path && !path.startsWith('ui/')) return send(response, 'none\n', 404);
    const file = path.slice(3) || 'index.html';
    response.writeHead(200, { 'content-type': TYPES[extname(file)] }).end(readFileSync(new URL(file, SOURCE)));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    page: `http://127.0.0.1:${server.address().port}/`,
    close: () => new Promise((resolve) => (server.close(resolve), server.closeAllConnections())),
  };
}
