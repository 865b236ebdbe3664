import { describe, expect, it } from 'vitest';
import { accountOfRole, checkAccountId, checkRoleArn, parseArn } from '../../domain/arn.js';
import { checkExecutionRole } from '../../domain/connections/compute.js';
import { checkSharedWorkflow, parseSharedWorkflow } from '../../domain/connections/flow.js';
import { checkExternalId } from '../../domain/connections/provider.js';
import { checkBucketName, checkPrefix, normalizePrefix, prefixesOverlap } from '../../domain/connections/storage.js';
import { joinKey, storageUri } from '../../domain/files/paths.js';
import { checkHealthOmicsRegion, checkRegion, HEALTHOMICS_REGIONS } from '../../domain/regions.js';
import type { FieldProblem } from '../../domain/errors.js';
import { checkJson, checkName, normalizeName } from '../../domain/names.js';

const rules = (problems: FieldProblem[]): string[] => problems.map((problem) => problem.rule);

describe('ARNs, roles and accounts', () => {
  it('parses an ARN, and rejects a malformed one', () => {
    expect(parseArn('arn:aws:omics:us-west-2:111122223333:workflow/1')).toEqual({
      partition: 'aws',
      service: 'omics',
      region: 'us-west-2',
      account: '111122223333',
      resource: 'workflow/1',
    });
    for (const text of ['', 'arn:aws:iam', 'arn:aws:iam::12:role/x', 'role/x']) expect(parseArn(text)).toBeUndefined();
    expect(accountOfRole('arn:aws:iam::111122223333:role/x')).toBe('111122223333');
  });
  it.each([
    'arn:aws:iam::111122223333:role/Element-ServiceUser',
    'arn:aws:iam::111122223333:role/service-role/lab/x',
    'arn:aws-us-gov:iam::111122223333:role/a+b=c,d.e@f_g',
  ])('accepts the role ARN %s', (arn) => expect(checkRoleArn('f', arn)).toEqual([]));
  it.each([
    'arn:aws:iam::111122223333:user/x',
    'arn:aws:iam:us-east-1:111122223333:role/x',
    'arn:aws:iam::1111:role/x',
    'arn:aws:iam::111122223333:role/',
    'arn:aws:iam::111122223333:role/a b',
    `arn:aws:iam::111122223333:role/${'x'.repeat(65)}`,
    'x',
  ])('rejects the role ARN %s', (arn) => expect(rules(checkRoleArn('f', arn))).toEqual(['ROLE_ARN']));
  it('accepts as execution role only another role of the same account', () => {
    const provider = { roleArn: 'arn:aws:iam::111122223333:role/provider', account: '111122223333' };
    expect(checkExecutionRole('f', 'arn:aws:iam::111122223333:role/omics', provider)).toEqual([]);
    expect(rules(checkExecutionRole('f', provider.roleArn, provider))).toEqual(['EXECUTION_ROLE_IS_PROVIDER_ROLE']);
    expect(rules(checkExecutionRole('f', 'arn:aws:iam::444455556666:role/omics', provider))).toEqual([
      'EXECUTION_ROLE_ACCOUNT',
    ]);
    expect(checkExecutionRole('f', 'arn:aws:iam::444455556666:role/omics', { roleArn: null, account: null })).toEqual(
      [],
    );
  });
  it("accepts external IDs of the length and characters that the vendor's page allows", () => {
    for (const value of ['ab', '@:,=-./_', 'x'.repeat(1224)]) expect(checkExternalId('f', value)).toEqual([]);
    for (const value of ['a', '', 'x'.repeat(1225)])
      expect(rules(checkExternalId('f', value))).toEqual(['EXTERNAL_ID_LENGTH']);
    for (const value of ['a b', 'a\tb', 'a+b', 'äö', 'a\u0000'])
      expect(rules(checkExternalId('f', value))).toEqual(['EXTERNAL_ID_CHARACTERS']);
  });
  it('accepts only account IDs of twelve ASCII digits', () => {
    expect(checkAccountId('f', '012345678901')).toEqual([]);
    for (const value of ['12345678901', '1234567890123', '12345678901x', '٠١٢٣٤٥٦٧٨٩٠١'])
      expect(rules(checkAccountId('f', value))).toEqual(['AWS_ACCOUNT_ID']);
  });
});

