import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../domain/errors.js';
import { evaluatePolicy } from '../../domain/iam/evaluatePolicy.js';
import { parseIamPolicy } from '../../domain/iam/parsePolicy.js';
import { checkPolicy, type IamCheckQuery, type PolicyFindings } from '../../domain/iam/policyCheck.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { type IamQuery, parseIamQuery } from '../../domain/iam/query.js';
import { cover, readPattern, readTarget } from '../../domain/iam/patterns.js';
import {
  CAPABILITIES,
  CREDENTIAL_TYPES,
  permissionsForCapabilities,
  statementFor,
} from '../../domain/iam/permissions.js';

const policy = (...statements: unknown[]): unknown => ({ Version: '2012-10-17', Statement: statements });
const allow = (Action: unknown, Resource: unknown, more: object = {}): object => ({
  Effect: 'Allow',
  Action,
  Resource,
  ...more,
});
const deny = (Action: unknown, Resource: unknown, more: object = {}): object => ({
  Effect: 'Deny',
  Action,
  Resource,
  ...more,
});

function rules(query: unknown, more: Partial<IamCheckQuery> = {}): string[] {
  try {
    checkPolicy({ policy: query, ...more });
  } catch (error) {
    if (error instanceof InputError) return error.problems.map(({ field, rule }) => `${field} ${rule}`);
    throw error;
  }
  return [];
}
const states = (findings: PolicyFindings): Record<string, string> =>
  Object.fromEntries(findings.permissions.map(({ action, state }) => [action, state]));
const capabilities = (findings: PolicyFindings): Record<string, string> =>
  Object.fromEntries(findings.capabilities.map(({ capability, state }) => [capability, state]));

describe('an IAM pattern', () => {
  it.each<[string, string, string]>([
    ['a*', 'a*', 'all'],
    ['*', 'a*b', 'all'],
    ['a?c', 'abc', 'all'],
    ['a?c', 'a*c', 'some'],
    ['a?*', 'a*', 'some'],
    ['a*', 'ab*', 'all'],
    ['ab*', 'a*', 'some'],
    ['*b', 'a*', 'some'],
    ['b*', 'a*', 'none'],
    ['runs/*', 'runs-secret/*', 'none'],
    ['runs*', 'runs-secret/*', 'all'],
    ['a*b*c', 'aXbXbc', 'all'],
    ['${*}', 'x', 'none'],
    ['a${?}${$}', 'a?$', 'all'],
    ['home/${aws:username}/*', 'home/x/*', 'some'],
    ['home/${aws:username}/*', 'other/*', 'none'],
    ['😀?', '😀ä', 'all'],
    ['', '', 'all'],
    ['', 'a', 'none'],
    ['', '*', 'some'],
    ['***', '', 'all'],
  ])('%s covers of the target %s: %s', (pattern, target, expected) =>
    expect(cover(readPattern(pattern, true), readTarget(target))).toBe(expected),
  );
  it('covers exactly the targets that the equivalent regular expression matches', () => {
    const text = fc.array(fc.constantFrom('a', 'b', '*', '?'), { maxLength: 6 }).map((parts) => parts.join(''));
    const plain = fc.array(fc.constantFrom('a', 'b'), { maxLength: 3 }).map((parts) => parts.join(''));
    const regular = (pattern: string): RegExp => new RegExp(`^${pattern.replaceAll('*', '.*').replaceAll('?', '.')}$`);
    fc.assert(
      fc.property(text, text, plain, plain, (pattern, wide, one, other) => {
        const target = wide.replaceAll('?', 'a');
        const found = cover(readPattern(pattern, true), readTarget(target));
        // An instance of the target: each `*` replaced by some text.
        let turn = 0;
        const instance = target.replace(/\*/g, () => (turn++ % 2 === 0 ? one : other));
        const matches = regular(pattern).test(instance);
        if (found === 'all') expect([pattern, target, instance, matches]).toEqual([pattern, target, instance, true]);
        if (found === 'none') expect([pattern, target, instance, matches]).toEqual([pattern, target, instance, false]);
        if (!target.includes('*')) expect(found).toBe(matches ? 'all' : 'none');
      }),
      { numRuns: 2000 },
    );
  });
  it('is matched without trying every way to place its wildcards', () => {
    // A matcher that tries them all does not end within a lifetime.
    expect(cover(readPattern(`${'a*'.repeat(5000)}b`, true), readTarget('a'.repeat(600)))).toBe('none');
  });
});

