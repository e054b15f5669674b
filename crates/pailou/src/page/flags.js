// Response flags in plain words, and the cause of each. docs/reference/errors.md has all of it.

export const FAULTS = {
  client: ['Client', 'the request was wrong, refused or given up'],
  gateway: ['Gateway', 'Pailou or its configuration'],
  backend: ['Backend', 'the engine, or the way to it'],
  endpointPicker: ['Endpoint picker', 'one beside the gateway'],
  externalProcessor: ['External processor', 'ext_proc of a policy'],
};

const FLAGS = {
  NR: ['client', 'no route or model matches'],
  MD: ['client', 'wrong connection for this host'],
  DPE: ['client', 'malformed request'],
  TLS: ['client', 'TLS handshake failed'],
  OL: ['client', 'body too long'],
  DB: ['client', 'body incomplete'],
  UAEX: ['client', 'not authorized'],
  RL: ['client', 'limit reached'],
  DC: ['client', 'client disconnected'],
  RLSE: ['gateway', 'store of limits does not answer'],
  NC: ['gateway', 'route cannot be served as configured'],
  UO: ['gateway', 'circuit breaker'],
  AC: ['gateway', 'admission control'],
  OM: ['gateway', 'memory for bodies is used up'],
  SH: ['gateway', 'pool saturated'],
  FI: ['gateway', 'fault injected on purpose'],
  ST: ['gateway', 'process stopped, or no configuration yet'],
  UH: ['backend', 'no endpoint ready'],
  EP: ['endpointPicker', 'endpoint picker'],
  XP: ['externalProcessor', 'external processor'],
  UF: ['backend', 'no connection'],
  UC: ['backend', 'backend broke off'],
  UPE: ['backend', 'invalid response'],
  UT: ['backend', 'timeout'],
  SI: ['backend', 'stream stood still'],
};

const known = (flag) => (Object.hasOwn(FLAGS, flag) ? FLAGS[flag] : undefined);

/** Cause of a flag: one of [`FAULTS`]. */
export const faultOf = (flag) => known(flag)?.[0] ?? 'gateway';

/** A flag in words. */
export const flagWords = (flag) => known(flag)?.[1] ?? 'see docs/reference/errors.md';
