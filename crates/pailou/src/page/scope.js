// Chooser of the proxies that a controller's page is about: all, those of a Gateway, or one.

import { h, replace } from './dom.js';
import { change, scope } from './router.js';

export function scopeChooser(onChange) {
  const select = h('select', { id: 'scope', onchange: () => {
    const [kind, name] = select.value.split(' ');
    change({ gateway: '', proxy: '', [kind || 'gateway']: name ?? '' });
    onChange();
  } });
  const element = h('span', { class: 'row', hidden: true }, h('label', { for: 'scope' }, 'Proxies'), select);
  let drawn = '';
  return {
    element,
    /** Offers these proxies, and shows which are chosen. */
    update(proxies = []) {
      const { gateway, proxy } = scope();
      const chosen = proxy ? `proxy ${proxy}` : gateway ? `gateway ${gateway}` : '';
      element.hidden = !proxies.length && !chosen;
      const offered = JSON.stringify([chosen, proxies.map((each) => [each.gateway, each.name, !each.away])]);
      if (offered !== drawn) {
        drawn = offered;
        const gateways = Map.groupBy(proxies, (each) => each.gateway);
        replace(select, h('option', { value: '' }, `all ${proxies.length}`), [...gateways].map(([name, list]) => h('optgroup', { label: name },
          h('option', { value: `gateway ${name}` }, `${name}: all ${list.length}`),
          list.map((each) => h('option', { value: `proxy ${each.name}` }, each.name + (each.away ? ' (away)' : ''))))));
        if (![...select.options].some((option) => option.value === chosen)) select.append(h('option', { value: chosen }, `${proxy || gateway} (gone)`));
      }
      select.value = chosen;
    },
  };
}