describe('checkPolicy', () => {
  it.each<[unknown, string[]]>([
    ['{"Version":', ['policy JSON']],
    ['[]', ['policy TYPE']],
    ['"text"', ['policy TYPE']],
    [{}, ['policy.Statement REQUIRED']],
    [{ Version: '2013-01-01', Statement: [] }, ['policy.Version ONE_OF', 'policy.Statement REQUIRED']],
    [{ version: '2012-10-17', Statement: allow('*', '*') }, ['policy.version UNKNOWN_ELEMENT']],
    [policy(allow('*', '*'), 'x'), ['policy.Statement[1] TYPE']],
    [
      policy({}),
      [
        'policy.Statement[0].Effect REQUIRED',
        'policy.Statement[0].Action REQUIRED',
        'policy.Statement[0].Resource REQUIRED',
      ],
    ],
    [{ Statement: { Effect: 'allow', Action: 's3:GetObject', Resource: '*' } }, ['policy.Statement.Effect ONE_OF']],
    [
      policy(allow('GetObject', 'bucket/*')),
      ['policy.Statement[0].Action ACTION', 'policy.Statement[0].Resource RESOURCE'],
    ],
    [
      policy(allow('s3:*', '*'), allow('s3:*', '*'), allow('s3:GetObject', 'b')),
      ['policy.Statement[2].Resource RESOURCE'],
    ],
    [policy(allow([], 5)), ['policy.Statement[0].Action TYPE', 'policy.Statement[0].Resource TYPE']],
    [
      policy(allow('*', '*', { NotAction: '*', NotResource: '*' })),
      ['policy.Statement[0].NotAction CONFLICT', 'policy.Statement[0].NotResource CONFLICT'],
    ],
    [policy(allow('*', '*', { Principal: '*' })), ['policy.Statement[0].Principal NOT_A_PERMISSION_POLICY']],
    [policy(allow('*', '*', { Sid: 'a b' })), ['policy.Statement[0].Sid SID']],
    [policy(allow('*', '*', { Sid: 'a' }), allow('*', '*', { Sid: 'a' })), ['policy.Statement[1].Sid SID_TWICE']],
    [policy(allow('*', '*', { Condition: 'x' })), ['policy.Statement[0].Condition TYPE']],
    [
      policy(allow('*', '*', { Condition: { StringLikes: {}, Bool: [], StringEquals: { x: [{}] } } })),
      [
        'policy.Statement[0].Condition.StringLikes OPERATOR',
        'policy.Statement[0].Condition.Bool TYPE',
        'policy.Statement[0].Condition.StringEquals.x TYPE',
      ],
    ],
    [
      policy(allow('*', '*', { Condition: { constructor: { a: 'b' } } })),
      ['policy.Statement[0].Condition.constructor OPERATOR'],
    ],
    [
      policy(
        allow(
          Array.from({ length: 3000 }, (_, at) => `s3:Get${at}`),
          `arn:aws:s3:::${'x'.repeat(30_000)}`,
        ),
      ),
      ['policy POLICY_LENGTH'],
    ],
    [null, ['policy TYPE']],
  ])('rejects %o with %j', (given, expected) => expect(rules(given)).toEqual(expected));
  it('rejects other wrong fields too, and a prefix without a bucket', () => {
    expect(
      rules(
        {},
        {
          credentialType: 'x',
          bucket: 'B',
          executionRoleArn: 'x',
          workflowId: 'x',
          accountId: '1',
          region: 'x',
          workflowOwnerId: 'x',
        },
      ).sort(),
    ).toEqual([
      'accountId AWS_ACCOUNT_ID',
      'bucket BUCKET_LENGTH',
      'credentialType ONE_OF',
      'executionRoleArn ROLE_ARN',
      'policy.Statement REQUIRED',
      'region AWS_REGION',
      'workflowId SHARED_WORKFLOW_ID',
      'workflowOwnerId AWS_ACCOUNT_ID',
    ]);
    expect(rules(policy(allow('*', '*')), { prefix: 'runs' })).toEqual(['bucket REQUIRED']);
  });
});

