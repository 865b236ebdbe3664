import { describe, expect, it } from 'vitest';
import { toKnownStart } from '../../activities/executions/startedExecution.js';
import { describeReport } from '../../cli/reconcile.js';
import { isSameStart, parseEndRecord, parseRunRecord, parseStartRecord } from '../../domain/executions/record.js';
import { needsPerson, type ReconcileReport } from '../../domain/reconcile/report.js';

const id = '0190d0c0-0000-7000-8000-000000000001';
const outputUri = `s3://lab/runs/polony-executions/${id}/`;
const origin = {
  name: 'b2f RUN',
  flowId: 'f',
  computeConnectionId: 'c',
  storageConnectionId: 's',
  run: { id: 'r', parentPath: 'AV1', runFolder: 'F', runName: 'RUN', instrumentName: 'AV1', discovered: true },
  trigger: 'auto',
  startedBy: 'polony',
  ownParameters: {},
  manifest: null,
  outputUri,
  relaunchOf: null,
};
const recorded = {
  executionId: id,
  origin,
  flow: { name: 'b2f', sharedWorkflowId: '1', workflowOwnerId: '2' },
  compute: { region: 'us-west-2', executionRoleArn: 'arn' },
  time: '2026-01-01T00:00:00.000Z',
};
const start = { ...recorded, attempt: 1, request: { requestId: id } };
const run = { executionId: id, attempt: 1, runId: '7', uuid: 'u', arn: 'a', runOutputUri: `${outputUri}7`, time: 't' };
const end = { ...recorded, status: 'FAILED', description: 'It failed', errorType: 'Failed' };

describe('records in the bucket', () => {
  it('are read as they were written', () => {
    expect(parseStartRecord(JSON.stringify(start))).toEqual(start);
    expect(parseRunRecord(JSON.stringify(run))).toEqual(run);
    expect(parseEndRecord(JSON.stringify(end))).toEqual(end);
  });

  it('are ignored where anything is missing or of another type', () => {
    for (const text of ['', 'null', '[]', '{}', '"x"']) {
      expect(parseStartRecord(text)).toBeUndefined();
      expect(parseRunRecord(text)).toBeUndefined();
      expect(parseEndRecord(text)).toBeUndefined();
    }
    for (const name of Object.keys(start)) {
      const { [name as keyof typeof start]: _, ...rest } = start;
      expect([name, parseStartRecord(JSON.stringify(rest))]).toEqual([name, undefined]);
    }
    expect(parseRunRecord(JSON.stringify({ ...run, runId: '../7' }))).toBeUndefined();
    expect(parseEndRecord(JSON.stringify({ ...end, status: 'RUNNING' }))).toBeUndefined();
    expect(parseStartRecord(JSON.stringify({ ...start, origin: { ...origin, trigger: 'x' } }))).toBeUndefined();
  });

  it('do not make polony send a request for another workflow, role, output or request id', () => {
    const own = { workflowId: '1', workflowOwnerId: '2', roleArn: 'r', outputUri: 'o', requestId: 'i', tags: {} };
    expect(isSameStart({ ...own, tags: { other: 'tag' }, name: 'n' }, own)).toBe(true);
    for (const name of ['workflowId', 'workflowOwnerId', 'roleArn', 'outputUri', 'requestId'])
      expect([name, isSameStart({ ...own, [name]: 'x' }, own)]).toEqual([name, false]);
  });

  it('count only with the run of the latest attempt, below the output of the execution', () => {
    const second = { ...start, attempt: 2 };
    const record = { starts: [start, second] as never[], runs: [run] as never[], end: undefined };
    expect(toKnownStart(record, id, outputUri)).toMatchObject({
      attempt: 2,
      request: second.request,
      earlier: [{ runId: '7', attempt: 1 }],
    });
    expect(toKnownStart(record, id, outputUri)!.run).toBeUndefined();
    const forged = { ...run, attempt: 2, runOutputUri: 's3://other/7' };
    expect(toKnownStart({ ...record, runs: [forged] as never[] }, id, outputUri)!.run).toBeUndefined();
    const refused = { ...start, refused: true };
    expect(toKnownStart({ ...record, starts: [refused] as never[] }, id, outputUri)!.request).toBeNull();
  });
});

describe('the report of polony reconcile', () => {
  const report: ReconcileReport = {
    dryRun: true,
    executions: [
      {
        id,
        run: 'RUN',
        before: 'unknown',
        after: 'RUNNING',
        why: 'found in the bucket',
        kind: 'changed',
        healthOmicsRunId: '7',
      },
    ],
    notes: [],
    totals: { examined: 1, changed: 1, unchanged: 0, undecided: 0, unwatched: null },
  };

  it('says what would change, and that nothing did', () => {
    const text = describeReport(report);
    expect(text).toContain('unknown → RUNNING');
    expect(text).toContain('Nothing was changed.');
    expect(needsPerson(report)).toBe(false);
  });

  it('asks for a person where something is undecided or unwatched', () => {
    expect(needsPerson({ ...report, totals: { ...report.totals, unwatched: 1 } })).toBe(true);
    expect(needsPerson({ ...report, notes: [{ subject: 'AWS', kind: 'attention', text: 'x' }] })).toBe(true);
    expect(describeReport({ ...report, executions: [] })).toContain('There is nothing to do.');
  });
});