describe('regions', () => {
  it('accepts only texts that have the form of a region', () => {
    for (const region of ['us-west-2', 'ap-southeast-1', 'us-gov-east-1', 'il-central-1'])
      expect(checkRegion('f', region)).toEqual([]);
    for (const region of ['', 'US-WEST-2', 'oregon', 'us-west-2a', 'us-west'])
      expect(rules(checkRegion('f', region))).toEqual(['AWS_REGION']);
  });
  it('accepts the ten HealthOmics regions and no other', () => {
    expect(HEALTHOMICS_REGIONS).toHaveLength(10);
    for (const region of HEALTHOMICS_REGIONS)
      expect([...checkHealthOmicsRegion('f', region), ...checkRegion('f', region)]).toEqual([]);
    expect(rules(checkHealthOmicsRegion('f', 'us-west-1'))).toEqual(['HEALTHOMICS_REGION']);
  });
});

describe('buckets and prefixes', () => {
  it.each(['abc', 'lab-aviti.runs', '0bucket9', 'x'.repeat(63)])('accepts the bucket name %s', (name) =>
    expect(checkBucketName('f', name)).toEqual([]),
  );
  it.each([
    ['s3://lab', 'BUCKET_HAS_SCHEME'],
    ['S3:lab', 'BUCKET_HAS_SCHEME'],
    ['lab/runs', 'BUCKET_HAS_PATH'],
    ['arn:aws:s3:::lab', 'BUCKET_IS_ARN'],
    ['ab', 'BUCKET_LENGTH'],
    ['x'.repeat(64), 'BUCKET_LENGTH'],
    ['Lab', 'BUCKET_CHARACTERS'],
    ['lab_runs', 'BUCKET_CHARACTERS'],
    ['-lab', 'BUCKET_ENDS'],
    ['lab.', 'BUCKET_ENDS'],
    ['la..b', 'BUCKET_DOTS'],
    ['192.168.5.4', 'BUCKET_IP'],
    ['xn--lab', 'BUCKET_RESERVED'],
    ['lab-s3alias', 'BUCKET_RESERVED'],
    ['lab--x-s3', 'BUCKET_RESERVED'],
  ])('rejects the bucket name %s with %s', (name, rule) => expect(rules(checkBucketName('f', name))).toEqual([rule]));
  it('strips outer slashes and spaces from a prefix', () => {
    for (const [given, normal] of [
      ['/runs/', 'runs'],
      [' runs ', 'runs'],
      ['///', ''],
      ['a/b', 'a/b'],
      ['', ''],
    ] as const)
      expect(normalizePrefix(given)).toBe(normal);
  });
  it.each([
    ['s3://lab/runs', 'PREFIX_HAS_SCHEME'],
    ['x'.repeat(513), 'PREFIX_LENGTH'],
    ['ü'.repeat(257), 'PREFIX_LENGTH'],
    ['a\nb', 'PREFIX_CHARACTERS'],
    ['a\\b', 'PREFIX_CHARACTERS'],
    ['a*', 'PREFIX_WILDCARD'],
    ['${aws:username}', 'PREFIX_WILDCARD'],
    ['a//b', 'PREFIX_SEGMENTS'],
    ['a/../b', 'PREFIX_SEGMENTS'],
    ['.', 'PREFIX_SEGMENTS'],
  ])('rejects the prefix %s with %s', (prefix, rule) => expect(rules(checkPrefix('f', prefix))).toEqual([rule]));
  it('compares prefixes by whole folders to find an overlap', () => {
    for (const [one, other] of [
      ['', 'a'],
      ['a', 'a'],
      ['a', 'a/b'],
      ['', ''],
    ] as const)
      expect([prefixesOverlap(one, other), prefixesOverlap(other, one)]).toEqual([true, true]);
    for (const [one, other] of [
      ['a', 'ab'],
      ['a/b', 'a/c'],
      ['runs', 'runs-secret'],
    ] as const)
      expect([prefixesOverlap(one, other), prefixesOverlap(other, one)]).toEqual([false, false]);
  });
  it('joins buckets, prefixes and names to URIs and keys', () => {
    expect(storageUri('b', '', 'x')).toBe('s3://b/x/');
    expect(storageUri('b', 'p')).toBe('s3://b/p/');
    expect([joinKey('', 'a', 'b'), joinKey('p', 'a')]).toEqual(['a/b', 'p/a']);
  });
});

