import { execFile } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { eventDocuments } from '../../domain/events/documents.js';

/*
 * Terraform's provider of AWS cannot be had on every machine. So policies and event patterns are in a module without a
 * provider, which these tests apply, and the rest is checked as text.
 */
const exec = promisify(execFile);
const folder = fileURLToPath(new URL('../../deploy/terraform', import.meta.url));
const scratch = mkdtempSync(path.join(tmpdir(), 'polony-terraform-'));
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

/** `terraform` or `tofu`, or undefined where neither is installed. */
let terraform: string | undefined;
beforeAll(async () => {
  for (const each of ['terraform', 'tofu'])
    terraform ??= await exec(each, ['version']).then(
      () => each,
      () => undefined,
    );
});

const INPUT = {
  partition: 'aws',
  account_id: '111122223333',
  identity: 'irsa',
  oidc_provider_arn: 'arn:aws:iam::111122223333:oidc-provider/oidc.eks.us-west-2.amazonaws.com/id/ABC',
  namespace: 'sequencing',
  service_account: 'lab-polony',
  customer_role_arns: ['arn:aws:iam::*:role/polony-*'],
  role_arn: 'arn:aws:iam::111122223333:role/polony',
  key_arns: ['arn:aws:kms:us-west-2:111122223333:key/k1'],
  event_buckets: {} as Record<string, { prefix: string }>,
};
interface Documents {
  trust_policy: { Statement: { Action: string[]; Principal: object; Condition?: object }[] };
  identity_policy: { Statement: { Action: unknown; Resource: unknown; Condition?: object }[] };
  key_policy: { Statement: { Principal: { AWS: string }; Action: unknown; Condition?: object }[] };
  event_patterns: Record<string, object>;
}

/** Applies the module with the documents. */
async function documents(input: Partial<typeof INPUT> = {}): Promise<Documents> {
  const place = mkdtempSync(path.join(scratch, 'run-'));
  for (const file of readdirSync(path.join(folder, 'documents')))
    writeFileSync(path.join(place, file), readFileSync(path.join(folder, 'documents', file)));
  writeFileSync(path.join(place, 'terraform.tfvars.json'), JSON.stringify({ ...INPUT, ...input }));
  const run = (...args: string[]): Promise<{ stdout: string }> =>
    exec(terraform!, [`-chdir=${place}`, ...args, '-no-color']);
  await run('init', '-input=false');
  await run('apply', '-input=false', '-auto-approve');
  const outputs = JSON.parse((await run('output', '-json')).stdout) as Record<string, { value: unknown }>;
  const decode = (value: unknown): unknown =>
    typeof value === 'string'
      ? JSON.parse(value)
      : Object.fromEntries(Object.entries(value as object).map(([name, each]) => [name, decode(each)]));
  return Object.fromEntries(Object.entries(outputs).map(([name, { value }]) => [name, decode(value)])) as never;
}

