import { CreateUserCommand, DeleteUserCommand, GetUserCommand } from '@aws-sdk/client-iam';
import { expect, it } from 'vitest';
import { Orchestrator } from '../../temporal/client.js';
import { bucketAccessWorkflowId } from '../../workflows/messages/grants.js';
import { waitFor } from '../support.js';
import {
  account,
  admin,
  call,
  createRole,
  deleteRole,
  grant,
  granted,
  interceptS3,
  lab,
  type Grant,
  type Lab,
  policyOf,
  QUEUE,
  setPolicy,
  settled,
  SHARING,
  startWorker,
  stateOf,
  statementsOf,
  stopWorkers,
  temporal,
  useGrantStack,
} from '../grantStack.js';

// S3 judges a policy as a whole: one principal that does not exist holds up all changes of the policy.
useGrantStack();

const sidsOf = async (at: Lab): Promise<(string | undefined)[]> =>
  (await statementsOf(at.bucket)).map(({ Sid }) => Sid);
/** The policies that workers send to S3. */
function recordWrites(at: Lab): string[] {
  const writes: string[] = [];
  interceptS3((command, { Bucket, Policy }) => {
    if (Bucket === at.bucket && /^(Put|Delete)BucketPolicy/.test(command)) writes.push(Policy ?? '');
  });
  return writes;
}
const entriesOf = async (at: Lab, action: string) =>
  (await call('GET', `/v1/audit-log?action=bucketAccess.${action}&resourceId=${at.storageId}`)).body.entries;

it('removes grants of deleted roles, and then goes on to revoke and grant others', { tags: 'long' }, async () => {
  const at = await lab();
  const names = ['a', 'b', 'c'].map((letter) => `${at.bucket}-${letter}`);
  const [a, b, c] = [
    await granted(at, { principal: await createRole(names[0]!) }),
    await granted(at, { principal: await createRole(names[1]!), prefix: 'runs/' }),
    await granted(at, { principal: await createRole(names[2]!) }),
  ];
  const ids = [await deleteRole(names[0]!), await deleteRole(names[1]!)];

  // The list tells before anything is changed.
  const list = (await call('GET', at.grants)).body;
  expect(list.accessGrants.map(({ id, state, problem }) => [id, state, problem?.kind])).toEqual([
    [a.id, 'failed', 'DELETED_PRINCIPAL'],
    [b.id, 'failed', 'DELETED_PRINCIPAL'],
    [c.id, 'active', undefined],
  ]);
  expect(list.accessGrants[1]!.problem!.message).toMatch(new RegExp(`${b.principal} was deleted.*${ids[1]}`));
  expect([list.policyProblem, list.foreignStatements]).toEqual([null, []]);

  const writes = recordWrites(at);
  const before = await policyOf(at.bucket);
  expect((await call('DELETE', `${at.grants}/${a.id}`)).status).toBe(204);
  // One write takes the statements of both out.
  expect(writes).toEqual([await policyOf(at.bucket)]);
  expect(await sidsOf(at)).toEqual(c.statements.map(({ Sid }) => Sid));
  const dropped = await stateOf(at, b.id);
  expect([dropped.state, dropped.problem!.kind]).toEqual(['failed', 'DELETED_PRINCIPAL']);
  expect(dropped.problem!.message).toContain(ids[1]);
  const [entry, ...more] = await entriesOf(at, 'drop');
  expect(more).toEqual([]);
  expect(entry).toMatchObject({
    caller: { kind: 'system', name: 'polony' },
    requestId: bucketAccessWorkflowId(at.bucket),
    reason: null,
    timeEnded: expect.any(String) as string,
    detail: { accessGrantId: b.id, principal: b.principal, before, after: writes[0] },
  });

  expect((await call('DELETE', `${at.grants}/${b.id}`)).status).toBe(204);
  expect(writes).toHaveLength(1);
  expect((await call('DELETE', `${at.grants}/${c.id}`)).status).toBe(204);
  expect(await policyOf(at.bucket)).toBeUndefined();
  expect((await granted(at, { principal: '999988887777' })).principal).toBe('arn:aws:iam::999988887777:root');
  expect((await call('GET', at.grants)).body.accessGrants).toHaveLength(1);
});

it(
  'drops grants of deleted roles and users with any other change, and never gives them to a new role',
  { tags: 'long' },
  async () => {
    const at = await lab();
    const role = `${at.bucket}-role`;
    const [one, two] = [
      await granted(at, { principal: await createRole(role), prefix: 'runs/A/' }),
      await granted(at, { principal: await createRole(`${role}-2`) }),
    ];
    const { User } = await admin.iam.send(new CreateUserCommand({ UserName: role, Path: '/lab/' }));
    const three = await granted(at, { principal: User!.Arn });
    await deleteRole(role);
    await admin.iam.send(new DeleteUserCommand({ UserName: role }));
    await createRole(role);

    const added = await granted(at, { principal: account(1), prefix: 'runs/' });
    expect(await sidsOf(at)).toEqual([...two.statements, ...added.statements].map(({ Sid }) => Sid));
    for (const { id } of [one, three])
      expect(await stateOf(at, id)).toMatchObject({ state: 'failed', problem: { kind: 'DELETED_PRINCIPAL' } });
    expect((await entriesOf(at, 'drop')).map(({ detail }) => detail!.accessGrantId).sort()).toEqual(
      [one.id, three.id].sort(),
    );

    // A person may grant it to the new role. Without the user, that is refused for the user alone.
    const repaired = (await call('POST', `${at.grants}/${one.id}/repair`)).body.accessGrant;
    expect([repaired.state, repaired.problem]).toEqual(['active', null]);
    const refused = await call('POST', `${at.grants}/${three.id}/repair`);
    expect([refused.status, refused.reason]).toEqual([409, 'PRINCIPAL_NOT_FOUND']);
    await expect(admin.iam.send(new GetUserCommand({ UserName: role }))).rejects.toMatchObject({ $fault: 'client' });
    expect((await statementsOf(at.bucket)).length).toBe(5);
  },
);

