// Samples of the overview: five minutes of them, one stream for all views.

import { follow } from './stream.js';
import { point } from './rates.js';

const MAX_SAMPLES = 300;

/** Five minutes of samples, with listeners. State is wait, live, paused, or the kind of a refusal. */
export class Store {
  samples = [];
  points = [];
  state = 'wait';
  refusal = null;
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
      onState: (refusal) => this.#turn(refusal ? refusal.kind : this.isPaused ? 'paused' : 'live', refusal),
    });
  }

  get isPaused() {
    return this.state === 'paused';
  }

  /** Holds the picture still; samples go on being taken. */
  pause(isPaused) {
    if (!isPaused) for (const sample of this.#held.splice(0)) this.#keep(sample);
    this.#turn(isPaused ? 'paused' : 'live', null);
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
    if (this.samples.length > MAX_SAMPLES) this.samples.shift();
    if (this.points.length > MAX_SAMPLES) this.points.shift();
  }

  #turn(state, refusal) {
    this.state = state;
    this.refusal = refusal;
    this.#tell();
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
