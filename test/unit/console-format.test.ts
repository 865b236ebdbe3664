import { expect, it } from 'vitest';
import { formatBases } from '../../console/shared/format.js';

it.each([
  [null, '–'],
  [0, '0 b'],
  [999, '999 b'],
  [1000, '1 kb'],
  [5_406_480, '5.41 Mb'],
  [3.2e11, '320 Gb'],
  [1.5e12, `${(1500).toLocaleString()} Gb`],
])('writes a yield of %s bases as %s', (bases, text) => {
  expect(formatBases(bases)).toBe(text);
});