describe('the Terraform files', () => {
  it('have the layout of `terraform fmt`, which also parses them', async (context) => {
    if (terraform === undefined) return context.skip('neither terraform nor tofu is installed');
    const { stdout } = await exec(terraform, ['fmt', '-check', '-recursive', '-diff', folder]);
    expect(stdout).toBe('');
  });

  it.each(['.', 'documents'])('declare in %s each variable and output that they use, and use each', (where) => {
    const textOf = (place: string): string =>
      readdirSync(path.join(folder, place))
        .filter((file) => file.endsWith('.tf'))
        .map((file) => readFileSync(path.join(folder, place, file), 'utf8').replace(/^\s*#.*$/gm, ''))
        .join('\n');
    const all = (text: string, pattern: RegExp): string[] => [
      ...new Set([...text.matchAll(pattern)].map(([, name]) => name!)),
    ];
    const text = textOf(where);
    expect(all(text, /\bvar\.(\w+)/g).sort()).toEqual(all(text, /^variable "(\w+)"/gm).sort());
    const resources = all(text, /^(?:data|resource) "(\w+" "\w+)"/gm).map((name) => name.replace('" "', '.'));
    const used = all(text, /\b(aws_\w+\.\w+)\b/g).filter((name) => !name.startsWith('aws_eks'));
    expect(used.filter((name) => !resources.includes(name))).toEqual([]);
    if (where === 'documents') return;
    const documents = textOf('documents');
    expect(all(text, /module\.documents\.(\w+)/g).sort()).toEqual(all(documents, /^output "(\w+)"/gm).sort());
    const call = /module "documents" \{\n([\s\S]*?)^\}/m.exec(text)![1]!;
    expect(all(call, /^ {2}(\w+) +=/gm).sort()).toEqual([...all(documents, /^variable "(\w+)"/gm), 'source'].sort());
  });
});

describe('the documents of the Terraform files', () => {
  it('let polony assume the roles of customers and use its keys, and nothing else', async (context) => {
    if (terraform === undefined) return context.skip('neither terraform nor tofu is installed');
    const { identity_policy: policy, key_policy: key } = await documents();
    const context_ = { Null: { 'kms:EncryptionContext:polony': 'false' } };
    expect(policy.Statement).toEqual([
      // Without a condition: polony must be able to find roles that need no external ID.
      { Sid: 'EnterAccounts', Effect: 'Allow', Action: 'sts:AssumeRole', Resource: ['arn:aws:iam::*:role/polony-*'] },
      {
        Sid: 'EncryptSecrets',
        Effect: 'Allow',
        Action: ['kms:GenerateDataKey', 'kms:Decrypt'],
        Resource: INPUT.key_arns,
        Condition: context_,
      },
    ]);
    expect(key.Statement.map(({ Principal, Action, Condition }) => [Principal.AWS, Action, Condition])).toEqual([
      ['arn:aws:iam::111122223333:root', 'kms:*', undefined],
      [INPUT.role_arn, ['kms:GenerateDataKey', 'kms:Decrypt'], context_],
    ]);
    // aws/kms.ts gives this context with every call.
    const code = readFileSync(new URL('../../aws/kms.ts', import.meta.url), 'utf8');
    expect(code.match(/EncryptionContext: \{ polony: context \}/g)).toHaveLength(code.match(/Command\(\{/g)!.length);
    expect((await documents({ key_arns: [] })).identity_policy.Statement).toHaveLength(1);
  });

  it('let only the chosen kind of process have the role', async (context) => {
    if (terraform === undefined) return context.skip('neither terraform nor tofu is installed');
    const trust = async (identity: string): Promise<unknown[]> => {
      const [statement, ...rest] = (await documents({ identity })).trust_policy.Statement;
      expect(rest).toEqual([]);
      return [statement!.Principal, statement!.Action, statement!.Condition];
    };
    expect(await trust('irsa')).toEqual([
      { Federated: INPUT.oidc_provider_arn },
      ['sts:AssumeRoleWithWebIdentity'],
      {
        StringEquals: {
          'oidc.eks.us-west-2.amazonaws.com/id/ABC:aud': 'sts.amazonaws.com',
          'oidc.eks.us-west-2.amazonaws.com/id/ABC:sub': 'system:serviceaccount:sequencing:lab-polony',
        },
      },
    ]);
    expect(await trust('podIdentity')).toEqual([
      { Service: 'pods.eks.amazonaws.com' },
      ['sts:AssumeRole', 'sts:TagSession'],
      undefined,
    ]);
    expect(await trust('ecs')).toEqual([
      { Service: 'ecs-tasks.amazonaws.com' },
      ['sts:AssumeRole'],
      { StringEquals: { 'aws:SourceAccount': '111122223333' } },
    ]);
    expect(await trust('ec2')).toEqual([{ Service: 'ec2.amazonaws.com' }, ['sts:AssumeRole'], undefined]);
    await expect(documents({ oidc_provider_arn: '' })).rejects.toMatchObject({
      stderr: expect.stringContaining('Set oidc_provider_arn') as string,
    });
  });

  it.for([
    ['', ''],
    ['runs', 'runs'],
    ['/instruments/runs/', 'instruments/runs'],
  ] as const)(
    'select the events that polony itself writes into its templates, for the prefix %j',
    async ([prefix, normal], context) => {
      if (terraform === undefined) return context.skip('neither terraform nor tofu is installed');
      const { event_patterns: patterns } = await documents({ event_buckets: { 'lab-aviti': { prefix } } });
      const template = JSON.parse(eventDocuments({ bucket: 'lab-aviti', prefix: normal }).cloudFormation) as {
        Resources: Record<'Uploads' | 'Runs', { Properties: { EventPattern: object } }>;
      };
      expect(Object.values(patterns)).toEqual([
        template.Resources.Runs.Properties.EventPattern,
        template.Resources.Uploads.Properties.EventPattern,
      ]);
      expect(Object.keys(patterns)).toEqual(['runs', expect.stringMatching(/^uploads-[0-9a-f]{12}$/)]);
    },
  );
});
