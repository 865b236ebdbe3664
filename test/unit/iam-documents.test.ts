import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { parse } from 'yaml';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { IAM_FORMATS, iamText } from '../../cli/iam.js';
import { checkPrefix, normalizePrefix } from '../../domain/connections/storage.js';
import { InputError } from '../../domain/errors.js';
import { iamDocuments, type IamDocuments, newExternalId } from '../../domain/iam/documents.js';
import { shellWord } from '../../domain/iam/formats/text.js';
import { permissionPolicy } from '../../domain/iam/policies.js';
import { type IamQuery, parseIamQuery } from '../../domain/iam/query.js';
import {
  ACTIONS,
  CAPABILITIES,
  type Capability,
  capabilityStates,
  CREDENTIAL_TYPES,
  PERMISSIONS,
  type PermissionAction,
  findPermission,
  permissionsForCapabilities,
  type PolicyDocument,
  statementFor,
} from '../../domain/iam/permissions.js';

const TRUSTED = '588258415937';
const EXECUTION_ROLE = 'arn:aws:iam::111122223333:role/omics-execution';

const file = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../shared/vendor-page.txt');
/** The vendor's page, if a copy lies beside the repository. */
const page = existsSync(file) ? readFileSync(file, 'utf8') : undefined;

/** The JSON below a heading of the vendor's page. */
function template(heading: string): PolicyDocument {
  const text = page!.slice(page!.indexOf(`\n${heading}\n`) + heading.length + 2);
  const lines = text.split('\n');
  const end = lines.findIndex((_line, index) => {
    try {
      JSON.parse(lines.slice(0, index + 1).join('\n'));
      return true;
    } catch {
      return false;
    }
  });
  return JSON.parse(lines.slice(0, end + 1).join('\n')) as PolicyDocument;
}
const replaced = (document: PolicyDocument, from: string, to: string): PolicyDocument =>
  JSON.parse(JSON.stringify(document).replaceAll(from, to)) as PolicyDocument;

const all: IamQuery = { credentialType: 'role', bucket: 'lab-aviti', externalId: 'External-ID-Example' };
const documents = (query: Partial<IamQuery> = {}): IamDocuments =>
  iamDocuments(parseIamQuery({ ...all, ...query }), TRUSTED);
const sids = (document: PolicyDocument): (string | undefined)[] => document.Statement.map(({ Sid }) => Sid);
const actionsOf = (document: PolicyDocument): string[] => document.Statement.flatMap(({ Action }) => Action);
function rules(query: Partial<IamQuery>): string[] {
  try {
    parseIamQuery({ ...all, ...query });
  } catch (error) {
    if (error instanceof InputError) return error.problems.map(({ field, rule }) => `${field} ${rule}`).sort();
    throw error;
  }
  return [];
}

// -- Random input -----------------------------------------------------------------------------------------------------

const bucketName = fc
  .stringMatching(/^[a-z][a-z0-9-]{2,20}[a-z0-9]$/)
  .filter((name) => rules({ bucket: name }).length === 0);
const odd = fc.constantFrom(
  ' ',
  "'",
  '"',
  '`',
  '$',
  '$(',
  '%',
  '%{',
  '{',
  '}',
  '&',
  ';',
  '|',
  '<',
  '>',
  '~',
  '#',
  '!',
  '=',
  '+',
  '@',
  ':',
  ',',
  '-',
  'ä',
  'ÿ',
  '日',
  '😀',
  '\u2028',
  '\u0085',
  'a',
  'B',
  '7',
  '.x',
);
const folder = fc
  .array(odd, { minLength: 1, maxLength: 8 })
  .map((parts) => parts.join(''))
  .filter((text) => text.trim() !== '' && checkPrefix('p', normalizePrefix(text)).length === 0 && !text.includes('{{'));
const prefix = fc
  .oneof(
    fc.constant(''),
    fc.array(folder, { minLength: 1, maxLength: 3 }).map((folders) => normalizePrefix(folders.join('/'))),
  )
  .filter((text) => checkPrefix('p', text).length === 0);
