// State in the address: #/view/id?name=value.

/** The address as view, id and query. */
export function address() {
  const text = location.hash.replace(/^#\/?/, '');
  const mark = text.indexOf('?');
  const path = mark < 0 ? text : text.slice(0, mark);
  const slash = path.indexOf('/');
  let id = slash < 0 ? '' : path.slice(slash + 1);
  try {
    id = decodeURIComponent(id);
  } catch { /* a stray % stays as it is */ }
  return {
    view: (slash < 0 ? path : path.slice(0, slash)) || 'now',
    id,
    query: Object.fromEntries(new URLSearchParams(mark < 0 ? '' : text.slice(mark + 1))),
  };
}

/** Proxies that a controller's page is about; empty: all. */
export function scope({ gateway = '', proxy = '' } = address().query) {
  return { gateway, proxy };
}

/** The link to a view of the same proxies. Empty values are left out. */
export const link = (view, { id, query } = {}) => hash(view, id, { ...query, ...scope() });

function hash(view, id, query) {
  const search = new URLSearchParams(Object.entries(query ?? {}).filter(([, value]) => value !== '' && value !== undefined && value !== null && value !== false));
  return `#/${view}${id ? `/${encodeURIComponent(id)}` : ''}${search.size ? `?${search}` : ''}`;
}

/** Writes changes of the query into the address without another entry in the history. */
export function change(changes) {
  const now = address();
  history.replaceState(null, '', hash(now.view, now.id, { ...now.query, ...changes }));
}
