import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { findGonePrincipals, findGoneStatements, isSamePrincipal } from '../../domain/grants/gonePrincipals.js';
import { isChangeDone, planPolicy } from '../../domain/grants/policyPlan.js';
import {
  foreignStatements,
  type Grant,
  NO_POLICY,
  openStatements,
  PolicyError,
  policyBytes,
  POLICY_LIMIT,
  parseBucketPolicy,
  readPrincipal,
  grantSids,
  grantStanding,
  grantStatements,
  removeStatements,
  putStatements,
  serializeBucketPolicy,
} from '../../domain/grants/bucketPolicy.js';

const id = '01920000-0000-7000-8000-000000000001';
const grant = (fields: Partial<Grant> = {}): Grant => ({
  id,
  bucket: 'lab',
  partition: 'aws',
  principal: 'arn:aws:iam::999939710102:user/ExampleUser',
  folder: null,
  expires: null,
  ...fields,
});

describe('the statements of a grant', () => {
  it("equal the vendor's page for the whole bucket", () => {
    expect(grantStatements(grant())).toEqual([
      {
        Sid: 'ElemBio_BucketReadAccess_arn:aws:iam::999939710102:user/ExampleUser',
        Effect: 'Allow',
        Principal: { AWS: 'arn:aws:iam::999939710102:user/ExampleUser' },
        Action: ['s3:GetObject', 's3:ListBucket', 's3:GetBucketLocation'],
        Resource: ['arn:aws:s3:::lab', 'arn:aws:s3:::lab/*'],
      },
    ]);
  });
  it('allow listing only below the folder, with Sids of their own, if the grant names a folder', () => {
    const own = grantStatements(
      grant({
        folder: 'runs/A/',
        partition: 'aws-cn',
        principal: 'arn:aws-cn:iam::999939710102:root',
        expires: new Date('2030-01-31T00:00:00.500Z'),
      }),
    );
    expect(own.map(({ Sid }) => Sid)).toEqual([
      `ElemBio_BucketReadAccess_arn:aws-cn:iam::999939710102:root:${id}:Read`,
      `ElemBio_BucketReadAccess_arn:aws-cn:iam::999939710102:root:${id}:List`,
    ]);
    expect(own[0]).toMatchObject({
      Action: ['s3:GetObject', 's3:GetBucketLocation'],
      Resource: ['arn:aws-cn:s3:::lab', 'arn:aws-cn:s3:::lab/runs/A/*'],
      Condition: { DateLessThan: { 'aws:CurrentTime': '2030-01-31T00:00:00Z' } },
    });
    expect(own[1]).toMatchObject({
      Action: ['s3:ListBucket'],
      Resource: ['arn:aws-cn:s3:::lab'],
      Condition: {
        StringLike: { 's3:prefix': ['runs/A/*'] },
        DateLessThan: { 'aws:CurrentTime': '2030-01-31T00:00:00Z' },
      },
    });
  });
});

describe('the principal of a grant', () => {
  it.each([
    ['999939710102', 'arn:aws:iam::999939710102:root'],
    [' arn:aws:iam::999939710102:root ', 'arn:aws:iam::999939710102:root'],
    ['arn:aws:iam::999939710102:user/ExampleUser', undefined],
    ['arn:aws:iam::999939710102:role/a/path/of/Role+=,.@-_1', undefined],
    ['arn:aws:iam::999939710102:role/aws-reserved/sso.amazonaws.com/AWSReservedSSO_Admin_0123456789abcdef', undefined],
  ])('is accepted: %s', (value, arn = value) =>
    expect(readPrincipal('principal', value, 'aws')).toEqual({ problems: [], arn }),
  );
  it.each([
    ['*', 'PRINCIPAL_WILDCARD'],
    ['arn:aws:iam::999939710102:role/*', 'PRINCIPAL_WILDCARD'],
    ['arn:aws:iam::999939710102:user/${aws:username}', 'PRINCIPAL_WILDCARD'],
    ['arn:aws:iam::*:root', 'PRINCIPAL_WILDCARD'],
    ['arn:aws:sts::999939710102:assumed-role/Analysis/session', 'PRINCIPAL_SESSION'],
    ['arn:aws:sts::999939710102:federated-user/somebody', 'PRINCIPAL_SESSION'],
    ['AROAJQABLZS4A3QDU576Q', 'PRINCIPAL_UNIQUE_ID'],
    ['arn:aws:iam::999939710102:group/Lab', 'PRINCIPAL_GROUP'],
    ['arn:aws:iam::999939710102:instance-profile/x', 'PRINCIPAL_ARN'],
    ['arn:aws:iam::999939710102:role/', 'PRINCIPAL_ARN'],
    ['arn:aws:iam::999939710102:role/a//b', 'PRINCIPAL_ARN'],
    ['arn:aws:iam::999939710102:role/two words', 'PRINCIPAL_ARN'],
    ['arn:aws:iam::999939710102:root/x', 'PRINCIPAL_ARN'],
    ['arn:aws:iam:us-east-1:999939710102:root', 'PRINCIPAL_ARN'],
    ['arn:aws:iam:::root', 'PRINCIPAL_ARN'],
    ['99993971010', 'PRINCIPAL_ARN'],
    ['ec2.amazonaws.com', 'PRINCIPAL_ARN'],
    ['', 'PRINCIPAL_ARN'],
    ['arn:aws-cn:iam::999939710102:root', 'PRINCIPAL_PARTITION'],
  ])('is rejected: %j with %s', (value, rule) =>
    expect(readPrincipal('principal', value, 'aws').problems).toMatchObject([{ field: 'principal', rule }]),
  );
  it('is rejected for a session, with a message that names the role of the session', () =>
    expect(
      readPrincipal('principal', 'arn:aws:sts::999939710102:assumed-role/Analysis/s', 'aws').problems[0]!.message,
    ).toContain('arn:aws:iam::999939710102:role/Analysis'));
});