it('removes an expired grant beside one of a deleted role', { tags: 'long' }, async () => {
  let at: Lab;
  let kept: Grant;
  let short: Grant;
  // The loop doubles the time until the machine can delete the role before the expiry.
  for (let seconds = 4; ; seconds *= 2) {
    at = await lab();
    const role = `${at.bucket}-role`;
    kept = await granted(at, { principal: await createRole(role) });
    const ends = Math.ceil(Date.now() / 1000) * 1000 + seconds * 1000;
    short = await settled(at, { principal: account(1), timeExpires: new Date(ends).toISOString() });
    await deleteRole(role);
    if (Date.now() < ends) break;
  }
  await waitFor('the expiry', async () => (await stateOf(at, short.id)).state === 'expired');
  expect(await policyOf(at.bucket)).toBeUndefined();
  expect((await stateOf(at, kept.id)).problem!.kind).toBe('DELETED_PRINCIPAL');
});

it.each([true, false])(
  'refuses only the grants whose principals do not exist, if S3 names them: %s',
  { tags: 'long' },
  async (areNamed) => {
    const at = await lab();
    await stopWorkers();
    let writes = 0;
    interceptS3((command, { Bucket, Policy }) => {
      if (Bucket !== at.bucket || command !== 'PutBucketPolicyCommand') return;
      writes++;
      if (!areNamed && /nobody|nowhere/.test(Policy!))
        throw Object.assign(new Error('Invalid principal in policy'), {
          name: 'MalformedPolicy',
          $metadata: { httpStatusCode: 400 },
        });
    });
    const role = await createRole(`${at.bucket}-role`);
    const principals = [
      account(1),
      'arn:aws:iam::111122223333:role/nobody',
      role,
      'arn:aws:iam::444455556666:user/nowhere',
      account(2),
    ];
    const answers = principals.map((principal) => grant(at, { principal }));
    await waitFor('all to be requested', async () => (await call('GET', at.grants)).body.accessGrants.length === 5);
    await startWorker();
    await startWorker();
    const seen = await Promise.all(answers);
    expect(seen.map(({ status, reason }) => `${status} ${reason ?? ''}`.trim())).toEqual([
      '201',
      '409 PRINCIPAL_NOT_FOUND',
      '201',
      '409 PRINCIPAL_NOT_FOUND',
      '201',
    ]);
    for (const missing of [1, 3]) expect(seen[missing]!.body.message).toContain(principals[missing]);
    expect((await sidsOf(at)).sort()).toEqual(
      [0, 2, 4].map((number) => `ElemBio_BucketReadAccess_${principals[number]}`).sort(),
    );
    // S3 names one principal at a time. Without a name, each is tried alone.
    expect(writes).toBe(areNamed ? 3 : 6);
    interceptS3(undefined);
    const failed = seen[1]!.metadata.accessGrantId as string;
    await createRole('nobody');
    expect((await call('POST', `${at.grants}/${failed}/repair`)).body.accessGrant.state).toBe('active');
    await call('DELETE', `${at.grants}/${failed}`);
    await deleteRole('nobody');
  },
);

it(
  'drops a grant whose role S3 no longer knows, although the policy still shows its ARN',
  { tags: 'long' },
  async () => {
    const at = await lab();
    const role = `${at.bucket}-role`;
    const old = await granted(at, { principal: await createRole(role) });
    // S3 may show the policy from before the deletion for a moment.
    interceptS3(async (command, { Bucket, Policy }) => {
      if (Bucket !== at.bucket || command !== 'PutBucketPolicyCommand' || !Policy!.includes(old.principal)) return;
      await Promise.resolve();
      throw Object.assign(new Error('Invalid principal in policy'), {
        name: 'MalformedPolicy',
        Detail: `"AWS" : "${old.principal}"`,
        $metadata: { httpStatusCode: 400 },
      });
    });
    const added = await granted(at, { principal: account(1) });
    expect(await sidsOf(at)).toEqual(added.statements.map(({ Sid }) => Sid));
    expect(await stateOf(at, old.id)).toMatchObject({ state: 'failed', problem: { kind: 'DELETED_PRINCIPAL' } });
  },
);

