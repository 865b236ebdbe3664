import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { AwsSessions, type ProviderAccess, SessionError } from '../../aws/sessions.js';
import type { SessionScope } from '../../domain/iam/sessionPolicies.js';

// An STS that refuses what the local AWS accepts.
let server: Server;
const before = { ...process.env };
let refuse: (policy: string) => { code: string; message: string } | undefined = () => undefined;
let policies: string[] = [];

beforeAll(async () => {
  server = createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const policy = new URLSearchParams(body).get('Policy') ?? '';
      policies.push(policy);
      const refusal = refuse(policy);
      response.writeHead(refusal === undefined ? 200 : 400, { 'content-type': 'text/xml' });
      response.end(
        refusal === undefined
          ? '<GetFederationTokenResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><GetFederationTokenResult>' +
              '<Credentials><AccessKeyId>ASIAX</AccessKeyId><SecretAccessKey>s</SecretAccessKey>' +
              '<SessionToken>t</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>' +
              '</GetFederationTokenResult></GetFederationTokenResponse>'
          : '<ErrorResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><Error><Type>Sender</Type>' +
              `<Code>${refusal.code}</Code><Message>${refusal.message}</Message></Error></ErrorResponse>`,
      );
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  process.env.AWS_ENDPOINT_URL_STS = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterEach(() => {
  refuse = () => undefined;
  policies = [];
});
afterAll(() => {
  process.env = before;
  server.close();
});

const scope: SessionScope = {
  partition: 'aws',
  folders: ['one', 'odd', 'two', 'three'].map((prefix) => ({ bucket: 'lab', prefix })),
  executionRoleArns: ['arn:aws:iam::111122223333:role/omics'],
};
function open(given = scope, version = '1'): { sessions: AwsSessions; provider: ProviderAccess } {
  const provider: ProviderAccess = {
    type: 'accessKeys',
    region: 'us-west-2',
    version,
    accessKeyId: 'AKIAX',
    secretAccessKey: 's',
    scope: given,
  };
  return { provider, sessions: new AwsSessions({ sessionSeconds: 3600, loadProvider: async () => provider }) };
}
const malformed = (reason: string) => ({ code: 'MalformedPolicyDocument', message: reason });
const id = '01920000-0000-7000-8000-000000000000';

it('leaves out the entry that AWS does not accept, and keeps the others as narrow as before', async () => {
  refuse = (policy) => (policy.includes('lab/odd/') ? malformed('Syntax errors in policy.') : undefined);
  const { sessions } = open();
  const session = await sessions.session(id);
  expect(session.leftOut).toEqual([{ entry: scope.folders[1], reason: 'Syntax errors in policy' }]);
  for (const prefix of ['one', 'two', 'three']) expect(policies.at(-1)).toContain(`"arn:aws:s3:::lab/${prefix}/*"`);
  expect(policies.at(-1)).not.toContain('odd');
  expect(policies.at(-1)).toContain('role/omics');
  // It remembers the entry as long as the provider has the same connections.
  policies = [];
  sessions.close();
  await sessions.session(id);
  expect(policies).toHaveLength(1);
  // A verification tries again.
  refuse = () => undefined;
  sessions.forget(id);
  expect((await sessions.session(id)).leftOut).toBeUndefined();
  sessions.close();
});

/** A scope with many folders, of which AWS does not accept those that `isOdd` names. */
function openMany(count: number, isOdd: (at: number) => boolean): AwsSessions {
  const folders = Array.from({ length: count }, (_, at) => ({
    bucket: 'lab',
    prefix: `${isOdd(at) ? 'x' : 'f'}${at}`,
  }));
  refuse = (policy) => (/lab\/x/.test(policy) ? malformed('Syntax errors in policy.') : undefined);
  return open({ ...scope, folders }).sessions;
}
const prefixesOf = (session: { leftOut?: readonly { entry: object }[] }): string[] =>
  (session.leftOut ?? []).map(({ entry }) => (entry as { prefix?: string }).prefix ?? 'role');

it.each([
  [2, 1],
  [12, 12],
  [40, 10],
  [40, 20],
  [40, 40],
])('of %i folders leaves out %i at fault, and the provider works', async (count, odd) => {
  const sessions = openMany(count, (at) => at % Math.floor(count / odd) === 0 && at / Math.floor(count / odd) < odd);
  const session = await sessions.session(id);
  const named = prefixesOf(session);
  expect(named.filter((prefix) => prefix.startsWith('x'))).toHaveLength(odd);
  expect(new Set(named).size).toBe(named.length);
  const granted = [...policies.at(-1)!.matchAll(/lab\/f(\d+)\//g)].length;
  // Each folder is either granted or named.
  expect(granted + named.filter((prefix) => prefix !== 'role').length).toBe(count);
  for (const each of session.leftOut!)
    if (!named.includes('role') && 'prefix' in each.entry && each.entry.prefix.startsWith('f'))
      expect(each).toMatchObject({ isUntried: true, reason: expect.stringContaining('Syntax errors') as string });
  // The first session, the one without any entry, at most 60 tries, and the one that works.
  expect(policies.length).toBeLessThanOrEqual(63);
  // What works stays found: the next session takes one call.
  policies = [];
  sessions.close();
  await sessions.session(id);
  expect(policies).toHaveLength(1);
  sessions.close();
});

it('keeps what AWS accepts together, although it accepts each of two entries alone', async () => {
  refuse = (policy) =>
    policy.includes('lab/one/') && policy.includes('lab/three/') ? malformed('Together.') : undefined;
  const { sessions } = open();
  expect(prefixesOf(await sessions.session(id))).toEqual(['three']);
  sessions.close();
});

it('leaves out an execution role that AWS does not accept', async () => {
  refuse = (policy) => (policy.includes('iam:PassRole') ? malformed('Partition is not valid.') : undefined);
  const { sessions } = open();
  expect((await sessions.session(id)).leftOut).toEqual([
    { entry: { executionRoleArn: scope.executionRoleArns[0] }, reason: 'Partition is not valid' },
  ]);
  expect(policies.at(-1)).toContain('lab/odd/');
  sessions.close();
});

it('blames no entry if AWS accepts none of the policies, or refuses the session itself', async () => {
  refuse = () => malformed('Syntax errors in policy.');
  const { sessions } = open();
  await expect(sessions.session(id)).rejects.toThrow(SessionError);
  expect(policies.length).toBeLessThanOrEqual(2);
  refuse = () => ({ code: 'AccessDenied', message: 'not authorized' });
  policies = [];
  await expect(sessions.session(id)).rejects.toThrow(SessionError);
  expect(policies).toHaveLength(1);
  sessions.close();
});

it('uses a wider policy if the packed one is too large', async () => {
  refuse = (policy) =>
    policy.includes('lab/one/') ? { code: 'PackedPolicyTooLarge', message: 'consumes 114%' } : undefined;
  const { sessions } = open();
  expect((await sessions.session(id)).leftOut).toBeUndefined();
  expect(policies.at(-1)).toContain('"arn:aws:s3:::lab/*"');
  sessions.close();
});

it('tells in a denied call what the session leaves out', async () => {
  refuse = (policy) => (policy.includes('lab/odd/') ? malformed('Syntax errors in policy.') : undefined);
  const { sessions } = open();
  const denied = Object.assign(new Error('Access Denied'), {
    name: 'AccessDenied',
    $metadata: { httpStatusCode: 403 },
  });
  await expect(sessions.use(id, () => Promise.reject(denied))).rejects.toThrow(
    /Access Denied\. polony leaves out .* s3:\/\/lab\/odd\/ \(Syntax errors in policy\)/,
  );
  sessions.close();
});