const externalId = fc.stringMatching(/^[A-Za-z0-9@:,=\-./_]{2,40}$/);
const query: fc.Arbitrary<IamQuery> = fc
  .record({
    credentialType: fc.constantFrom(...CREDENTIAL_TYPES),
    bucket: fc.array(bucketName, { minLength: 1, maxLength: 2 }),
    prefix,
    capabilities: fc.subarray([...CAPABILITIES], { minLength: 1 }),
    externalId,
    variant: fc.constantFrom('vendor', 'least'),
    executionRoleArn: fc.constantFrom(
      undefined,
      EXECUTION_ROLE,
      'arn:aws:iam::111122223333:role/service-role/-odd=name',
    ),
    workflowId: fc.constantFrom(undefined, '1234567'),
    region: fc.constantFrom(undefined, 'us-west-2'),
  })
  .filter((given) => rules(given).length === 0);

describe('the table of permissions', () => {
  it("has one row for each action of the vendor's page", () => {
    expect(PERMISSIONS.map(({ action }) => action)).toEqual(ACTIONS);
    expect(findPermission('S3:getobject')?.action).toBe('s3:GetObject');
  });
  it.skipIf(page === undefined)("requires what the vendor's page requires", () => {
    const table = page!.slice(
      page!.indexOf('PermissionRequirementPurposeRequired For'),
      page!.indexOf('Note: \n\nUsing an IAM user'),
    );
    const rows = [...table.matchAll(/^(\w+:\w+?)(Required for IAM User only|Required|Optional)[A-Z]/gm)].map(
      ([, action, requirement]) => [action!.toLowerCase(), requirement],
    );
    const words = { required: 'Required', requiredForUsers: 'Required for IAM User only', optional: 'Optional' };
    expect(rows).toEqual(PERMISSIONS.map(({ action, requirement }) => [action.toLowerCase(), words[requirement]]));
    expect(rows).toHaveLength(14);
  });
  it('makes a capability ready, limited or not ready, depending on the missing permissions', () => {
    const without =
      (...lacking: PermissionAction[]) =>
      (action: PermissionAction) =>
        lacking.includes(action) ? ('denied' as const) : ('granted' as const);
    const states = (type: 'role' | 'accessKeys', ...lacking: PermissionAction[]) =>
      Object.fromEntries(
        capabilityStates(type, without(...lacking)).map(({ capability, state }) => [capability, state]),
      );
    const ready = {
      runUpload: 'ready',
      dataExploration: 'ready',
      bases2fastq: 'ready',
      sharing: 'ready',
      cliCredentials: 'ready',
    };
    expect(states('role')).toEqual(ready);
    expect(states('role', 'sts:GetFederationToken')).toEqual(ready);
    expect(new Set(Object.values(states('accessKeys', 'sts:GetFederationToken')))).toEqual(new Set(['notReady']));
    expect(states('role', 's3:PutObject')).toEqual({ ...ready, runUpload: 'notReady' });
    expect(states('role', 's3:GetObject')).toEqual({
      ...ready,
      runUpload: 'limited',
      dataExploration: 'limited',
      bases2fastq: 'notReady',
      cliCredentials: 'limited',
    });
    expect(states('role', 's3:ListBucket')).toEqual({
      ...ready,
      runUpload: 'notReady',
      dataExploration: 'notReady',
      bases2fastq: 'notReady',
    });
    expect(states('role', 'iam:PassRole')).toEqual({ ...ready, bases2fastq: 'notReady' });
    expect(states('role', 's3:DeleteBucketPolicy')).toEqual({ ...ready, sharing: 'notReady' });
    const unknown = capabilityStates('role', (action) =>
      action === 'omics:StartRun' ? 'unknown' : action === 's3:ListBucket' ? 'conditional' : 'granted',
    );
    expect(unknown[2]).toEqual({
      capability: 'bases2fastq',
      state: 'limited',
      missing: [],
      conditional: ['s3:ListBucket'],
      unknown: ['omics:StartRun'],
    });
  });
  it('gives the narrowest statement for a permission', () => {
    const scope = {
      bucket: 'b-1',
      prefix: 'runs',
      executionRoleArn: EXECUTION_ROLE,
      accountId: '111122223333',
      region: 'us-west-2',
      workflowId: '7',
      workflowOwnerId: TRUSTED,
    };
    expect(statementFor('s3:ListBucket', scope)).toEqual({
      Effect: 'Allow',
      Action: ['s3:ListBucket'],
      Resource: 'arn:aws:s3:::b-1',
      Condition: { StringLike: { 's3:prefix': ['runs/*'] } },
    });
    expect(statementFor('s3:ListBucket', { bucket: 'b-1' })).toEqual({
      Effect: 'Allow',
      Action: ['s3:ListBucket'],
      Resource: 'arn:aws:s3:::b-1',
    });
    expect(statementFor('s3:GetObject', scope)).toEqual({
      Effect: 'Allow',
      Action: ['s3:GetObject'],
      Resource: 'arn:aws:s3:::b-1/runs/*',
    });
    expect(statementFor('iam:PassRole', scope)).toEqual({
      Effect: 'Allow',
      Action: ['iam:PassRole'],
      Resource: EXECUTION_ROLE,
      Condition: { StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } },
    });
    expect(statementFor('omics:StartRun', scope).Resource).toEqual([
      `arn:aws:omics:us-west-2:${TRUSTED}:workflow/7`,
      'arn:aws:omics:us-west-2:111122223333:run/*',
    ]);
    expect(statementFor('omics:GetRun', {}).Resource).toBe('arn:aws:omics:*:*:run/*');
  });
});