/** A customer's policy with spellings, numbers and fields that a round trip through JSON.parse would lose. */
const THEIRS = String.raw`{
  "Id": "their \"own\" { [ policy",
  "Statement": [
    { "Sid": "A, b } ]", "Effect": "Allow", "Principal": "*", "Action": "s3:GetObjectTagging",
      "Resource": "arn:aws:s3:::lab/public/*",
      "Condition": { "IpAddress": { "aws:SourceIp": "10.0.0.0/8" },
        "NumericLessThan": { "s3:max-keys": 12345678901234567890 } } },
    { "Effect": "Deny", "NotPrincipal": { "AWS": [ "111122223333" ] }, "Action": [ "s3:*" ],
      "Resource": "arn:aws:s3:::lab/\u00e4\\\"x", "Unknown": { "b": 1.50, "a": [ ] } }
  ],
  "Version": "2008-10-17"
}`;
const squeezed = (text: string): string => text.replace(/("(?:[^"\\]|\\.)*")|\s+/g, '$1');

describe('a bucket policy', () => {
  it('keeps the text of other statements, and is unchanged after ours is added and removed', () => {
    const policy = parseBucketPolicy(THEIRS);
    const whole = serializeBucketPolicy(putStatements(policy, grantStatements(grant())))!;
    const ours = JSON.stringify(grantStatements(grant())[0]);
    expect(whole).toBe(squeezed(THEIRS).replace('}],"Version"', `},${ours}],"Version"`));
    expect(whole).toContain('12345678901234567890');
    expect(whole).toContain('1.50');
    expect(serializeBucketPolicy(removeStatements(parseBucketPolicy(whole), grantSids(grant())))).toBe(
      squeezed(THEIRS),
    );
  });
  it('may contain a single statement instead of a list', () => {
    const single =
      '{"Version":"2012-10-17","Statement":' +
      '{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*","Resource":"*"}}';
    const whole = serializeBucketPolicy(putStatements(parseBucketPolicy(single), grantStatements(grant())))!;
    expect((JSON.parse(whole) as { Statement: unknown[] }).Statement).toHaveLength(2);
    const back = JSON.parse(serializeBucketPolicy(removeStatements(parseBucketPolicy(whole), grantSids(grant())))!) as {
      Statement: unknown[];
    };
    expect(back.Statement).toEqual([(JSON.parse(single) as { Statement: unknown }).Statement]);
  });
  it('is created for the first statement and deleted with the last', () => {
    const whole = serializeBucketPolicy(putStatements(parseBucketPolicy(undefined), grantStatements(grant())))!;
    expect(JSON.parse(whole)).toEqual({ Version: '2012-10-17', Statement: grantStatements(grant()) });
    expect(serializeBucketPolicy(removeStatements(parseBucketPolicy(whole), grantSids(grant())))).toBeNull();
    expect(parseBucketPolicy(undefined)).toBe(NO_POLICY);
  });
  it('contains a statement once, at the same place, however often it is added', () => {
    const one = putStatements(parseBucketPolicy(THEIRS), grantStatements(grant()));
    const two = putStatements(one, grantStatements(grant({ principal: 'arn:aws:iam::999939710102:root' })));
    expect(serializeBucketPolicy(putStatements(two, grantStatements(grant())))).toBe(serializeBucketPolicy(two));
    const changed = parseBucketPolicy(serializeBucketPolicy(two)!.replace('"s3:ListBucket",', ''));
    expect(grantStanding(changed, grant())).toBe('changed');
    expect(serializeBucketPolicy(putStatements(changed, grantStatements(grant())))).toBe(serializeBucketPolicy(two));
  });
  it.each([
    '',
    '[]',
    'null',
    '{"Version":"2012-10-17"}',
    '{"Statement":[1]}',
    '{"Statement":[{}],"Statement":[{}]}',
    '{',
  ])('is rejected if it is malformed: %s', (text) => expect(() => parseBucketPolicy(text)).toThrow(PolicyError));

  it('is unchanged after a statement is added and removed, whatever it contains', () => {
    const statement = fc
      .dictionary(fc.string(), fc.jsonValue({ maxDepth: 3 }), { maxKeys: 5 })
      .filter((value) => !Object.hasOwn(value, '__proto__'));
    const made = fc.record({
      rest: fc.dictionary(
        fc.string().filter((key) => key !== 'Statement' && key !== '__proto__'),
        fc.jsonValue({ maxDepth: 2 }),
        { maxKeys: 4 },
      ),
      statements: fc.array(statement, { minLength: 1, maxLength: 5 }),
      spaces: fc.integer({ min: 0, max: 3 }),
    });
    fc.assert(
      fc.property(made, ({ rest, statements, spaces }) => {
        const text = JSON.stringify({ ...rest, Statement: statements }, null, spaces);
        const whole = serializeBucketPolicy(
          putStatements(parseBucketPolicy(text), grantStatements(grant({ folder: 'x/' }))),
        )!;
        const expected = JSON.parse(text) as { Statement: unknown[] };
        expect(JSON.parse(whole)).toEqual({
          ...expected,
          Statement: [...expected.Statement, ...grantStatements(grant({ folder: 'x/' }))],
        });
        expect(
          serializeBucketPolicy(removeStatements(parseBucketPolicy(whole), grantSids(grant({ folder: 'x/' })))),
        ).toBe(JSON.stringify(JSON.parse(text)) === JSON.stringify(expected) ? squeezed(text) : '');
      }),
      { numRuns: 300 },
    );
  });
});

