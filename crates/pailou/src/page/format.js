// Numbers as people read them. A dash stands for what is not known.

export const NONE = '–';
const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const known = (value) => value !== null && value !== undefined && Number.isFinite(value);

/** A count: 1,234; 56.7 k; 8.9 M. */
export function count(value) {
  if (!known(value)) return NONE;
  if (Math.abs(value) < 1e5) return whole.format(value);
  for (const [unit, size] of [['G', 1e9], ['M', 1e6], ['k', 1e3]]) {
    if (Math.abs(value) >= size) return `${short(value / size)} ${unit}`;
  }
  return NONE;
}

/** A number of three digits. */
export function short(value) {
  if (!known(value)) return NONE;
  const size = Math.abs(value);
  if (value < 0) return size < 0.005 ? '0.00' : `−${short(size)}`;
  if (size >= 1e5) return count(value);
  return size >= 100 || Number.isInteger(value) ? whole.format(value) : size >= 10 ? value.toFixed(1) : value.toFixed(2);
}

/** A number a second: of three digits, whole numbers too, so that a column of them is even. */
export const perSecond = (value) => (known(value) && value > 0 && value < 100 ? value.toFixed(value < 10 ? 2 : 1) : short(value));

/** A duration, given in seconds. */
export function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return '0 ms';
  if (value < 0.0001) return `${Math.round(value * 1e6)} µs`;
  if (value < 0.01) return `${(value * 1e3).toFixed(value < 0.001 ? 2 : 1)} ms`;
  if (value < 1) return `${Math.round(value * 1e3)} ms`;
  if (value < 100) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  if (value < 3600) return `${Math.round(value / 60)} min`;
  return value < 172800 ? `${+(value / 3600).toFixed(1)} h` : `${+(value / 86400).toFixed(1)} d`;
}

/** A duration, given in milliseconds. */
export const millis = (value) => (known(value) ? seconds(value / 1e3) : NONE);

/** A share of one, in percent. */
export function percent(value) {
  if (!known(value)) return NONE;
  const parts = value * 100;
  return `${parts === 0 || parts === 100 ? parts : parts < 10 ? parts.toFixed(1) : Math.round(parts)} %`;
}

/** Dollars. */
export const dollars = (value) => (known(value) ? `$ ${value === 0 || value >= 100 ? whole.format(value) : value.toPrecision(3)}` : NONE);

/** Bytes. */
export function bytes(value) {
  if (!known(value)) return NONE;
  return value < 1000 ? `${value} B` : value < 1e6 ? `${short(value / 1e3)} kB` : `${short(value / 1e6)} MB`;
}

/** The time of day of a moment, to the second. */
export function clock(time) {
  const date = new Date(time);
  return Number.isNaN(date.getTime()) ? NONE : date.toLocaleTimeString('en-GB');
}

/** What is said of proxies that did not answer a controller. */
export const awayText = (away) => (away?.length ? `, ${several(away.length, 'proxy', 'proxies')} did not answer` : '');

/** "1 route", "2 routes". */
export const several = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;