describe('shared workflows', () => {
  const arn = 'arn:aws:omics:us-west-2:588258415937:workflow/1234567';
  const check = (value: string, owner?: string) => checkSharedWorkflow({ workflow: 'w', owner: 'o' }, value, owner);
  it('accepts a resource ID or an ARN', () => {
    expect(parseSharedWorkflow(' 1234567 ')).toEqual({ id: '1234567' });
    expect(parseSharedWorkflow(arn)).toEqual({ id: '1234567', ownerId: '588258415937', region: 'us-west-2' });
    for (const value of [
      '',
      'x',
      '1'.repeat(19),
      'arn:aws:omics:us-west-2:588258415937:run/1',
      'arn:aws:omics:::workflow/1',
      'arn:aws:s3:us-west-2:588258415937:workflow/1',
    ])
      expect(parseSharedWorkflow(value)).toBeUndefined();
  });
  it('requires an owner, and rejects two different ones', () => {
    expect(check('1', '588258415937')).toEqual({
      problems: [],
      workflow: { id: '1', ownerId: '588258415937', region: undefined },
    });
    expect(check(arn).workflow).toEqual({ id: '1234567', ownerId: '588258415937', region: 'us-west-2' });
    expect(check(arn, '588258415937').problems).toEqual([]);
    expect(check('1').problems).toMatchObject([{ field: 'o', rule: 'REQUIRED' }]);
    expect(check(arn, '111122223333').problems).toMatchObject([{ field: 'o', rule: 'WORKFLOW_OWNER_MISMATCH' }]);
    expect(check('x', '1').problems).toMatchObject([
      { field: 'o', rule: 'AWS_ACCOUNT_ID' },
      { field: 'w', rule: 'SHARED_WORKFLOW_ID' },
    ]);
    expect(check(arn.replace('us-west-2', 'us-west-1')).problems).toMatchObject([
      { field: 'w', rule: 'HEALTHOMICS_REGION' },
    ]);
  });
});

describe('stored names and JSON', () => {
  it('normalizes a name and checks its length and characters', () => {
    expect(normalizeName('  u\u0308ber ')).toBe('über');
    expect(checkName('f', '🧬'.repeat(128))).toEqual([]);
    expect(rules(checkName('f', ''))).toEqual(['NAME_LENGTH']);
    expect(rules(checkName('f', 'x'.repeat(129)))).toEqual(['NAME_LENGTH']);
    for (const name of ['a\u0000', 'a\nb', '\ud800', 'a\u2028b'])
      expect(rules(checkName('f', name))).toEqual(['NAME_CHARACTERS']);
  });
  it('rejects JSON that PostgreSQL cannot store', () => {
    expect(checkJson('p', { a: [1, null, true, { b: 'ü🧬' }] })).toEqual([]);
    expect(checkJson('p', { a: ['x', 'y\u0000'] })).toMatchObject([{ field: 'p.a.1', rule: 'CHARACTERS' }]);
    expect(rules(checkJson('p', { ['\ud800']: 1 }))).toEqual(['CHARACTERS']);
    let deep: unknown = 1;
    for (let at = 0; at < 20; at++) deep = [deep];
    expect(rules(checkJson('p', deep))).toEqual(['TOO_DEEP']);
  });
});
