import { expect, it } from 'vitest';
import { describeWait } from '../../activities/executions/startTurn.js';

const NOW = new Date('2026-01-15T08:00:00.000Z');
const TURN = { wait: 60_000, left: 154_000, position: 155, waiting: 190, interval: 1 };

it('names the place in the queue of StartRun, when it was so, and the rate', () => {
  expect(describeWait(TURN, '111122223333/us-west-2', 1, NOW)).toBe(
    'Waiting to start: position 155 of 190 in 111122223333, us-west-2 at 2026-01-15T08:00:00.000Z, then about 154 s ' +
      'left. polony calls StartRun at most once a second, because HealthOmics limits it.',
  );
  expect(describeWait({ ...TURN, interval: 0.1 }, 'a/b', 10, NOW)).toContain('at most 10 times a second');
});

it('says that AWS throttles, and how often polony calls StartRun then', () => {
  expect(describeWait({ ...TURN, interval: 32 }, 'a/b', 1, NOW)).toMatch(
    /left\. AWS throttles StartRun, so polony calls it every 32 s until AWS accepts calls again\.$/,
  );
});