it('names the statement of others that holds up all changes, and changes nothing of it', { tags: 'long' }, async () => {
  const at = await lab();
  const role = `${at.bucket}-partner`;
  const ours = await granted(at, { principal: account(1) });
  const theirs = {
    Sid: 'Old partner',
    Effect: 'Allow',
    Principal: { AWS: [await createRole(role), account(3)] },
    Action: 's3:GetObject',
    Resource: `arn:aws:s3:::${at.bucket}/*`,
  };
  await setPolicy(at.bucket, { Version: '2012-10-17', Statement: [theirs, ...(await statementsOf(at.bucket))] });
  const uniqueId = await deleteRole(role);
  const shown = await statementsOf(at.bucket);

  const problem = {
    kind: 'DELETED_PRINCIPAL',
    message: expect.stringContaining(`${uniqueId} in the statement Old partner`) as string,
    remedy: expect.stringContaining('Take these principals out') as string,
  };
  expect((await call('GET', at.grants)).body.policyProblem).toMatchObject(problem);
  const refused = await grant(at, { principal: account(2) });
  expect([refused.status, refused.reason]).toEqual([409, 'DELETED_PRINCIPAL']);
  expect(refused.body.message).toContain(`${uniqueId} in the statement Old partner`);
  const removal = await call('DELETE', `${at.grants}/${ours.id}`);
  expect([removal.status, removal.reason]).toEqual([409, 'DELETED_PRINCIPAL']);
  expect(await stateOf(at, ours.id)).toMatchObject({ state: 'removing', problem });
  expect(await statementsOf(at.bucket)).toEqual(shown);

  await setPolicy(at.bucket, {
    Version: '2012-10-17',
    Statement: [{ ...theirs, Principal: { AWS: account(3) } }, ...shown.slice(1)],
  });
  const repaired = await call('POST', `${at.grants}/${refused.metadata.accessGrantId as string}/repair`);
  expect(repaired.body.accessGrant.state).toBe('active');
  // The removal was outstanding, so it went with it.
  expect((await call('GET', `${at.grants}/${ours.id}`)).status).toBe(404);
  expect((await sidsOf(at)).sort()).toEqual(['ElemBio_BucketReadAccess_' + account(2), 'Old partner'].sort());
});

it(
  'takes a statement of its own that others changed for one of others, until the grant is repaired or removed',
  { tags: 'long' },
  async () => {
    const at = await lab();
    const role = `${at.bucket}-role`;
    const ours = await granted(at, { principal: await createRole(role) });
    const [statement] = (await statementsOf(at.bucket)) as { Principal: { AWS: unknown } }[];
    await setPolicy(at.bucket, {
      Version: '2012-10-17',
      Statement: [{ ...statement, Principal: { AWS: [ours.principal, account(5)] } }],
    });
    await deleteRole(role);
    const refused = await grant(at, { principal: account(1) });
    expect([refused.status, refused.reason]).toEqual([409, 'DELETED_PRINCIPAL']);
    expect(refused.body.message).toContain(ours.statements[0]!.Sid);
    expect((await stateOf(at, ours.id)).state).toBe('changed');
    expect((await call('DELETE', `${at.grants}/${ours.id}`)).status).toBe(204);
    await granted(at, { principal: account(2) });
  },
);

it('finishes a drop whose worker died after the write', { tags: 'long' }, async () => {
  const at = await lab();
  const role = `${at.bucket}-role`;
  const ours = await granted(at, { principal: await createRole(role) });
  await deleteRole(role);
  // The write reaches S3, and then neither S3 nor polony answers.
  let isLost = false;
  interceptS3(async (command, { Bucket, Policy }) => {
    if (Bucket !== at.bucket || isLost || command !== 'PutBucketPolicyCommand') return;
    isLost = true;
    await setPolicy(at.bucket, Policy);
    throw Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
  });
  await granted(at, { principal: account(1) });
  await waitFor('the drop', async () => (await stateOf(at, ours.id)).problem?.kind === 'DELETED_PRINCIPAL');
  expect((await entriesOf(at, 'drop')).map(({ reason, timeEnded }) => [reason, timeEnded !== null])).toEqual([
    [null, true],
  ]);
  await new Orchestrator(temporal, QUEUE).grants.settle({ bucket: at.bucket, storageConnectionName: 'x' });
  expect((await stateOf(at, ours.id)).state).toBe('failed');
});

it('keeps a grant of a deleted role as it is while the policy cannot be written', { tags: 'long' }, async () => {
  const at = await lab();
  const role = `${at.bucket}-role`;
  const ours = await granted(at, { principal: await createRole(role) });
  await deleteRole(role);
  await at.allow(SHARING.filter((action) => action !== 's3:PutBucketPolicy'));
  expect((await grant(at, { principal: account(1) })).reason).toBe('ACCESS_DENIED');
  expect(await sidsOf(at)).toEqual(ours.statements.map(({ Sid }) => Sid));
  await at.allow(SHARING);
  await granted(at, { principal: account(1) });
  expect((await stateOf(at, ours.id)).problem!.message).toContain('AROA');
  expect((await entriesOf(at, 'drop')).map(({ reason }) => reason)).toEqual([null, 'ACCESS_DENIED']);
});