describe.skipIf(page === undefined)("the vendor variant compared with the templates of the vendor's page", () => {
  it('equals the trust policy, the role policy without a prefix, and the execution role', () => {
    const made = documents();
    expect(JSON.stringify(made.trustPolicy)).toBe(JSON.stringify(template('Platform Role Credential Trust Policy')));
    expect(JSON.stringify(made.permissionPolicy)).toBe(
      JSON.stringify(replaced(template('Template for IAM Role'), 'BUCKET_NAME', 'lab-aviti')),
    );
    expect(JSON.stringify(made.executionRole)).toBe(
      JSON.stringify({
        trustPolicy: template('Execution Role Trust Policy'),
        permissionPolicy: replaced(template('Execution Role IAM Policy'), 'BUCKET_NAME', 'lab-aviti'),
      }),
    );
  });
  it('equals the narrowed role policy for any bucket, prefix and capabilities', () => {
    fc.assert(
      fc.property(
        bucketName,
        prefix,
        fc.subarray([...CAPABILITIES], { minLength: 1 }),
        fc.constantFrom(...CREDENTIAL_TYPES),
        (bucket, under, capabilities, credentialType) => {
          const expected = replaced(template('Template for IAM Role'), 'BUCKET_NAME', bucket);
          const wanted = permissionsForCapabilities(credentialType, capabilities).map(({ action }) => action as string);
          for (const statement of expected.Statement) {
            if (under !== '' && (statement.Sid === 'S3ObjectWrite' || statement.Sid === 'S3ObjectRead'))
              statement.Resource = `arn:aws:s3:::${bucket}/${under}/*`;
            if (under !== '' && statement.Sid === 'S3ObjectListing')
              statement.Condition = { StringLike: { 's3:prefix': [`${under}/*`] } };
            if (credentialType === 'accessKeys' && statement.Sid === 'STSOperations')
              (statement.Action as string[]).push('sts:GetFederationToken');
            statement.Action = (statement.Action as string[]).filter((action) => wanted.includes(action));
          }
          expected.Statement = expected.Statement.filter(({ Action }) => Action.length > 0);
          expect(
            JSON.stringify(documents({ bucket, prefix: under, capabilities, credentialType }).permissionPolicy),
          ).toBe(JSON.stringify(expected));
        },
      ),
    );
  });
});

