// The request as lines to paste: curl, Python, JavaScript.

/** A word as a POSIX shell takes it literally. */
export const shell = (text) => `'${text.replaceAll("'", "'\\''")}'`;
/** JSON as Python writes it: strings are alike, three words are not. */
const python = (value, pad = '') => {
  if (value === null) return 'None';
  if (value === true) return 'True';
  if (value === false) return 'False';
  if (typeof value !== 'object') return JSON.stringify(value);
  const inner = `${pad}    `;
  const parts = Array.isArray(value) ? value.map((each) => python(each, inner)) : Object.entries(value).map(([name, each]) => `${JSON.stringify(name)}: ${python(each, inner)}`);
  const [open, close] = Array.isArray(value) ? '[]' : '{}';
  const line = `${open}${parts.join(', ')}${close}`;
  return line.length < 90 ? line : `${open}\n${parts.map((part) => `${inner}${part},\n`).join('')}${pad}${close}`;
};

/** Headers of lines `name: value`, and the numbers of those lines that are none. */
export function headersOf(text) {
  const [headers, wrong] = [{}, []];
  for (const [at, line] of text.split('\n').entries()) {
    const [, name, value] = /^\s*([!#$%&'*+.^_`|~\w-]+)\s*:(.*)$/.exec(line) ?? [];
    if (name) headers[name.toLowerCase()] = value.trim();
    else if (line.trim()) wrong.push(at + 1);
  }
  return { headers, wrong };
}

/** Snippets of a request: `url`, `headers` (an object), `body`. */
export const SNIPPETS = {
  curl({ url, headers, body }) {
    const lines = Object.entries({ 'content-type': 'application/json', ...headers }).map(([name, value]) => `-H ${shell(`${name}: ${value}`)}`);
    return `curl ${body.stream ? '-N ' : ''}${shell(url)} \\\n  ${lines.join(' \\\n  ')} \\\n  -d ${shell(JSON.stringify(body))}`;
  },
  Python({ url, headers, body }) {
    const head = `import json, urllib.request\n\nbody = ${python(body)}\nrequest = urllib.request.Request(\n    ${JSON.stringify(url)}, json.dumps(body).encode(),\n    ${python({ 'content-type': 'application/json', ...headers }, '    ')})\n`;
    const client = url.endsWith('/v1/chat/completions') ? `# Or, by OpenAI's library:\n#   OpenAI(base_url=${JSON.stringify(url.replace(/\/chat\/completions$/, ''))}, api_key="…").chat.completions.create(**body)\n` : '';
    return `${head}with urllib.request.urlopen(request) as response:\n${body.stream ? '    for line in response:\n        print(line.decode(), end="", flush=True)\n' : '    print(json.load(response))\n'}${client}`;
  },
  JavaScript({ url, headers, body }) {
    const options = `{\n  method: "POST",\n  headers: ${JSON.stringify({ 'content-type': 'application/json', ...headers })},\n  body: JSON.stringify(${JSON.stringify(body, null, 2).replaceAll('\n', '\n  ')}),\n}`;
    const read = body.stream ? 'const decoder = new TextDecoder();\nfor await (const piece of response.body) {\n  process.stdout.write(decoder.decode(piece, { stream: true }));\n}' : 'console.log(await response.json());';
    return `const response = await fetch(${JSON.stringify(url)}, ${options});\n${read}\n`;
  },
};
