import { expect, it } from 'vitest';
import { FingerprintSet } from '../../cli/client/files/fingerprintSet.js';

it('knows the texts that were added, also after it has grown, and no others', () => {
  const set = new FingerprintSet();
  const texts = Array.from({ length: 5000 }, (_, at) => `file-${at}\n${at * 7}\n"etag"`);
  for (const text of [...texts, ...texts]) set.add(text);
  expect(texts.every((text) => set.has(text))).toBe(true);
  expect(texts.some((text) => set.has(`${text} `))).toBe(false);
});
