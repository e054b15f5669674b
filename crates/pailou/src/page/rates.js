// Rates and quantiles, made of two samples of counts since start.

import { FAULTS } from './flags.js';

/** Window of a rate that is drawn, in seconds. */
export const WINDOW = 10;

const time = (sample) => Date.parse(sample.at) / 1000;

/** The sample that lies a window before the one at that index, and never across a restart. */
export function before(samples, at, window = WINDOW) {
  const end = time(samples[at]);
  let from = at;
  while (from > 0 && end - time(samples[from - 1]) <= window + 0.5 && samples[from - 1].uptimeSeconds <= samples[from].uptimeSeconds) from -= 1;
  return from === at ? null : samples[from];
}

/** Growth of a count, and the seconds in which it grew. */
export function growth(first, last, read) {
  const grown = (read(last) ?? 0) - (read(first) ?? 0);
  return Math.max(0, grown);
}

/** Growth a second. */
export const rate = (first, last, read) => growth(first, last, read) / Math.max(0.001, time(last) - time(first));

/** Counts of single buckets; a sample's are of all up to a bound. */
const buckets = ({ counts }) => counts.map((each, at) => each - (at ? counts[at - 1] : 0));

/** What a histogram counted between two samples. */
export function counted(first, last) {
  if (!first || !last) return null;
  const [old, fresh] = [buckets(first), buckets(last)];
  return { bounds: last.bounds, counts: fresh.map((each, at) => Math.max(0, each - (old[at] ?? 0))), count: last.count - first.count };
}

/** Quantile of a histogram in the unit of its bounds, within a bucket by proportion; null of nothing. */
export function quantile(histogram, share) {
  if (!histogram || histogram.count <= 0) return null;
  let left = share * histogram.counts.reduce((total, each) => total + each, 0);
  for (const [at, each] of histogram.counts.entries()) {
    if (left <= each && each > 0) {
      const low = at ? histogram.bounds[at - 1] : 0;
      const high = histogram.bounds[at] ?? low;
      return low + (high - low) * (left / each);
    }
    left -= each;
  }
  return histogram.bounds.at(-1);
}

/** One point of the charts for each sample. */
export function point(samples, at) {
  const last = samples[at];
  const first = before(samples, at);
  if (!first) return null;
  const ttft = counted(first.latency?.ttft, last.latency?.ttft);
  const own = counted(first.latency?.overhead, last.latency?.overhead);
  const faults = Object.fromEntries(Object.keys(FAULTS).map((whose) => [whose, rate(first, last, (it) => it.requests?.byFault?.[whose])]));
  return {
    ...faults,
    t: time(last),
    requests: rate(first, last, (it) => it.requests?.total),
    failed: Object.values(faults).reduce((total, each) => total + each, 0),
    p50: quantile(ttft, 0.5),
    p95: quantile(ttft, 0.95),
    own50: quantile(own, 0.5),
    own95: quantile(own, 0.95),
    output: rate(first, last, (it) => it.tokens?.output),
    input: rate(first, last, (it) => it.tokens?.input),
  };
}