describe('the vendor variant', () => {
  it('leaves out optional permissions that no chosen capability needs', () => {
    const upload = documents({ capabilities: 'runUpload' });
    expect(actionsOf(upload.permissionPolicy)).toEqual([
      's3:PutObject',
      's3:ListBucket',
      's3:GetBucketLocation',
      'sts:GetCallerIdentity',
    ]);
    expect(upload.executionRole).toBeNull();
    expect(sids(documents({ capabilities: 'sharing' }).permissionPolicy)).toEqual([
      'S3ObjectWrite',
      'S3ObjectListing',
      'S3BucketLevelOperations',
      'STSOperations',
    ]);
    expect(actionsOf(documents({ capabilities: ['dataExploration', 'runUpload'] }).permissionPolicy)).toContain(
      's3:GetObject',
    );
    expect(sids(documents({ capabilities: 'bases2fastq' }).permissionPolicy)).toEqual([
      'S3ObjectWrite',
      'S3ObjectRead',
      'S3ObjectListing',
      'S3BucketLevelOperations',
      'STSOperations',
      'OmicsOperations',
      'OmicsPassRole',
    ]);
  });
  it('has no trust policy, but sts:GetFederationToken, for an IAM user', () => {
    const made = documents({ credentialType: 'accessKeys' });
    expect(made.trustPolicy).toBeNull();
    expect(made.permissionPolicy.Statement.find(({ Sid }) => Sid === 'STSOperations')!.Action).toEqual([
      'sts:GetCallerIdentity',
      'sts:GetFederationToken',
    ]);
    expect(made.awsCli).toMatch(
      /create-user .*&&\n.*put-user-policy [^]*&&\naws iam create-access-key --user-name Element-ServiceUser\n$/,
    );
    expect(
      iamDocuments(parseIamQuery({ credentialType: 'accessKeys', bucket: 'lab-aviti' }), undefined).trustPolicy,
    ).toBeNull();
  });
  it('has one listing statement for each set of prefixes if there are several buckets', () => {
    const { permissionPolicy: policy, executionRole } = documents({
      bucket: ['lab-1', 'lab-2', 'lab-3'],
      prefix: ['runs', '', 'runs/'],
    });
    const statement = (sid: string) => policy.Statement.find(({ Sid }) => Sid === sid)!;
    expect(statement('S3ObjectWrite').Resource).toEqual([
      'arn:aws:s3:::lab-1/runs/*',
      'arn:aws:s3:::lab-2/*',
      'arn:aws:s3:::lab-3/runs/*',
    ]);
    expect([statement('S3ObjectListing').Resource, statement('S3ObjectListing').Condition]).toEqual([
      ['arn:aws:s3:::lab-1', 'arn:aws:s3:::lab-3'],
      { StringLike: { 's3:prefix': ['runs/*'] } },
    ]);
    expect([statement('S3ObjectListing2').Resource, statement('S3ObjectListing2').Condition]).toEqual([
      'arn:aws:s3:::lab-2',
      undefined,
    ]);
    expect(executionRole!.permissionPolicy.Statement[1]!.Resource).toHaveLength(6);
    const nested = documents({ prefix: ['a', 'a/b', 'c', 'a'] }).permissionPolicy.Statement.find(
      ({ Sid }) => Sid === 'S3ObjectListing',
    )!;
    expect(nested.Condition).toEqual({ StringLike: { 's3:prefix': ['a/*', 'c/*'] } });
  });
});