describe('drift of a bucket policy', () => {
  const whole = putStatements(
    parseBucketPolicy(THEIRS),
    grantStatements(grant({ principal: 'arn:aws:iam::999939710102:root' })),
  );
  const own = grant({ principal: 'arn:aws:iam::999939710102:root' });
  const edited = (from: string, to: string): ReturnType<typeof grantStanding> => {
    const text = serializeBucketPolicy(whole)!;
    expect(text).toContain(from);
    return grantStanding(parseBucketPolicy(text.replace(from, to)), own);
  };
  it('ignores spellings that S3 changes', () => {
    expect(grantStanding(whole, own)).toBe('whole');
    expect(edited('{"AWS":"arn:aws:iam::999939710102:root"}', '{"AWS":["999939710102"]}')).toBe('whole');
    expect(
      edited(
        '["s3:GetObject","s3:ListBucket","s3:GetBucketLocation"]',
        '["s3:ListBucket","s3:GetBucketLocation","S3:getobject"]',
      ),
    ).toBe('whole');
  });
  it('finds changed and missing statements', () => {
    expect(
      edited(
        '"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::999939710102:root"}',
        '"Effect":"Deny","Principal":{"AWS":"arn:aws:iam::999939710102:root"}',
      ),
    ).toBe('changed');
    expect(edited('"arn:aws:s3:::lab/*"]', '"arn:aws:s3:::lab/x/*"]')).toBe('changed');
    expect(edited('"s3:GetBucketLocation"]', '"s3:GetBucketLocation","s3:PutObject"]')).toBe('changed');
    expect(grantStanding(parseBucketPolicy(THEIRS), own)).toBe('missing');
    const folder = grant({ folder: 'x/' });
    expect(
      grantStanding(removeStatements(putStatements(whole, grantStatements(folder)), [grantSids(folder)[1]!]), folder),
    ).toBe('changed');
  });
  it('finds statements with our Sids that belong to no known grant', () => {
    const folder = grant({ folder: 'x/' });
    const policy = putStatements(whole, grantStatements(folder));
    expect(foreignStatements(policy, new Set([...grantSids(own), ...grantSids(folder)]))).toEqual([]);
    expect(foreignStatements(policy, new Set()).map(({ principal }) => principal)).toEqual([
      own.principal,
      folder.principal,
      folder.principal,
    ]);
  });
  it('finds deleted principals, and statements that are open to everybody', () => {
    expect(openStatements(whole)).toEqual(['A, b } ]']);
    const policy = parseBucketPolicy(
      '{"Statement":[{"Sid":"","Effect":"Allow",' +
        '"Principal":{"AWS":["AROAJQABLZS4A3QDU576Q","arn:aws:iam::999939710102:root"]}},' +
        '{"Sid":"x","Effect":"Deny","Principal":{"AWS":"*"}},' +
        '{"Sid":"y","Effect":"Deny","NotPrincipal":{"AWS":"AIDAJQABLZS4A3QDU576Q"}}]}',
    );
    expect(findGoneStatements(policy)).toEqual([
      { name: 'number 1 (without a Sid)', principals: ['AROAJQABLZS4A3QDU576Q'] },
      { name: 'y', principals: ['AIDAJQABLZS4A3QDU576Q'] },
    ]);
    expect(openStatements(policy)).toEqual([]);
    const others = parseBucketPolicy(
      '{"Statement":[{"Sid":"a","Effect":"Allow","NotPrincipal":{"AWS":"arn:aws:iam::999939710102:root"}},' +
        '{"Sid":"b","Effect":"Allow","Principal":{"CanonicalUser":"0123456789abcdef"}},' +
        '{"Sid":"c","Effect":"Allow","Principal":{"Service":["logging.s3.amazonaws.com"],"Federated":"accounts.google.com"}},' +
        '{"Sid":"d","Effect":"Allow","Principal":{"AWS":["arn:aws:iam::999939710102:root","*"]}}]}',
    );
    expect(openStatements(others)).toEqual(['a', 'd']);
    expect(findGoneStatements(others)).toEqual([]);
    expect(policyBytes('ä')).toBe(2);
  });
});

