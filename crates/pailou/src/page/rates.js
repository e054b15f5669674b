// Rates and quantiles, made of two samples of counts since start.

import { FAULTS } from './flags.js';

/** Window of a rate that is drawn, in seconds. */
export const WINDOW = 10;

/** Seconds since the process began: clocks may step back, this does not. */
const time = (sample) => sample.uptimeSeconds;

/** The sample that lies a window before the one at that index; all are of one process. */
export function before(samples, at, window = WINDOW) {
  const end = time(samples[at]);
  let from = at;
  while (from > 0 && end - time(samples[from - 1]) <= window + 0.5) from -= 1;
  return from === at ? null : samples[from];
}

/** Growth of a count. */
export const growth = (first, last, read) => Math.max(0, (read(last) ?? 0) - (read(first) ?? 0));

/** Growth a second. */
export const rate = (first, last, read) => growth(first, last, read) / Math.max(0.001, time(last) - time(first));

/** Requests with a status of failure. */
export const failedOf = ({ byStatus = {} }) => (byStatus['4xx'] ?? 0) + (byStatus['5xx'] ?? 0);

/** Failed requests by their cause. A status without a cause is the backend's own: of 4xx the client is the cause. */
export function faultsOf({ requests }) {
  const faults = Object.fromEntries(Object.keys(FAULTS).map((id) => [id, requests?.byFault?.[id] ?? 0]));
  if (!requests) return faults;
  const unknown = Math.max(0, failedOf(requests) - Object.values(faults).reduce((total, each) => total + each, 0));
  const client = Math.min(unknown, Math.max(0, (requests.byStatus['4xx'] ?? 0) - faults.client));
  faults.client += client;
  faults.backend += unknown - client;
  return faults;
}

/** Counts of single buckets; a sample's are of all up to a bound. */
const buckets = ({ counts }) => counts.map((each, at) => each - (at ? counts[at - 1] : 0));

/** Counts of a histogram between two samples. */
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
  const faults = Object.fromEntries(Object.keys(FAULTS).map((cause) => [cause, rate(first, last, (it) => faultsOf(it)[cause])]));
  return {
    ...faults,
    t: time(last),
    at: Date.parse(last.at),
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
