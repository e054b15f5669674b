// Elements, made of tags and text nodes only: data never becomes markup.

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? '' : value);
  }
  append(element, children);
  return element;
}

/** Appends nodes, and anything else as text. Nothing for null, undefined and false. */
export function append(element, children) {
  for (const child of children.flat(3)) {
    if (child === null || child === undefined || child === false) continue;
    element.append(child instanceof Node ? child : String(child));
  }
  return element;
}

/** An HTML element. Attributes that begin with "on" are listeners. */
export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);

/** Puts other children in place of those that an element has. */
export function replace(element, ...children) {
  element.replaceChildren();
  return append(element, children);
}

/** Writes a text, unless it is there already. */
export function write(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A share as a bar, whose number stands beside it. */
export function bar(share, kind = '') {
  const fillOf = h('span', { class: `fill ${kind}` });
  fillOf.style.setProperty('inline-size', `${Math.max(0, Math.min(1, share || 0)) * 100}%`);
  return h('span', { class: 'bar', 'aria-hidden': 'true' }, fillOf);
}

/** Calls a function once the calls for it pause. */
export function debounce(milliseconds, call) {
  let timer;
  return (...values) => {
    clearTimeout(timer);
    timer = setTimeout(() => call(...values), milliseconds);
  };
}

/** Calls a function for many calls of it once in a time, until the signal ends it. */
export function throttle(milliseconds, signal, call) {
  let timer = null;
  signal.addEventListener('abort', () => clearTimeout(timer));
  return () => {
    timer ??= setTimeout(() => {
      timer = null;
      call();
    }, milliseconds);
  };
}

/** A button that copies a text and says so. */
export function copyButton(text) {
  const button = h('button', { type: 'button', class: 'quiet', onclick: copy }, 'Copy');
  async function copy() {
    try {
      await navigator.clipboard.writeText(typeof text === 'function' ? text() : text);
      write(button, 'Copied');
    } catch {
      write(button, 'Select and copy it by hand');
    }
    setTimeout(() => write(button, 'Copy'), 2000);
  }
  return button;
}
