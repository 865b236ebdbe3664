import { expect, it } from 'vitest';
import { code, plain } from '../../domain/markdown.js';
import { blockedByValues, causeOf, ownerOf } from '../../domain/executions/blockedCause.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { omicsLogUrl, omicsRunUrl, parseFolderUri, s3FolderUrl } from '../../domain/console.js';
import { TEMPORAL_CALLER } from '../../store/audit.js';
import { describeBlocked, link } from '../../workflows/details.js';
import { describeExecution, describeWho, describeWhy, type ShownExecution } from '../../workflows/executionDetails.js';
import { attributes, SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';

const denied = (more: Partial<Blocked>): Blocked => ({
  kind: 'ACCESS_DENIED',
  message: 'denied',
  remedy: 'Allow it',
  ...more,
});
const account = '111122223333';

it('links to the console of the partition of a region', () => {
  expect(omicsRunUrl('us-west-2', '1234567')).toBe(
    'https://us-west-2.console.aws.amazon.com/omics/home?region=us-west-2#/runs/1234567',
  );
  expect(omicsLogUrl('us-west-2', '1')).toContain(
    '#logsV2:log-groups/log-group/$252Faws$252Fomics$252FWorkflowLog/log-events/run$252F1$252Fengine',
  );
  expect(s3FolderUrl({ bucket: 'b', key: 'runs/a b', region: 'us-gov-west-1' })).toBe(
    'https://us-gov-west-1.console.amazonaws-us-gov.com/s3/buckets/b?region=us-gov-west-1&prefix=runs%2Fa%20b%2F',
  );
  expect(s3FolderUrl({ bucket: 'b', key: '', region: 'cn-north-1' })).toContain('.console.amazonaws.cn/');
  // No link is better than a wrong one.
  expect(s3FolderUrl({ bucket: 'b', key: 'k', region: 'us-iso-east-1' })).toBeUndefined();
  expect(omicsRunUrl('evil.example/', '1')).toBeUndefined();
  expect(parseFolderUri('s3://b/a/c/', 'r')).toEqual({ bucket: 'b', key: 'a/c', region: 'r' });
  expect(parseFolderUri('https://b/a', 'r')).toBeUndefined();
});

it('gives all workflows that one repair lets continue the same cause', () => {
  const onObject = (key: string) => denied({ action: 's3:GetObject', resource: `arn:aws:s3:::lab-runs/${key}` });
  // An execution knows the account, an upload does not. Both read from one bucket.
  expect(causeOf(onObject('a/RunManifest.csv'), { account })).toBe(causeOf(onObject('b/RunUploaded.json'), {}));
  expect(causeOf(onObject('a'), {})).toBe('ACCESS_DENIED s3:GetObject: customer, bucket lab-runs');
  const onRun = (id: string) =>
    denied({ action: 'omics:GetRun', resource: `arn:aws:omics:us-west-2:${account}:run/${id}` });
  expect(causeOf(onRun('1'), { account })).toBe(causeOf(onRun('2'), { account }));
  const role = `arn:aws:iam::${account}:role/lab`;
  const refused = denied({ kind: 'ROLE_NOT_ASSUMABLE', action: 'sts:AssumeRole', resource: role });
  expect(causeOf(refused, {})).toBe(causeOf(refused, { account }));
  const keys = denied({ kind: 'ACCESS_KEYS_REFUSED', action: 'sts:GetFederationToken', resource: 'AKIDEXAMPLE' });
  expect(causeOf({ ...keys, account }, {})).toBe(causeOf(keys, { account }));
  expect(causeOf(keys, { account })).not.toContain('AKID');
});

it('gives workflows with different causes different ones', () => {
  const pass = (role: string) => denied({ action: 'iam:PassRole', resource: `arn:aws:iam::${account}:role/${role}` });
  const manifest = (run: string) => denied({ kind: 'MANIFEST_INVALID', resource: `s3://b/${run}/RunManifest.csv` });
  const causes = [
    causeOf(pass('one'), { account }),
    causeOf(pass('two'), { account }),
    causeOf(denied({ action: 'omics:StartRun', resource: '*' }), { account }),
    causeOf(denied({ action: 'omics:StartRun', resource: '*' }), { account: '444455556666' }),
    causeOf(denied({ kind: 'QUOTA', action: 'omics:StartRun', resource: '*' }), { account }),
    causeOf(manifest('one'), { account }),
    causeOf(manifest('two'), { account }),
    causeOf(denied({ kind: 'INVALID_FLOW' }), { account, flow: 'b2f' }),
    causeOf(denied({ kind: 'INVALID_FLOW' }), { account, flow: 'other' }),
  ];
  expect(new Set(causes).size).toBe(causes.length);
});

it('says who must act', () => {
  expect(ownerOf(denied({}))).toBe('customer');
  expect(ownerOf(denied({ kind: 'SECRET_UNREADABLE' }))).toBe('polony');
  expect(ownerOf(denied({ kind: 'VERSION_TOO_OLD' }))).toBe('vendor');
  expect(ownerOf(denied({ owner: 'polony' }))).toBe('polony');
});

it('lists every cause, action and owner once, within the size of a keyword', () => {
  const blocks = [
    denied({ action: 'omics:GetRun', resource: `arn:aws:omics:us-west-2:${account}:run/1` }),
    denied({ action: 'omics:CancelRun', resource: `arn:aws:omics:us-west-2:${account}:run/1` }),
  ];
  expect(blockedByValues(blocks, { account })).toEqual([
    `ACCESS_DENIED omics:GetRun: customer, account ${account}`,
    'omics:GetRun',
    'customer',
    `ACCESS_DENIED omics:CancelRun: customer, account ${account}`,
    'omics:CancelRun',
  ]);
  const long = denied({ kind: 'MANIFEST_INVALID', resource: `s3://b/${'長'.repeat(500)}` });
  for (const value of blockedByValues([long], {})) expect(Buffer.byteLength(value)).toBeLessThanOrEqual(255);
});

it('fits into the columns that Temporal has on PostgreSQL', () => {
  const count = (type: string): number => Object.values(SEARCH_ATTRIBUTES).filter((each) => each === type).length;
  expect(Object.keys(SEARCH_ATTRIBUTES)).toHaveLength(Object.keys(attributes).length);
  expect(count('Keyword')).toBeLessThanOrEqual(10);
  for (const type of ['Bool', 'Datetime', 'KeywordList']) expect(count(type)).toBeLessThanOrEqual(3);
});

it('lets no name or message become a link, an image or HTML', () => {
  expect(code('a`b\nc')).toBe("`a'b c`");
  expect(plain('[x](http://evil) <img> *b* _c_')).toBe('\\[x\\](http:\\//evil) \\<img\\> \\*b\\* \\_c\\_');
  expect(plain('www.evil.example, a@evil.example')).toBe('www\\.evil.example, a\\@evil.example');
  expect(link('run', undefined)).toBe('`run`');
  const text = describeBlocked(denied({ message: '`]( <script>', remedy: '![x](y)' }), 'CAUSE', 0, 86_400_000);
  expect(text).toContain("`']( <script>`");
  expect(text).toContain('!\\[x\\](y)');
  expect(text).toContain('- **Cause:** `CAUSE`');
  expect(text).toContain('**Blocked since:** 1970-01-01T00:00:00.000Z');
  expect(text).toContain('gives up at 1970-01-02T00:00:00.000Z');
});

it('says who cancelled, and what is only claimed', () => {
  const received = { request: {}, at: 0, by: 'signal' as const };
  expect(describeWho(received)).toBe('unknown (Temporal signal)');
  expect(describeWhy(received)).toBe('no reason given');
  const claimed = { ...received, request: { requestedBy: 'lims', reason: 'wrong manifest' } };
  expect(describeWho(claimed)).toBe('not confirmed yet (Temporal signal, which says it is from lims)');
  expect(describeWho({ ...claimed, confirmedBy: TEMPORAL_CALLER.name })).toBe(
    'unknown (Temporal signal, which says it is from lims)',
  );
  expect(describeWho({ ...claimed, confirmedBy: 'lims' })).toBe('lims (through the API)');
  expect(describeWhy(claimed)).toBe('wrong manifest');
  const cancelled = { request: { requestedBy: 'Temporal' }, at: 0, by: 'cancellation' as const };
  expect(describeWho(cancelled)).toBe('unknown (cancellation of the workflow in Temporal)');
});

it('shows the details of an execution whose history is from before there were links', () => {
  const shown: ShownExecution = {
    status: 'RUNNING',
    step: 'running on HealthOmics',
    since: 0,
    continues: 'by itself',
    isBlocked: false,
    healthOmicsRunId: '1234567',
    cancel: undefined,
    toDo: undefined,
  };
  const input = {
    executionId: 'e1',
    executionName: 'b2f RUN',
    flowName: 'b2f',
    runName: 'RUN',
    instrumentName: 'AV240001',
    runFolder: '20260101_AV240001_RUN',
    providerName: 'lab',
    account,
    region: 'us-west-2',
    storageConnectionName: 'runs',
    waitForUpload: false,
    watchTaskQueue: 'watch',
  };
  const text = describeExecution(input, shown);
  expect(text).toContain('- **Since:** 1970-01-01T00:00:00.000Z');
  expect(text).toContain(
    '[`1234567`](https://us-west-2.console.aws.amazon.com/omics/home?region=us-west-2#/runs/1234567)',
  );
  expect(text).toContain('- **Run folder:** `20260101_AV240001_RUN`');
  expect(text).not.toContain('Results');
});