describe('the statements of a grant whose principal was deleted', () => {
  const id1 = 'AROAJQABLZS4A3QDU576Q';
  const policyWith = (principal: unknown, given = grant()): ReturnType<typeof parseBucketPolicy> =>
    parseBucketPolicy(
      JSON.stringify({
        Statement: grantStatements(given).map((statement) => ({ ...statement, Principal: principal })),
      }),
    );
  it('are recognized by their Sids, and only if they name nobody else', () => {
    expect(findGonePrincipals(policyWith({ AWS: id1 }), grant())).toEqual([id1]);
    const folder = grant({ folder: 'x/' });
    expect(findGonePrincipals(policyWith({ AWS: [id1] }, folder), folder)).toEqual([id1]);
    // Other grants, and what somebody else may have added.
    for (const [policy, given] of [
      [policyWith({ AWS: id1 }), folder],
      [policyWith({ AWS: grant().principal }), grant()],
      [policyWith({ AWS: [id1, 'arn:aws:iam::444455556666:root'] }), grant()],
      [policyWith({ AWS: id1, Service: 'omics.amazonaws.com' }), grant()],
      [policyWith('*'), grant()],
      [parseBucketPolicy(undefined), grant()],
    ] as const)
      expect(findGonePrincipals(policy, given)).toEqual([]);
  });
  it('may show the ARN, if AWS says that it does not know it', () => {
    const policy = policyWith({ AWS: grant().principal });
    expect(findGonePrincipals(policy, grant(), (each) => each === grant().principal)).toEqual([grant().principal]);
    expect(isSamePrincipal('999939710102', 'arn:aws:iam::999939710102:root')).toBe(true);
    expect(isSamePrincipal('999939710102', grant().principal)).toBe(false);
  });
});

describe('several changes of a policy', () => {
  const many = (count: number, from = 0) =>
    Array.from({ length: count }, (_, at) => ({
      grant: grant({ principal: `arn:aws:iam::${String(100_000_000_000 + from + at)}:root` }),
      isWanted: true,
    }));
  it('are made in one text, and leave out the grants that do not fit', () => {
    const old = putStatements(
      parseBucketPolicy(THEIRS),
      many(40).flatMap((change) => grantStatements(change.grant)),
    );
    const changes = [...many(40).map((change) => ({ ...change, isWanted: false })), ...many(100, 100)];
    const { text, tooLarge } = planPolicy(old, changes);
    expect(policyBytes(text!)).toBeLessThanOrEqual(POLICY_LIMIT);
    const policy = parseBucketPolicy(text!);
    expect(changes.filter((change) => !isChangeDone(policy, change))).toEqual([...tooLarge.keys()]);
    expect(tooLarge.size).toBeGreaterThan(5);
    for (const bytes of tooLarge.values()) expect(bytes).toBeGreaterThan(POLICY_LIMIT);
  });
  it('delete the policy together if nothing is left of it', () => {
    const changes = many(3).map((change) => ({ ...change, isWanted: false }));
    const policy = putStatements(
      NO_POLICY,
      changes.flatMap((change) => grantStatements(change.grant)),
    );
    expect(planPolicy(policy, changes)).toEqual({ text: null, tooLarge: new Map() });
  });
});
