import { expect, it } from 'vitest';
import { letGrantExpire, useTimeSkipping } from '../timeSkipping.js';

useTimeSkipping();

it('removes a grant when it expires, after a hundred days and many histories', async () => {
  const { result, changes, settled, histories } = await letGrantExpire(400);
  expect([result, changes]).toEqual([{ changes: 400 }, 400]);
  expect(histories.length).toBeGreaterThanOrEqual(2);
  // The workflow checks every thirty days, and right after the expiry.
  expect(settled.map(Math.round)).toEqual([30, 60, 90, 100]);
  expect(settled.at(-1)).toBeGreaterThanOrEqual(100);
  expect(settled.at(-1)).toBeLessThan(100.01);
  for (const { events } of histories) expect(events!.length).toBeLessThan(2200);
});
