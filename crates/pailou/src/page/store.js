// Samples of the overview: five minutes of them, one stream for all views.

import { follow } from './stream.js';
import { point } from './rates.js';

const MAX_SAMPLES = 300;
/** Samples that keep all their pools; of older ones one in five seconds does, for the heat map. */
const MAX_WHOLE = 75;
const step = (sample) => Math.floor(Date.parse(sample.at) / 5000);

/** Five minutes of samples, with listeners. State is wait, live, paused, or the kind of a refusal. */
export class Store {
  samples = [];
  points = [];
  refusal = null;
  isPaused = false;
  #isOpen = false;
  #listeners = new Set();
  #held = [];

  get last() {
    return this.samples.at(-1) ?? null;
  }

  /** Calls a listener for each sample and state, until the signal ends it. */
  listen(signal, listener) {
    this.#listeners.add(listener);
    signal?.addEventListener('abort', () => this.#listeners.delete(listener));
    if (this.last) listener(this);
  }

  start() {
    follow('overview/stream', {
      signal: new AbortController().signal,
      onEvent: (name, data) => name === 'sample' && this.#take(JSON.parse(data)),
      onState: (refusal) => {
        this.refusal = refusal;
        this.#isOpen = true;
        this.#tell();
      },
    });
  }

  get state() {
    if (this.refusal) return this.refusal.kind;
    return !this.#isOpen ? 'wait' : this.isPaused ? 'paused' : 'live';
  }

  /** Holds the picture still; samples go on being taken. */
  pause(isPaused) {
    this.isPaused = isPaused;
    if (!isPaused) for (const sample of this.#held.splice(0)) this.#keep(sample);
    this.#tell();
  }

  #take(sample) {
    if (this.isPaused) {
      this.#held.push(sample);
      if (this.#held.length > MAX_SAMPLES) this.#held.shift();
      return;
    }
    this.#keep(sample);
    this.#tell();
  }

  #keep(sample) {
    const last = this.last;
    if (last && sample.at <= last.at) return;
    if (last && sample.uptimeSeconds < last.uptimeSeconds) {
      this.samples.length = 0;
      this.points.length = 0;
    }
    this.samples.push(sample);
    const made = point(this.samples, this.samples.length - 1);
    if (made) this.points.push(made);
    const [old, next] = this.samples.slice(-MAX_WHOLE - 1, -MAX_WHOLE + 1);
    if (this.samples.length > MAX_WHOLE && step(old) === step(next)) delete old.pools;
    if (this.samples.length > MAX_SAMPLES) this.samples.shift();
    if (this.points.length > MAX_SAMPLES) this.points.shift();
  }

  #tell() {
    if (this.#telling) return;
    this.#telling = true;
    // Many samples come at once when a stream opens: they are drawn once.
    setTimeout(() => {
      this.#telling = false;
      for (const listener of this.#listeners) listener(this);
    }, 16);
  }
  #telling = false;
}
