import { expect, it } from 'vitest';
import { awsAccess, setSessions, execute, settings, usePollingStack } from '../pollingStack.js';

usePollingStack();

it('has as many events after five hundred polls as after five', async () => {
  setSessions(awsAccess({ sessionSeconds: 900 }));
  settings.runPollSeconds = 1;
  const few = await execute((polls) => polls >= 5);
  settings.runPollSeconds = 0.001;
  const many = await execute((polls) => polls >= 500);
  expect(few.polls).toBeLessThan(50);
  expect(many.polls).toBeGreaterThanOrEqual(500);
  expect(many.events).toBe(few.events);
  expect(few.events).toBeLessThanOrEqual(24);
});
