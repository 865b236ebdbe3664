import { expect, it } from 'vitest';
import { POLICY_LIMIT, policyBytes } from '../../domain/grants/bucketPolicy.js';
import { waitFor } from '../support.js';
import {
  useGrantStack,
  type Grant,
  apps,
  call,
  lab,
  policyOf,
  statementsOf,
  setPolicy,
  account,
  grant,
  granted,
  removed,
  theirs,
} from '../grantStack.js';

useGrantStack();

it('reaches the exact policy after two hundred concurrent changes through two APIs and two workers', async () => {
  const at = await lab();
  await setPolicy(at.bucket, theirs(at.bucket));
  const seeds: Grant[] = [];
  for (let number = 0; number < 50; number++) seeds.push(await granted(at, { principal: account(number) }));
  const began = Date.now();
  // All calls run at the same time: 50 removals, and 150 grants that do not all fit into 20 KB.
  const calls = [
    ...seeds.map(
      ({ id }) =>
        () =>
          call('DELETE', `${at.grants}/${id}`),
    ),
    ...Array.from(
      { length: 150 },
      (_, number) => () =>
        grant(
          at,
          number % 10 === 0
            ? { principal: account(1000 + number), prefix: `runs/${number}/` }
            : { principal: account(1000 + number) },
        ),
    ),
  ]
    .map((each, index) => ({ each, order: (index * 7919) % 211 }))
    .sort((one, other) => one.order - other.order);
  const answers = await Promise.all(calls.map(({ each }) => each()));
  const reasons = new Set(answers.map(({ status, reason }) => `${status} ${reason ?? ''}`.trim()));
  expect([...reasons].filter((reason) => !['201', '202', '204', '409 POLICY_TOO_LARGE'].includes(reason))).toEqual([]);
  const unsettled = async (): Promise<number> =>
    (
      await apps[0]!.db
        .selectFrom('access_grants')
        .select('id')
        .where('bucket', '=', at.bucket)
        .where('state', 'in', ['pending', 'removing'])
        .execute()
    ).length;
  await waitFor('all to be settled', async () => (await unsettled()) === 0, unsettled);
  const seconds = (Date.now() - began) / 1000;
  const list: Grant[] = [];
  for (let pageToken = ''; ;) {
    const { body } = await call('GET', `${at.grants}?pageSize=70${pageToken === '' ? '' : `&pageToken=${pageToken}`}`);
    list.push(...body.accessGrants);
    expect(body.foreignStatements).toEqual([]);
    if ((pageToken = body.nextPageToken) === '') break;
  }
  const active = list.filter(({ state }) => state === 'active');
  const refused = list.filter(({ state }) => state === 'failed');
  expect([active.length + refused.length, list.length]).toEqual([150, 150]);
  expect(refused.every(({ problem }) => problem!.kind === 'POLICY_TOO_LARGE')).toBe(true);
  expect(list.some(({ id }) => seeds.some((seed) => seed.id === id))).toBe(false);
  const policy = (await policyOf(at.bucket))!;
  // The statements of the customer unchanged, then each granted statement once, and nothing else.
  const own = active.flatMap(({ statements }) => statements.map((statement) => JSON.stringify(statement)));
  const [before, after] = theirs(at.bucket).split('}],"Version"') as [string, string];
  expect(policy.startsWith(`${before}},`) && policy.endsWith(`}],"Version"${after}`)).toBe(true);
  expect(policy.length).toBe(theirs(at.bucket).length + own.reduce((sum, text) => sum + text.length + 1, 0));
  expect(own.filter((text) => !policy.includes(text))).toEqual([]);
  expect(policyBytes(policy)).toBeLessThanOrEqual(POLICY_LIMIT);
  console.info(
    `200 changes in ${seconds.toFixed(1)} s: ${active.length} granted, ${seeds.length} removed, ${refused.length} had no room; policy of ${policyBytes(policy)} bytes`,
  );

  // Each lane alternates between grant and removal, with all lanes at the same time. Each must reach its own final
  // state.
  for (let from = 0; from < list.length; from += 10)
    await Promise.all(list.slice(from, from + 10).map(({ id }) => removed(at, id)));
  expect(await policyOf(at.bucket)).toBe(theirs(at.bucket));
  const kept = await Promise.all(
    Array.from({ length: 40 }, async (_, lane) => {
      let last: Grant | undefined;
      for (let step = 0; step < 5; step++) {
        if (last === undefined) last = await granted(at, { principal: account(2000 + lane) });
        else {
          await removed(at, last.id);
          last = undefined;
        }
        if (step === 3 && lane % 2 === 0) break;
      }
      return last;
    }),
  );
  const left = kept.filter((each) => each !== undefined);
  expect(left).toHaveLength(20);
  expect(
    (await statementsOf(at.bucket))
      .slice(2)
      .map(({ Sid }) => Sid)
      .sort(),
  ).toEqual(left.flatMap(({ statements }) => statements.map(({ Sid }) => Sid)).sort());
}, 400_000);