describe('the least-privilege variant', () => {
  const least = (more: Partial<IamQuery> = {}) =>
    documents({
      variant: 'least',
      prefix: 'runs',
      executionRoleArn: EXECUTION_ROLE,
      workflowId: `arn:aws:omics:us-west-2:${TRUSTED}:workflow/1234567`,
      ...more,
    });
  it('names the workflow, the runs and the execution role', () => {
    const { permissionPolicy: policy, executionRole } = least();
    const statement = (sid: string) => policy.Statement.find(({ Sid }) => Sid === sid)!;
    expect(statement('OmicsWorkflow')).toMatchObject({
      Action: ['omics:GetWorkflow', 'omics:StartRun'],
      Resource: [
        `arn:aws:omics:us-west-2:${TRUSTED}:workflow/1234567`,
        `arn:aws:omics:us-west-2:${TRUSTED}:workflow/1234567/version/*`,
      ],
    });
    expect(statement('OmicsRuns')).toMatchObject({
      Action: ['omics:StartRun', 'omics:GetRun', 'omics:CancelRun'],
      Resource: 'arn:aws:omics:us-west-2:111122223333:run/*',
    });
    expect(statement('OmicsPassRole')).toMatchObject({
      Resource: EXECUTION_ROLE,
      Condition: { StringEquals: { 'iam:PassedToService': 'omics.amazonaws.com' } },
    });
    expect(statement('S3ObjectListing').Condition).toEqual({
      StringEquals: { 'aws:ResourceAccount': '111122223333' },
      StringLike: { 's3:prefix': ['runs/*'] },
    });
    expect(executionRole!.trustPolicy.Statement[0]!.Condition).toEqual({
      StringEquals: { 'aws:SourceAccount': '111122223333' },
      ArnLike: { 'aws:SourceArn': 'arn:aws:omics:us-west-2:111122223333:run/*' },
    });
    expect(
      actionsOf(executionRole!.permissionPolicy).filter((action) => action.includes('*') || action.includes('Acl')),
    ).toEqual([]);
    expect(JSON.stringify(executionRole!.permissionPolicy)).toContain('log-group:/aws/omics/*');
  });
  it('uses wildcards for what the query does not name', () => {
    const text = JSON.stringify(documents({ variant: 'least' }));
    expect(text).toContain('arn:aws:omics:*:*:run/*');
    expect(text).toContain('arn:aws:iam::*:role/*');
    expect(text).not.toContain('aws:Source');
  });
  it('grants the same actions as the vendor variant', () => {
    fc.assert(
      fc.property(query, (given) => {
        const [vendor, narrow] = [
          permissionPolicy(parseIamQuery({ ...given, variant: 'vendor' })),
          permissionPolicy(parseIamQuery({ ...given, variant: 'least' })),
        ];
        expect(new Set(actionsOf(narrow))).toEqual(new Set(actionsOf(vendor)));
        for (const policy of [vendor, narrow]) expect(new Set(sids(policy)).size).toBe(policy.Statement.length);
      }),
    );
  });
});

describe('an IAM query', () => {
  it.each<[Partial<IamQuery>, string[]]>([
    [{ bucket: [] }, ['bucket REQUIRED']],
    [{ bucket: 's3://lab' }, ['bucket BUCKET_HAS_SCHEME']],
    [{ bucket: ['lab-1', 'lab/2'] }, ['bucket.1 BUCKET_HAS_PATH']],
    [{ bucket: ['lab-1', 'lab-2', 'lab-3'], prefix: ['a', 'b'] }, ['prefix PREFIX_COUNT']],
    [{ prefix: 'runs*' }, ['prefix PREFIX_WILDCARD']],
    [{ prefix: 'run?' }, ['prefix PREFIX_WILDCARD']],
    [{ prefix: '${aws:username}' }, ['prefix PREFIX_WILDCARD']],
    [{ prefix: 'a\nb' }, ['prefix PREFIX_CHARACTERS']],
    [{ prefix: 'a\ud800' }, ['prefix PREFIX_CHARACTERS']],
    [{ prefix: '{{resolve:ssm:x}}' }, ['prefix PREFIX_REFERENCE']],
    [
      { credentialType: 'user', variant: 'most', capabilities: 'runUpload,everything' },
      ['capabilities ONE_OF', 'credentialType ONE_OF', 'variant ONE_OF'],
    ],
    [{ externalId: 'a b' }, ['externalId EXTERNAL_ID_CHARACTERS']],
    [{ externalId: 'x' }, ['externalId EXTERNAL_ID_LENGTH']],
    [{ executionRoleArn: 'omics-execution' }, ['executionRoleArn ROLE_ARN']],
    [{ executionRoleArn: 'arn:aws:iam::111122223333:role/a*/omics' }, ['executionRoleArn ROLE_ARN_WILDCARD']],
    [{ executionRoleArn: EXECUTION_ROLE, accountId: '444455556666' }, ['executionRoleArn EXECUTION_ROLE_ACCOUNT']],
    [
      { workflowId: 'bases2fastq', workflowOwnerId: '1' },
      ['workflowId SHARED_WORKFLOW_ID', 'workflowOwnerId AWS_ACCOUNT_ID'],
    ],
    [
      {
        workflowId: `arn:aws:omics:us-west-2:${TRUSTED}:workflow/7`,
        workflowOwnerId: '111122223333',
        region: 'us-east-1',
      },
      ['region WORKFLOW_REGION_MISMATCH', 'workflowOwnerId WORKFLOW_OWNER_MISMATCH'],
    ],
    [{ region: 'sa-east-1' }, ['region HEALTHOMICS_REGION']],
    [{ region: 'sa-east-1', capabilities: 'runUpload' }, []],
    [{ credentialType: 'accessKeys', prefix: 'x'.repeat(500) }, ['bucket POLICY_LENGTH']],
    [{ prefix: 'x'.repeat(500) }, []],
  ])('with %o has the problems %j', (change, expected) => expect(rules(change)).toEqual(expected));
  it('is rejected for a role without a valid trusted account or external ID', () => {
    for (const [account, id] of [
      [undefined, 'xx'],
      ['1234', 'xx'],
      [TRUSTED, undefined],
    ] as const)
      expect(() => iamDocuments(parseIamQuery({ ...all, externalId: id }), account)).toThrow(InputError);
  });
});

