// A line of the last five minutes, as small as a word. Its numbers stand beside it.

import { replace, s } from './dom.js';
import { path } from './chart.js';

const WIDTH = 160;
const HEIGHT = 28;
const SPAN = 300;

/** Makes a small chart of one field of the points; `top` is common to those to be compared. */
export function spark(id, kind) {
  const picture = s('svg', { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true', focusable: 'false' });
  return {
    element: picture,
    update(points, top) {
      const end = points.at(-1)?.t ?? 0;
      const x = (t) => ((t - end) / SPAN + 1) * WIDTH;
      const y = (value) => HEIGHT - 1 - (value / (top || 1)) * (HEIGHT - 3);
      replace(picture,
        s('line', { class: 'grid', x1: 0, x2: WIDTH, y1: HEIGHT - 1, y2: HEIGHT - 1 }),
        s('path', { class: `area ${kind}`, d: path(points, id, x, y, HEIGHT - 1) }),
        s('path', { class: `line ${kind}`, d: path(points, id, x, y) }));
    },
  };
}
