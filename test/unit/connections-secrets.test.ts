import { randomBytes } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { aesDecrypt, aesEncrypt, createEnvelopeKey, createLocalKey } from '../../encryption/keys.js';
import { Secrets } from '../../store/secrets.js';
import {
  issuedCredentialsPolicy,
  SESSION_POLICY_LIMIT,
  type SessionEntry,
  sessionPolicies,
} from '../../domain/iam/sessionPolicies.js';
import { findRefusedEntries } from '../../aws/refusedEntries.js';

describe('Secrets', () => {
  const one = createLocalKey('one', randomBytes(32));
  const two = createLocalKey('two', randomBytes(32));

  it('decrypts what it encrypted, and never encrypts to the same text twice', async () => {
    const secrets = new Secrets([one]);
    const sealed = [await secrets.seal('geheim', 'a'), await secrets.seal('geheim', 'a')];
    expect(sealed[0]!.sealed).not.toBe(sealed[1]!.sealed);
    expect(Buffer.from(sealed[0]!.sealed, 'base64').includes('geheim')).toBe(false);
    expect(await secrets.open(sealed[0]!, 'a')).toBe('geheim');
  });

  it('encrypts with the first key and decrypts with the key that was used to encrypt', async () => {
    const old = await new Secrets([one]).seal('geheim', 'a');
    const secrets = new Secrets([two, one]);
    expect(await secrets.open(old, 'a')).toBe('geheim');
    expect((await secrets.seal('geheim', 'a')).keyId).toBe('two');
    await expect(new Secrets([two]).open(old, 'a')).rejects.toThrow(/key one is not configured/);
  });

  it('rejects a secret that was moved to another owner or changed in any bit', async () => {
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

  it('supports data keys that an external service wraps', async () => {
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

  it('rejects a new secret when no key is configured', async () => {
    await expect(new Secrets([]).seal('geheim', 'a')).rejects.toThrow(/POLONY_ENCRYPTION_KEYS/);
  });
});

describe('sessionPolicies', () => {
  const statements = (policy: string) =>
    (JSON.parse(policy) as { Statement: { Action: string | string[]; Resource: string | string[] }[] }).Statement;
  it('allows the folders in use and no others, then gets wider step by step', () => {
    const [narrow, ...wider] = sessionPolicies({
      partition: 'aws',
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
    // Even the widest policy allows no more services than a provider needs.
    for (const policy of [narrow!, ...wider])
      for (const { Action } of statements(policy))
        for (const action of [Action].flat()) expect(action).toMatch(/^(s3|omics|sts|iam):[A-Z][A-Za-z]+$/);
  });
  it('has only characters that STS accepts, which mean the prefix as it is', () => {
    for (const prefix of [
      'ラン',
      'läufe/\u{1f4c1}',
      'bell\u0007',
      'c1\u0085',
      'é\u0100',
      '"\\\\',
      '${aws:username}?*',
    ]) {
      const [narrow] = sessionPolicies({
        partition: 'aws',
        folders: [{ bucket: 'lab', prefix }],
        executionRoleArns: [],
      });
      const issued = issuedCredentialsPolicy('read', 'lab', `${prefix}/`, 'us-west-2');
      const escaped = prefix.replace(/[*?$]/g, (char) => `\${${char}}`);
      for (const text of [narrow!, issued]) {
        expect(text).toMatch(/^[\t\n\r\u0020-\u00ff]+$/);
        expect(JSON.stringify(statements(text))).toContain(JSON.stringify(`arn:aws:s3:::lab/${escaped}/*`));
      }
    }
  });
  it('gets wider for the longest prefixes first', () => {
    const folders = [
      { bucket: 'lab', prefix: 'runs' },
      { bucket: 'far', prefix: 'ラ'.repeat(170) },
      { bucket: 'near', prefix: 'ラ'.repeat(90) },
      { bucket: 'lab', prefix: 'more' },
    ];
    const objectsOf = (policy: string) =>
      statements(policy).find((each) => each.Action.includes('s3:PutObject'))!.Resource;
    const near = `arn:aws:s3:::near/${'ラ'.repeat(90)}/*`;
    const lab = ['arn:aws:s3:::lab/more/*', 'arn:aws:s3:::lab/runs/*'];
    expect(sessionPolicies({ partition: 'aws', folders, executionRoleArns: [] }).map(objectsOf)).toEqual([
      ['arn:aws:s3:::far/*', ...lab, near],
      ['arn:aws:s3:::far/*', ...lab, 'arn:aws:s3:::near/*'],
      ['arn:aws:s3:::far/*', 'arn:aws:s3:::lab/*', 'arn:aws:s3:::near/*'],
      'arn:aws:s3:::*/*',
    ]);
    const many = Array.from({ length: 30 }, (_, at) => ({ bucket: `b${at}`, prefix: `p${at}` }));
    expect(sessionPolicies({ partition: 'aws', folders: many, executionRoleArns: [] }).length).toBeLessThanOrEqual(8);
  });
  it('stays below the size limit of STS with any number of folders', () => {
    const folders = Array.from({ length: 100 }, (_, at) => ({
      bucket: `lab-bucket-with-a-long-name-${at}`,
      prefix: 'instruments/runs',
    }));
    const policies = sessionPolicies({ partition: 'aws', folders, executionRoleArns: [] });
    expect(policies.length).toBeGreaterThan(0);
    for (const policy of policies) expect(policy.length).toBeLessThanOrEqual(SESSION_POLICY_LIMIT);
  });
  it('allows nothing in S3 when no storage is connected', () => {
    const policies = sessionPolicies({ partition: 'aws', folders: [], executionRoleArns: [] });
    expect(policies).toHaveLength(1);
    expect(policies[0]).not.toContain('s3:');
  });
});

describe('findRefusedEntries', () => {
  const entries = (count: number): SessionEntry[] =>
    Array.from({ length: count }, (_, at) => ({ bucket: 'lab', prefix: String(at) }));
  /** Refuses policies that have one of these prefixes. */
  const search = async (count: number, bad: string[]) => {
    let tries = 0;
    const found = await findRefusedEntries(entries(count), 'AWS refuses all', async (part) => {
      tries++;
      const refused = part.find((entry) => 'prefix' in entry && bad.includes(entry.prefix));
      return refused && 'prefix' in refused ? `AWS refuses ${refused.prefix}` : undefined;
    });
    return { tries, found };
  };
  it('finds the entries at fault in few tries', async () => {
    expect(await search(1, ['0'])).toEqual({
      tries: 1,
      found: [{ entry: { bucket: 'lab', prefix: '0' }, reason: 'AWS refuses 0' }],
    });
    const { tries, found } = await search(100, ['63', '7']);
    expect(found.map(({ entry }) => 'prefix' in entry && entry.prefix)).toEqual(['7', '63']);
    expect(tries).toBeLessThan(30);
  });
  it('blames nobody if AWS accepts all of them in the end', async () => {
    expect((await search(3, [])).found).toEqual([]);
  });
  it('gives up what it has not found to be good, if too many are at fault', async () => {
    const all = entries(100).map((_, at) => String(at));
    const { tries, found } = await search(100, all);
    expect(tries).toBe(60);
    expect(found).toHaveLength(100);
    const some = await search(
      100,
      all.filter((_, at) => at % 9 === 0),
    );
    const named = new Set(some.found.map(({ entry }) => ('prefix' in entry ? entry.prefix : '')));
    expect(all.filter((_, at) => at % 9 === 0).every((prefix) => named.has(prefix))).toBe(true);
    expect(named.size).toBeLessThan(60);
  });
});