describe('newExternalId', () => {
  it('writes random bytes as hexadecimal digits, and requires enough of them', () => {
    expect(newExternalId(new Uint8Array(20).fill(255))).toBe(`polony-${'f'.repeat(40)}`);
    expect(() => newExternalId(new Uint8Array(15))).toThrow(RangeError);
    expect(rules({ externalId: newExternalId(new Uint8Array(20)) })).toEqual([]);
  });
});

describe('the CloudFormation template', () => {
  it('is JSON and YAML at once, and contains the documents unchanged', () => {
    fc.assert(
      fc.property(query, (given) => {
        const made = documents(given);
        const yaml = parse(made.cloudFormation) as {
          Resources: Record<
            string,
            {
              Type: string;
              Properties: Record<string, unknown> & { Policies: { PolicyName: string; PolicyDocument: unknown }[] };
            }
          >;
        };
        expect(JSON.parse(made.cloudFormation)).toEqual(yaml);
        expect(made.cloudFormation).not.toMatch(/Fn::Sub|\{\{resolve/);
        const provider = yaml.Resources[given.credentialType === 'role' ? 'ProviderRole' : 'ProviderUser']!;
        expect(provider.Properties.Policies).toEqual([{ PolicyName: 'polony', PolicyDocument: made.permissionPolicy }]);
        if (given.credentialType === 'role')
          expect(provider).toMatchObject({
            Type: 'AWS::IAM::Role',
            Properties: { MaxSessionDuration: 43_200, AssumeRolePolicyDocument: made.trustPolicy },
          });
        else expect(provider.Type).toBe('AWS::IAM::User');
        const execution = yaml.Resources.ExecutionRole;
        expect(execution === undefined).toBe(made.executionRole === null);
        if (made.executionRole !== null)
          expect(execution!.Properties).toMatchObject({
            AssumeRolePolicyDocument: made.executionRole.trustPolicy,
            Policies: [{ PolicyDocument: made.executionRole.permissionPolicy }],
          });
      }),
    );
  });
});

/** IAM takes no other characters in a policy. jsonencode writes no escapes, so such documents are HCL strings. */
const NEEDS_ESCAPES = /[\u007f-\u009f\u0100-\uffff]/;

/**
 * Takes documents out of an HCL text: the arguments of `jsonencode`, and the strings that are documents. Their strings
 * must not contain a template sequence.
 * @returns the documents, and the text without them
 */
function jsonEncoded(hcl: string): { values: unknown[]; rest: string } {
  const text = hcl.replace(/^( +(?:\w*policy) += )("\{.*")$/gm, (_, name: string, string: string) => {
    expect(string).not.toMatch(/[$%]\{/);
    const json = JSON.parse(string) as string;
    expect(json).toMatch(/^[\u0020-\u00ff]+$/);
    expect(JSON.stringify(JSON.parse(json))).toMatch(NEEDS_ESCAPES);
    return `${name}jsonencode(${json.replace(/([$%])\{/g, '$1\\u007b')})`;
  });
  const values: unknown[] = [];
  let rest = '';
  for (let at = 0; ;) {
    const from = text.indexOf('jsonencode(', at);
    if (from < 0) return { values, rest: rest + text.slice(at) };
    const start = from + 'jsonencode('.length;
    let end = start;
    for (let depth = 1, inString = false; depth > 0; end++) {
      if (inString && text[end] === '\\') end++;
      else if (text[end] === '"') inString = !inString;
      else if (!inString && text[end] === '(') depth++;
      else if (!inString && text[end] === ')') depth--;
    }
    const json = text.slice(start, end - 1);
    expect(json).not.toMatch(/[$%]\{/);
    expect(hcl.includes(json) && NEEDS_ESCAPES.test(json)).toBe(false);
    values.push(JSON.parse(json));
    rest += `${text.slice(at, from)}JSON`;
    at = end;
  }
}

describe('the Terraform configuration', () => {
  it('contains the documents unchanged, in well-formed blocks', () => {
    fc.assert(
      fc.property(query, (given) => {
        const made = documents(given);
        const { values, rest } = jsonEncoded(made.terraform);
        expect(values).toEqual(
          [
            made.trustPolicy,
            made.permissionPolicy,
            made.executionRole?.trustPolicy,
            made.executionRole?.permissionPolicy,
          ].filter((value) => value != null),
        );
        expect(rest).toMatch(
          /^((resource "aws_iam_\w+"|output) "\w+" \{\n( {2}\w+ += ("[^"\n]*"|JSON|\d+|[a-z_]+\.\w+\.\w+)\n)+\}\n\n?)+$/,
        );
        expect(rest.includes('max_session_duration = 43200')).toBe(given.credentialType === 'role');
      }),
    );
  });
});

describe('the AWS CLI commands', () => {
  let folder: string;
  beforeAll(() => {
    folder = mkdtempSync(path.join(tmpdir(), 'polony-iam-'));
    // A fake `aws`, which notes its arguments, each with a NUL after it, and then a record separator.
    writeFileSync(
      path.join(folder, 'aws'),
      '#!/bin/sh\nprintf "%s\\0" "$@" >> "$NOTES"\nprintf "\\036\\0" >> "$NOTES"\n[ "$2" != "$FAILS_AT" ]\n',
    );
    chmodSync(path.join(folder, 'aws'), 0o755);
  });
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  function run(script: string, failsAt = ''): { calls: string[][]; stderr: string; status: number | null } {
    const notes = path.join(folder, 'notes');
    rmSync(notes, { force: true });
    const { status, stderr } = spawnSync('/bin/sh', ['-c', script], {
      env: { PATH: `${folder}:/usr/bin:/bin`, NOTES: notes, FAILS_AT: failsAt },
      encoding: 'utf8',
    });
    const text = existsSync(notes) ? readFileSync(notes, 'utf8') : '';
    return {
      calls: text
        .split('\x1e\0')
        .slice(0, -1)
        .map((call) => call.split('\0').slice(0, -1)),
      stderr,
      status,
    };
  }
  const option = (call: string[], name: string): string => {
    const joined = call.find((argument) => argument.startsWith(`${name}=`));
    return joined === undefined ? call[call.indexOf(name) + 1]! : joined.slice(name.length + 1);
  };
  it('pass any documents through sh unchanged', () => {
    fc.assert(
      fc.property(query, (given) => {
        const made = documents(given);
        const { calls, stderr, status } = run(made.awsCli);
        expect([status, stderr]).toEqual([0, '']);
        const operations = [
          ...(given.credentialType === 'role'
            ? ['create-role', 'put-role-policy']
            : ['create-user', 'put-user-policy']),
          ...(made.executionRole === null ? [] : ['create-role', 'put-role-policy']),
          ...(given.credentialType === 'role' ? [] : ['create-access-key']),
        ];
        expect(calls.map((call) => call.slice(0, 2))).toEqual(operations.map((operation) => ['iam', operation]));
        const policies = calls
          .filter((call) => call[1]!.startsWith('put-'))
          .map((call) => option(call, '--policy-document'));
        // IAM accepts only these characters in a policy.
        for (const text of policies) expect(text).toMatch(/^[\x20-\x7e]+$/);
        expect(policies.map((text) => JSON.parse(text) as unknown)).toEqual([
          made.permissionPolicy,
          ...(made.executionRole === null ? [] : [made.executionRole.permissionPolicy]),
        ]);
        const roles = calls.filter((call) => call[1] === 'create-role');
        expect(roles.map((call) => JSON.parse(option(call, '--assume-role-policy-document')) as unknown)).toEqual(
          [made.trustPolicy, made.executionRole?.trustPolicy].filter((trust) => trust != null),
        );
        if (given.credentialType === 'role') expect(option(roles[0]!, '--max-session-duration')).toBe('43200');
        if (made.executionRole !== null && given.executionRoleArn !== undefined)
          expect(option(roles.at(-1)!, '--role-name')).toBe(given.executionRoleArn.split('/').at(-1));
      }),
      { numRuns: 60 },
    );
  });
  it('stop at the first command that fails', () => {
    expect(run(documents().awsCli, 'put-role-policy').calls).toHaveLength(2);
  });
  it('quote any text', { tags: 'long' }, () => {
    fc.assert(
      fc.property(
        fc.string({ unit: 'binary', minLength: 1 }).filter((text) => !/[\0\x1e]|\p{Cs}/u.test(text)),
        (text) => {
          expect(run(`aws iam x ${shellWord(text)}`).calls).toEqual([['iam', 'x', text]]);
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe('polony iam', () => {
  const options = { ...all, trustedAccountId: TRUSTED, format: 'json' } as const;
  it('prints each format', () => {
    const made = documents();
    const printed = Object.fromEntries(
      IAM_FORMATS.map((format) => [format, iamText({ ...options, capabilities: undefined, format })]),
    );
    expect(JSON.parse(printed.json!)).toEqual({ externalId: all.externalId, ...made });
    expect([printed.cloudformation, printed.terraform, printed['aws-cli']]).toEqual([
      made.cloudFormation,
      made.terraform,
      made.awsCli,
    ]);
    expect([JSON.parse(printed.policy!), JSON.parse(printed.trust!)]).toEqual([
      made.permissionPolicy,
      made.trustPolicy,
    ]);
  });
  it('generates an external ID, and requires the trusted account if there is a trust policy', () => {
    const ids = [1, 2].map(
      () =>
        (JSON.parse(iamText({ ...options, capabilities: undefined, externalId: undefined })) as { externalId: string })
          .externalId,
    );
    expect(ids[0]).toMatch(/^polony-[0-9a-f]{40}$/);
    expect(ids[0]).not.toBe(ids[1]);
    const without = (more: Partial<Parameters<typeof iamText>[0]>) => () =>
      iamText({ ...options, capabilities: undefined, trustedAccountId: undefined, ...more });
    expect(without({})).toThrow(/POLONY_TRUSTED_ACCOUNT_ID/);
    expect(without({ format: 'policy' })).not.toThrow();
    expect(without({ credentialType: 'accessKeys' })).not.toThrow();
    expect(without({ credentialType: 'accessKeys', format: 'trust' })).toThrow(/no trust policy/);
    expect(without({ format: 'xml' })).toThrow(InputError);
  });
});

it('names every capability in the table of permissions', () => {
  for (const capability of CAPABILITIES satisfies readonly Capability[])
    expect(PERMISSIONS.some(({ neededBy }) => neededBy.includes(capability))).toBe(true);
});