describe('evaluatePolicy', () => {
  const decide = (statements: unknown[], action: string, resource: string, context: Record<string, string> = {}) =>
    evaluatePolicy(parseIamPolicy(policy(...statements)), { action, resource, context }).decision;
  const object = 'arn:aws:s3:::b/k';
  it.each<[string, unknown[], string]>([
    ['an action in another case', [allow('S3:getOBJECT', '*')], 'allowed'],
    ['an action with wildcards', [allow('s3:Get?bje*', '*')], 'allowed'],
    ['a resource in another case', [allow('s3:*', 'arn:aws:s3:::B/*')], 'notAllowed'],
    [
      'a NotAction that does not name the action',
      [allow([], '*', { Action: undefined, NotAction: ['iam:*', 's3:Put*'] })],
      'allowed',
    ],
    ['a NotAction that names the action', [allow([], '*', { Action: undefined, NotAction: 's3:*' })], 'notAllowed'],
    [
      'a NotResource that does not name the resource',
      [allow('*', [], { Resource: undefined, NotResource: 'arn:aws:s3:::other/*' })],
      'allowed',
    ],
    [
      'a NotResource that names the resource',
      [allow('*', [], { Resource: undefined, NotResource: 'arn:aws:s3:::b/*' })],
      'notAllowed',
    ],
    ['a Deny next to an Allow', [allow('*', '*'), deny('s3:GetObject', 'arn:aws:s3:::b/*')], 'explicitlyDenied'],
    [
      'a Deny whose NotResource names the resource',
      [allow('*', '*'), deny('*', [], { Resource: undefined, NotResource: ['arn:aws:s3:::b', 'arn:aws:s3:::b/*'] })],
      'allowed',
    ],
    [
      'an Allow whose condition cannot be evaluated',
      [allow('*', '*', { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } } })],
      'conditional',
    ],
    [
      'a Deny whose condition cannot be evaluated',
      [allow('*', '*'), deny('*', '*', { Condition: { IpAddress: { 'aws:SourceIp': '10.0.0.0/8' } } })],
      'conditional',
    ],
    [
      'a condition on an absent key',
      [allow('*', '*', { Condition: { StringLike: { 's3:prefix': 'k*' } } })],
      'notAllowed',
    ],
    [
      'a negated condition on an absent key',
      [allow('*', '*', { Condition: { StringNotLike: { 's3:prefix': 'k*' } } })],
      'allowed',
    ],
    [
      'an IfExists condition on an absent key',
      [allow('*', '*', { Condition: { StringLikeIfExists: { 's3:prefix': 'k*' } } })],
      'allowed',
    ],
    [
      'a ForAllValues condition on an absent key',
      [allow('*', '*', { Condition: { 'ForAllValues:StringLike': { 's3:prefix': 'k*' } } })],
      'allowed',
    ],
    [
      'a ForAnyValue condition on an absent key',
      [allow('*', '*', { Condition: { 'ForAnyValue:StringNotLike': { 's3:prefix': 'k*' } } })],
      'notAllowed',
    ],
    [
      'a Null condition that requires an absent key',
      [allow('*', '*', { Condition: { Null: { 's3:prefix': 'true' } } })],
      'allowed',
    ],
    [
      'a Null condition that requires a present key',
      [allow('*', '*', { Condition: { Null: { 's3:prefix': false } } })],
      'notAllowed',
    ],
    ['a policy that does not name the action', [allow('s3:ListBucket', '*')], 'notAllowed'],
  ])('decides %s', (_name, statements, expected) => expect(decide(statements, 's3:GetObject', object)).toBe(expected));
  it('compares a condition with the known context', () => {
    const passed = (Condition: object) =>
      decide([allow('iam:PassRole', '*', { Condition })], 'iam:PassRole', 'arn:aws:iam::111122223333:role/x', {
        'iam:PassedToService': 'omics.amazonaws.com',
      });
    expect(passed({ StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } })).toBe('allowed');
    expect(passed({ StringEquals: { 'IAM:passedtoservice': ['ec2.amazonaws.com', 'omics.amazonaws.com'] } })).toBe(
      'allowed',
    );
    expect(passed({ StringEquals: { 'iam:PassedToService': 'ec2.amazonaws.com' } })).toBe('notAllowed');
    expect(passed({ StringEquals: { 'iam:PassedToService': '*.amazonaws.com' } })).toBe('notAllowed');
    expect(passed({ StringLike: { 'iam:PassedToService': '*.amazonaws.com' } })).toBe('allowed');
    expect(passed({ StringNotEquals: { 'iam:PassedToService': ['ec2.amazonaws.com', 'omics.amazonaws.com'] } })).toBe(
      'notAllowed',
    );
    expect(passed({ StringEqualsIgnoreCase: { 'iam:PassedToService': 'OMICS.amazonaws.com' } })).toBe('allowed');
  });
});

