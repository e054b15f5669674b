// Samples of the overview: five minutes of them, one stream for all views.

import { follow } from './stream.js';
import { point } from './rates.js';

const MAX_SAMPLES = 300;
/** Samples that keep all their pools; of older ones one in five seconds does, for the heat map. */
const MAX_WHOLE = 75;
const step = (sample) => Math.floor(sample.uptimeSeconds / 5);
/** Longest time without a sample, in milliseconds: they come each second. */
const SILENCE_TIMEOUT = 5000;

/** Five minutes of samples, with listeners. State is wait, live, paused, or the kind of a refusal. */
export class Store {
  samples = [];
  points = [];
  refusal = null;
  isPaused = false;
  #isOpen = false;
  #following = null;
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

  /** Begins, or begins anew with the proxies that are chosen now, until the signal ends it. */
  start(end) {
    this.#following?.abort();
    this.#following = new AbortController();
    end?.addEventListener('abort', () => this.#following.abort());
    [this.samples.length, this.points.length, this.#held.length] = [0, 0, 0];
    const { signal } = this.#following;
    follow('overview/stream', {
      signal,
      silence: SILENCE_TIMEOUT,
      onEvent: (name, data) => name === 'sample' && !signal.aborted && this.#take(JSON.parse(data)),
      onState: (refusal) => {
        if (signal.aborted) return;
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

  /** Held samples that have pools. */
  get heldPools() {
    return this.#held.filter((sample) => sample.pools).length;
  }

  /** Holds the picture still; samples go on being taken. */
  pause(isPaused) {
    this.isPaused = isPaused;
    if (!isPaused) for (const sample of this.#held.splice(0)) this.#keep(sample);
    this.#tell();
  }

  #take(sample) {
    if (this.isPaused) {
      push(this.#held, sample);
      return;
    }
    this.#keep(sample);
    this.#tell();
  }

  #keep(sample) {
    const { last } = this;
    if (last && isOther(last, sample)) {
      this.samples.length = 0;
      this.points.length = 0;
    } else if (last?.uptimeSeconds === sample.uptimeSeconds) return;
    push(this.samples, sample);
    const made = point(this.samples, this.samples.length - 1);
    if (made) this.points.push(made);
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

/** Whether a sample is of other processes than the one before it: counts of the same only grow. */
const isOther = (last, { name, series, uptimeSeconds, requests }) => name !== last.name || series !== last.series || uptimeSeconds < last.uptimeSeconds || requests?.total < last.requests?.total;

/** Adds a sample, and lets go of what is too old or too large. */
function push(samples, sample) {
  samples.push(sample);
  const [old, next] = samples.slice(-MAX_WHOLE - 1, -MAX_WHOLE + 1);
  if (samples.length > MAX_WHOLE && step(old) === step(next)) delete old.pools;
  if (samples.length > MAX_SAMPLES) samples.shift();
}
