/** @module-tag long */
import { type AssumeRoleCommand, STSClient } from '@aws-sdk/client-sts';
import { expect, it } from 'vitest';
import { SessionError, AwsSessions } from '../../aws/sessions.js';
import {
  account,
  assumed,
  awsAccess,
  callsOf,
  setSessions,
  execute,
  limitSessions,
  providerId,
  runOf,
  usePollingStack,
} from '../pollingStack.js';

usePollingStack();

it('works with sessions of two seconds and renews each before it ends', { tags: 'long' }, async () => {
  setSessions(awsAccess({ sessionSeconds: 2 }));
  // All calls share sessions, so there are far fewer sessions than calls.
  const { id } = await execute((polls) => assumed.count >= 3 && polls > 2 * assumed.count);
  // This role may tag resources, so the run has tags.
  expect(runOf(id).tags).toMatchObject({ 'polony:execution': id });
  expect(assumed.count).toBeGreaterThanOrEqual(3);
  expect(callsOf(id, 'StartRun')).toHaveLength(1);
});

it('renews a session that AWS calls expired before our clock does, and repeats the call', async () => {
  const stopped = Date.now();
  setSessions(awsAccess({ sessionSeconds: 2, now: () => stopped }));
  const { id } = await execute(() => assumed.count >= 3);
  expect(assumed.count).toBeGreaterThanOrEqual(3);
  expect(callsOf(id, 'StartRun')).toHaveLength(1);
});

it('shares one session among simultaneous calls', async () => {
  const access = awsAccess({ sessionSeconds: 900 });
  const sessions = await Promise.all(Array.from({ length: 20 }, async () => access.session(providerId)));
  expect(new Set(sessions.map((session) => session.accessKeyId)).size).toBe(1);
  expect(assumed.count).toBe(1);
  access.close();
});

it('reduces the session length until the role allows it, and remembers the result', async () => {
  const asked: (number | undefined)[] = [];
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with `this` below
  const send = STSClient.prototype.send;
  STSClient.prototype.send = async function (this: STSClient, command: AssumeRoleCommand) {
    // The worker may still renew the sessions of two seconds of an earlier test.
    if (command.input.DurationSeconds !== 2) asked.push(command.input.DurationSeconds);
    return (send as (command: AssumeRoleCommand) => Promise<unknown>).call(this, command);
  } as typeof send;
  try {
    await limitSessions(3600);
    const access = awsAccess({ sessionSeconds: 43_200 });
    const { expiration } = await access.session(providerId);
    expect(asked).toEqual([43_200, 28_800, 14_400, 7200, 3600]);
    expect(expiration.getTime() - Date.now()).toBeLessThanOrEqual(3_601_000);
    access.forget(providerId);
    expect((await access.session(providerId)).seconds).toBe(3600);
    expect(asked.slice(5)).toEqual([3600]);
    access.close();
  } finally {
    STSClient.prototype.send = send;
    await limitSessions(43_200);
  }
});

it('reports a role that it cannot assume, and tries again at the next call', async () => {
  const access = new AwsSessions({
    sessionSeconds: 900,
    loadProvider: async () => ({
      type: 'role',
      version: '1',
      roleArn: account.providerRoleArn,
      externalId: assumed.count++ === 0 ? 'wrong-one' : account.externalId,
      region: 'us-west-2',
    }),
  });
  assumed.count = 0;
  await expect(access.session(providerId)).rejects.toThrow(SessionError);
  expect((await access.session(providerId)).accessKeyId).toMatch(/^ASIA/);
  access.close();
});