describe('the findings about a policy', () => {
  const scope = {
    bucket: 'lab-aviti',
    prefix: 'runs',
    executionRoleArn: 'arn:aws:iam::111122223333:role/omics-execution',
    workflowId: '1234567',
    workflowOwnerId: '588258415937',
    region: 'us-west-2',
  };
  it('grant exactly the permissions of the chosen capabilities if polony generated the policy', () => {
    fc.assert(
      fc.property(
        fc.record({
          credentialType: fc.constantFrom(...CREDENTIAL_TYPES),
          capabilities: fc.subarray([...CAPABILITIES], { minLength: 1 }),
          variant: fc.constantFrom('vendor', 'least'),
          prefix: fc.constantFrom('', 'runs', 'a b/ä'),
        }),
        ({ credentialType, capabilities: wanted, variant, prefix }) => {
          const choice = parseIamQuery({
            ...scope,
            credentialType,
            capabilities: wanted,
            variant,
            prefix,
            externalId: 'xx',
          } satisfies IamQuery);
          const { permissionPolicy } = iamDocuments(choice, '588258415937');
          const findings = checkPolicy({ policy: permissionPolicy, ...scope, credentialType, prefix });
          const granted = permissionsForCapabilities(credentialType, wanted).map(({ action }) => action as string);
          expect(states(findings)).toEqual(
            Object.fromEntries(
              findings.permissions.map(({ action }) => [action, granted.includes(action) ? 'granted' : 'denied']),
            ),
          );
          for (const capability of wanted) expect(capabilities(findings)[capability]).not.toBe('notReady');
          // The same policy as text, without bucket and prefix, gives the same findings.
          expect(
            checkPolicy({
              policy: JSON.stringify(permissionPolicy),
              ...scope,
              bucket: undefined,
              prefix: undefined,
              credentialType,
            }),
          ).toEqual(findings);
        },
      ),
    );
  });
  it('list the statements that the policy lacks', () => {
    const findings = checkPolicy({ policy: policy(allow('s3:PutObject', 'arn:aws:s3:::lab-aviti/runs/*')), ...scope });
    const repaired = policy(
      allow('s3:PutObject', 'arn:aws:s3:::lab-aviti/runs/*'),
      ...findings.permissions.flatMap(({ statements }) => statements),
    );
    expect(new Set(Object.values(states(checkPolicy({ policy: repaired, ...scope }))))).toEqual(new Set(['granted']));
    expect(findings.permissions.find(({ action }) => action === 's3:ListBucket')!.statements).toEqual([
      statementFor('s3:ListBucket', scope),
    ]);
  });
  it('are conditional for a part of the prefix, and denied for a neighbour of it', () => {
    const of = (resource: string) =>
      states(checkPolicy({ policy: policy(allow('s3:GetObject', resource)), ...scope }))['s3:GetObject'];
    expect([
      of('arn:aws:s3:::lab-aviti/*'),
      of('arn:aws:s3:::lab-aviti/runs/AV1/*'),
      of('arn:aws:s3:::lab-aviti/runs-secret/*'),
      of('arn:aws:s3:::lab-aviti-2/*'),
    ]).toEqual(['granted', 'conditional', 'denied', 'denied']);
    const listing = (prefix: string | string[], operator = 'StringLike') =>
      states(
        checkPolicy({
          policy: policy(allow('s3:ListBucket', '*', { Condition: { [operator]: { 's3:prefix': prefix } } })),
          ...scope,
        }),
      )['s3:ListBucket'];
    expect([
      listing('runs/*'),
      listing(['x', '*']),
      listing('runs/'),
      listing('runs-secret/*'),
      listing('runs/*', 'StringEquals'),
      listing('other/*', 'StringNotLike'),
    ]).toEqual(['granted', 'granted', 'conditional', 'denied', 'conditional', 'granted']);
  });
  it('describe every statement of the policy', () => {
    const findings = checkPolicy({
      policy: policy(
        allow(['s3:*', 'kms:Decrypt'], '*', { Sid: 'Wide' }),
        deny('s3:PutBucketPolicy', '*'),
        allow('s3:GetObject', 'arn:aws:s3:::lab-aviti/runs/x'),
      ),
      ...scope,
    });
    expect(
      findings.statements.map(({ index, sid, effect, otherActions }) => [index, sid, effect, otherActions]),
    ).toEqual([
      [0, 'Wide', 'Allow', ['s3:*', 'kms:Decrypt']],
      [1, null, 'Deny', []],
      [2, null, 'Allow', []],
    ]);
    expect(findings.statements[0]!.permissions.map(({ action }) => action)).toHaveLength(7);
    expect(findings.statements[1]!.permissions).toEqual([{ action: 's3:PutBucketPolicy', wholly: true, reasons: [] }]);
    expect(findings.statements[2]!.permissions).toEqual([
      { action: 's3:GetObject', wholly: false, reasons: ['only on arn:aws:s3:::lab-aviti/runs/x'] },
    ]);
    expect(findings.permissions.find(({ action }) => action === 's3:PutBucketPolicy')).toMatchObject({
      state: 'denied',
      reasons: ['denied by Statement[1]'],
    });
    expect(capabilities(findings)).toEqual({
      runUpload: 'ready',
      dataExploration: 'ready',
      bases2fastq: 'notReady',
      sharing: 'notReady',
      cliCredentials: 'ready',
    });
  });
  it('cover the buckets that the policy names if the query names none', () => {
    expect(
      checkPolicy({
        policy: policy(allow('s3:GetObject', ['arn:aws:s3:::b-1/runs/*', 'arn:aws:s3:::b-1', 'arn:aws:s3:::b-2/*'])),
      }).locations,
    ).toEqual([
      { bucket: 'b-1', prefix: 'runs' },
      { bucket: 'b-2', prefix: '' },
    ]);
    const any = checkPolicy({ policy: policy(allow('s3:*', '*')) });
    expect([any.locations, states(any)['s3:GetObject'], states(any)['omics:GetRun']]).toEqual([
      [],
      'granted',
      'denied',
    ]);
    const half = checkPolicy({
      policy: policy(
        allow('s3:PutObject', ['arn:aws:s3:::b-1/*']),
        allow('s3:ListBucket', ['arn:aws:s3:::b-1', 'arn:aws:s3:::b-2']),
      ),
    });
    expect([states(half)['s3:PutObject'], states(half)['s3:ListBucket']]).toEqual(['conditional', 'granted']);
  });
  it('are conditional for a policy that requires an account if the query names none', () => {
    const guarded = policy(
      allow('s3:GetObject', 'arn:aws:s3:::lab-aviti/*', {
        Condition: { StringEquals: { 'aws:ResourceAccount': '111122223333' } },
      }),
    );
    const of = (more: Partial<IamCheckQuery>) =>
      states(checkPolicy({ policy: guarded, bucket: 'lab-aviti', ...more }))['s3:GetObject'];
    expect([of({}), of({ accountId: '111122223333' }), of({ accountId: '444455556666' })]).toEqual([
      'conditional',
      'granted',
      'denied',
    ]);
  });
  it('exist for any JSON, unless the check rejects it with an InputError', () => {
    fc.assert(fc.property(fc.json({ maxDepth: 4 }), (text) => void rules(text)));
    const value = fc.oneof(
      fc.constantFrom('Allow', 'Deny', '*', 's3:*', 'arn:aws:s3:::b/*', '${', '__proto__'),
      fc.jsonValue(),
    );
    const statement = fc.dictionary(
      fc.constantFrom('Sid', 'Effect', 'Action', 'NotAction', 'Resource', 'NotResource', 'Condition', '__proto__'),
      value,
    );
    fc.assert(fc.property(fc.array(statement), (statements) => void rules(policy(...statements))));
  });
});
