import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { aesDecrypt, aesEncrypt, createEnvelopeKey, createLocalKey, Secrets } from '../../store/secrets.js';
import { SESSION_POLICY_LIMIT, sessionPolicies } from '../../domain/iam/sessionPolicies.js';

describe('secrets', () => {
  const one = createLocalKey('one', randomBytes(32));
  const two = createLocalKey('two', randomBytes(32));

  it('come back, and are never the same twice', async () => {
    const secrets = new Secrets([one]);
    const sealed = [await secrets.seal('geheim', 'a'), await secrets.seal('geheim', 'a')];
    expect(sealed[0]!.sealed).not.toBe(sealed[1]!.sealed);
    expect(Buffer.from(sealed[0]!.sealed, 'base64').includes('geheim')).toBe(false);
    expect(await secrets.open(sealed[0]!, 'a')).toBe('geheim');
  });

  it('are encrypted with the first key and decrypted with the one that encrypted them', async () => {
    const old = await new Secrets([one]).seal('geheim', 'a');
    const secrets = new Secrets([two, one]);
    expect(await secrets.open(old, 'a')).toBe('geheim');
    expect((await secrets.seal('geheim', 'a')).keyId).toBe('two');
    await expect(new Secrets([two]).open(old, 'a')).rejects.toThrow(/key one is not configured/);
  });

  it('are bound to what they belong to, and to every bit', async () => {
    const secrets = new Secrets([one]);
    const { keyId, sealed } = await secrets.seal('geheim', 'provider/1');
    await expect(secrets.open({ keyId, sealed }, 'provider/2')).rejects.toThrow(/cannot be decrypted/);
    for (let bit = 0; bit < Buffer.from(sealed, 'base64').length * 8; bit += 7) {
      const changed = Buffer.from(sealed, 'base64');
      changed[bit >> 3]! ^= 1 << (bit & 7);
      await expect(secrets.open({ keyId, sealed: changed.toString('base64') }, 'provider/1')).rejects.toThrow(
        /cannot be decrypted/,
      );
    }
    await expect(secrets.open({ keyId, sealed: '' }, 'provider/1')).rejects.toThrow(/cannot be decrypted/);
  });

  it('can have data keys that another service wraps', async () => {
    const master = randomBytes(32);
    let unwrapped = 0;
    const key = createEnvelopeKey('kms', {
      generate: async (context) => {
        const data = randomBytes(32);
        return { key: data, wrapped: aesEncrypt(master, data, context) };
      },
      unwrap: async (wrapped, context) => {
        unwrapped++;
        return aesDecrypt(master, wrapped, context);
      },
    });
    const secrets = new Secrets([key]);
    expect(await secrets.open(await secrets.seal('geheim', 'a'), 'a')).toBe('geheim');
    expect(unwrapped).toBe(1);
  });

  it('are refused where no key is configured', async () => {
    await expect(new Secrets([]).seal('geheim', 'a')).rejects.toThrow(/POLONY_ENCRYPTION_KEYS/);
  });
});

describe('policies of sessions of access keys', () => {
  const statements = (policy: string) =>
    (JSON.parse(policy) as { Statement: { Action: string | string[]; Resource: string | string[] }[] }).Statement;
  it('allow the folders in use and nothing beside them', () => {
    const [narrow, ...wider] = sessionPolicies({
      folders: [
        { bucket: 'lab', prefix: 'runs' },
        { bucket: 'lab', prefix: 'a*b' },
      ],
      executionRoleArns: ['arn:aws:iam::111122223333:role/omics'],
    });
    expect(statements(narrow!).find((each) => each.Action.includes('s3:PutObject'))!.Resource).toEqual([
      'arn:aws:s3:::lab/a${*}b/*',
      'arn:aws:s3:::lab/runs/*',
    ]);
    expect(statements(narrow!).find((each) => each.Action === 'iam:PassRole')!.Resource).toBe(
      'arn:aws:iam::111122223333:role/omics',
    );
    expect(
      wider.map((policy) => statements(policy).find((each) => each.Action.includes('s3:PutObject'))!.Resource),
    ).toEqual(['arn:aws:s3:::lab/*', 'arn:aws:s3:::*/*']);
    // Never more than a provider needs, however wide.
    for (const policy of [narrow!, ...wider])
      for (const { Action } of statements(policy))
        for (const action of [Action].flat()) expect(action).toMatch(/^(s3|omics|sts|iam):[A-Z][A-Za-z]+$/);
  });
  it('stay under the limit of STS however much is in use', () => {
    const folders = Array.from({ length: 100 }, (_, at) => ({
      bucket: `lab-bucket-with-a-long-name-${at}`,
      prefix: 'instruments/runs',
    }));
    const policies = sessionPolicies({ folders, executionRoleArns: [] });
    expect(policies.length).toBeGreaterThan(0);
    for (const policy of policies) expect(policy.length).toBeLessThanOrEqual(SESSION_POLICY_LIMIT);
  });
  it('give no S3 where no storage is connected', () => {
    const policies = sessionPolicies({ folders: [], executionRoleArns: [] });
    expect(policies).toHaveLength(1);
    expect(policies[0]).not.toContain('s3:');
  });
});
