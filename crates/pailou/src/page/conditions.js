// Conditions of objects, and what of them was ignored.

import { h } from './dom.js';

/** Conditions whose True is the bad news. */
const BAD_WHEN_TRUE = new Set(['PartiallyInvalid', 'Conflicted', 'OverlappingTLSConfig', 'RouteRulesOverlap', 'Overridden', 'Warning']);

/** How a condition stands: good, bad, or open (Unknown, or served in part). The gateway says so; else the type decides. */
export function standing({ type, status, severity }) {
  if (severity) return { error: 'bad', warning: 'open' }[severity] ?? 'good';
  if (type === 'PartiallySupported' && status === 'True') return 'open';
  if (status !== 'True' && status !== 'False') return 'open';
  return (status === 'True') === BAD_WHEN_TRUE.has(type) ? 'bad' : 'good';
}

const SIGNS = { good: '✓', bad: '✕', open: '?' };
const TOLD = { good: 'holds', bad: 'fails', open: 'in part, or not known' };

/** A row of conditions, each with a sign and a word. A failing one says its reason. */
export function conditionChips(conditions, ignored = []) {
  // Several parents mostly say the same.
  const told = new Map(conditions.map((each) => [`${each.type} ${standing(each)} ${each.reason}`, each]));
  const chips = [...told.values()].map((condition) => {
    const how = standing(condition);
    return h('span', { class: `chip ${how}`, title: condition.message || condition.reason },
      h('span', { 'aria-hidden': 'true' }, SIGNS[how]), h('span', { class: 'unseen' }, TOLD[how]), ` ${how === 'good' ? (condition.status === 'True' ? condition.type : condition.reason) : `${condition.type}: ${condition.reason}`}`);
  });
  if (ignored.length) chips.push(h('span', { class: 'chip open' }, h('span', { 'aria-hidden': 'true' }, '!'), ` ${ignored.length} ignored`));
  return chips.length ? h('span', { class: 'chips' }, chips) : h('span', { class: 'note' }, 'no conditions');
}

/** The same with messages, as a list. */
export function conditionList(conditions, ignored = []) {
  return [
    conditions.length > 0 && h('ul', { class: 'conditions' }, conditions.map((condition) => {
      const how = standing(condition);
      return h('li', { class: how }, h('span', { class: `chip ${how}` }, h('span', { 'aria-hidden': 'true' }, SIGNS[how]), h('span', { class: 'unseen' }, TOLD[how]), ` ${condition.type} ${condition.status}`),
        ` ${condition.reason}`, condition.parent && h('span', { class: 'more' }, `for ${condition.parent}`), condition.message && h('span', { class: 'note' }, condition.message));
    })),
    ignored.length > 0 && [h('h2', {}, 'Ignored, and why'), h('ul', { class: 'ignored' }, ignored.map((text) => h('li', {}, text)))],
  ];
}

/** Conditions as one text, to see whether they have changed. */
export const conditionText = (conditions, ignored = []) => conditions.map((each) => [each.parent, each.type, each.status, each.reason, each.message].join(' ')).concat(ignored).join('\n');
