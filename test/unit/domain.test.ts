import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { cutToBytes } from '../../domain/names.js';
import { checkRoleArn } from '../../domain/arn.js';
import { parseSharedWorkflow } from '../../domain/connections/flow.js';
import { checkExternalId } from '../../domain/connections/provider.js';
import { checkBucketName, checkPrefix, normalizePrefix } from '../../domain/connections/storage.js';
import { checkHealthOmicsRegion } from '../../domain/regions.js';
import { parseRunStats } from '../../domain/executions/results.js';
import { parseApiConfig, parseWorkerConfig } from '../../cli/settings/parse.js';
import { FileFormatError, InputError } from '../../domain/errors.js';
import { buildRunParameters, toExecutionStatus } from '../../domain/executions/execution.js';
import { expectedBaseCalls, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseRunManifest } from '../../domain/runs/manifest.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { parseRunUploaded } from '../../domain/runs/runUploaded.js';
import { classifyAwsError } from '../../aws/errors.js';

const SHARED_DATA = path.resolve(import.meta.dirname, '../../../shared/data');

describe('rules of connections', () => {
  it.each(['ab', 'Lab@7:x,y=z-1./_', 'x'.repeat(1224)])('takes the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).toEqual([]),
  );
  it.each(['a', '', 'has space', 'plus+sign', 'ümlaut', 'x'.repeat(1225)])('refuses the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).not.toEqual([]),
  );
  it.each(['lab-aviti', 'my.bucket.1', 'abc'])('takes the bucket %s', (value) =>
    expect(checkBucketName('bucket', value)).toEqual([]),
  );
  it.each([
    ['s3://lab', 'BUCKET_HAS_SCHEME'],
    ['lab/runs', 'BUCKET_HAS_PATH'],
    ['ab', 'BUCKET_LENGTH'],
    ['Lab', 'BUCKET_CHARACTERS'],
    ['-lab', 'BUCKET_ENDS'],
    ['a..b', 'BUCKET_DOTS'],
    ['10.0.0.1', 'BUCKET_IP'],
    ['xn--lab', 'BUCKET_RESERVED'],
    ['lab-s3alias', 'BUCKET_RESERVED'],
  ])('refuses the bucket %s', (value, rule) => expect(checkBucketName('bucket', value)[0]?.rule).toBe(rule));
  it('brings prefixes into one form and refuses what IAM would read as wildcards', () => {
    expect(['/runs/', 'runs', 'runs//'].map(normalizePrefix)).toEqual(['runs', 'runs', 'runs']);
    expect(checkPrefix('prefix', 'lab/runs')).toEqual([]);
    for (const bad of ['runs/*', 'ru?s', 'a//b', 'a/../b', '${aws:username}', 's3://b/x'])
      expect(checkPrefix('prefix', bad), bad).not.toEqual([]);
  });
  it('knows role ARNs, HealthOmics regions and shared workflows', () => {
    expect(checkRoleArn('roleArn', 'arn:aws:iam::111122223333:role/path/Element-ServiceUser')).toEqual([]);
    for (const bad of ['arn:aws:iam::111122223333:user/x', 'arn:aws:iam::1:role/x', 'Element-ServiceUser'])
      expect(checkRoleArn('roleArn', bad), bad).not.toEqual([]);
    expect(checkHealthOmicsRegion('region', 'us-west-2')).toEqual([]);
    expect(checkHealthOmicsRegion('region', 'us-west-1')).not.toEqual([]);
    expect(parseSharedWorkflow('arn:aws:omics:us-west-2:588258415937:workflow/4567890')).toEqual({
      id: '4567890',
      ownerId: '588258415937',
      region: 'us-west-2',
    });
    expect(parseSharedWorkflow('4567890')).toEqual({ id: '4567890' });
    expect(parseSharedWorkflow('workflow 1')).toBeUndefined();
  });
});

describe('files of instruments and Bases2Fastq', () => {
  it('waits for a RunUploaded.json that is empty, and keeps outcomes it does not know', () => {
    expect(parseRunUploaded('')).toBeUndefined();
    expect(parseRunUploaded('\n')).toBeUndefined();
    expect(parseRunUploaded('{"outcome":"OutcomeStopped","instrument":"AV1","runID":"x"}')).toMatchObject({
      outcome: 'stopped',
      runId: 'x',
    });
    expect(parseRunUploaded('{"outcome":"OutcomePaused"}')?.outcome).toBe('unknown');
    expect(() => parseRunUploaded('{"outcome":')).toThrow(FileFormatError);
  });
  it('reads a manifest with quotes, comments, trailing commas and odd headings', () => {
    const manifest = parseRunManifest(
      '\uFEFF[RunValues],,\r\nKeyName, Value,\r\nLab,"a, b",\r\n# comment\r\n\r\n[SAMPLES]\r\nsamplename,INDEX1,Index2,Lane,Project,Extra\r\nS1,acgt,TTTT,1,P1,x\r\nPhiX,AAAA,CCCC,,,\r\nPhiX,GGGG,TTTT,1+2,,\r\n',
    );
    expect(manifest.runValues).toEqual({ Lab: 'a, b' });
    expect(manifest.samples.map(({ name, index1, lanes, project }) => [name, index1, lanes, project])).toEqual([
      ['S1', 'ACGT', [1], 'P1'],
      ['PhiX', 'AAAA', [1, 2], undefined],
      ['PhiX', 'GGGG', [1, 2], undefined],
    ]);
    expect(manifest.samples[0]?.custom).toEqual({ Extra: 'x' });
    expect(() => parseRunManifest('[Samples]\nSampleName,Lane\nS1,3')).toThrow(/line 3/);
  });
  it('knows which BaseCalls files a run must have, and takes folder names apart', () => {
    expect(expectedBaseCalls({ R1: 2, I1: 1 })).toEqual([
      'BaseCalls/I1_C001.zip',
      'BaseCalls/R1_C001.zip',
      'BaseCalls/R1_C002.zip',
    ]);
    expect(parseRunFolderName('20260115_AV240001_my_run', 'AV240001')).toEqual({
      date: '2026-01-15',
      instrumentName: 'AV240001',
      runName: 'my_run',
    });
    for (const bad of ['polony-executions', '20261315_A_B', '2026_A_B', '20260101_AV1'])
      expect(parseRunFolderName(bad), bad).toBeUndefined();
  });
  it.skipIf(!existsSync(SHARED_DATA))('parses the files that laboratories made public', () => {
    const runs = path.join(SHARED_DATA, 'instrument-runs');
    for (const run of readdirSync(runs)) {
      const parameters = parseRunParameters(readFileSync(path.join(runs, run, 'RunParameters.json'), 'utf8'));
      expect(parameters.instrumentName).toMatch(/^AV\d{6}$/);
      if (parameters.runType === 'Sequencing')
        expect(expectedBaseCalls(parameters.cycles ?? {}).length).toBeGreaterThan(100);
    }
    expect(parseRunUploaded(readFileSync(path.join(runs, 'taca/RunUploaded_failed.json'), 'utf8'))?.outcome).toBe(
      'failed',
    );
    expect(
      parseRunManifest(readFileSync(path.join(runs, 'taca/RunManifest_lims.csv'), 'utf8')).samples.length,
    ).toBeGreaterThan(1);
    expect(
      parseRunStats(readFileSync(path.join(SHARED_DATA, 'bases2fastq-output/NT1850075L/RunStats.json'), 'utf8'))
        .samples,
    ).toHaveLength(22);
  });
});

describe('parameters of a HealthOmics run', () => {
  const template = { run_dir: {}, no_projects: { optional: true }, num_unassigned: { optional: true } };
  it('always applies --no-projects and sets nothing outside the template', () => {
    expect(buildRunParameters(template, {}, { num_unassigned: 5 }, { runDir: 's3://b/r' })).toEqual({
      run_dir: 's3://b/r',
      no_projects: true,
      num_unassigned: 5,
    });
    expect(() => buildRunParameters(template, {}, { no_projects: false }, { runDir: 's3://b/r' })).toThrow(InputError);
    expect(() => buildRunParameters(template, {}, { other: 1 }, { runDir: 's3://b/r' })).toThrow(/no such parameter/);
    expect(() => buildRunParameters({ where: {} }, {}, {}, { runDir: 's3://b/r' })).toThrow(/parameterNames.runDir/);
    expect(buildRunParameters({ where: {} }, { runDir: 'where' }, {}, { runDir: 's3://b/r' })).toEqual({
      where: 's3://b/r',
    });
  });
  it('takes STOPPING for running, and a run cancelled elsewhere for canceled', () => {
    expect(
      ['STARTING', 'STOPPING', 'CANCELLED', 'DELETED'].map((status) => toExecutionStatus(status as never)),
    ).toEqual(['PENDING', 'RUNNING', 'CANCELED', 'FAILED']);
  });
});

describe('errors of AWS', () => {
  it.each([
    [{ name: 'ExpiredTokenException' }, 'expired'],
    [{ name: 'AccessDeniedException', $metadata: { httpStatusCode: 403 } }, 'denied'],
    [{ name: 'ServiceQuotaExceededException', $metadata: { httpStatusCode: 402 } }, 'quota'],
    [{ name: 'Unknown', $metadata: { httpStatusCode: 429 } }, 'throttled'],
    [{ code: 'ECONNREFUSED' }, 'unreachable'],
    [{ code: 'ECONNRESET' }, 'network'],
    [{ name: 'Odd', $metadata: { httpStatusCode: 503 } }, 'internal'],
    [new Error('?'), 'unknown'],
  ])('%o', (error, kind) => expect(classifyAwsError(error).kind).toBe(kind));
});

describe('configuration', () => {
  it('names every variable that is wrong and repeats no value', () => {
    let problems: readonly { field: string; message: string }[] = [];
    try {
      parseApiConfig({ POLONY_API_KEY: 'short-secret', POLONY_PORT: 'x', TEMPORAL_ADDRESS: 'http://t' });
    } catch (error) {
      problems = (error as InputError).problems;
    }
    expect(problems.map((problem) => problem.field).sort()).toEqual([
      'DATABASE_URL',
      'POLONY_API_KEY',
      'POLONY_PORT',
      'TEMPORAL_ADDRESS',
    ]);
    expect(JSON.stringify(problems)).not.toContain('short-secret');
  });
  it('has defaults for all but addresses', () => {
    expect(parseWorkerConfig({ DATABASE_URL: 'postgres://u:p@h/d', TEMPORAL_ADDRESS: 'h:7233' })).toMatchObject({
      runPollSeconds: 30,
      sessionSeconds: 43200,
      temporal: { namespace: 'default' },
    });
  });
});

describe('odd input', () => {
  it('is no run of an instrument where it lies under another name, or has a name that fills a key', () => {
    expect(parseRunFolderName('20260115_AV240001_RUN', 'archive')).toBeUndefined();
    expect(parseRunFolderName(`20260115_AV240001_${'x'.repeat(300)}`, 'AV240001')).toBeUndefined();
  });
  it('does not take members of JavaScript objects for outcomes or parameters', () => {
    expect(
      parseRunUploaded('{"instrument":"AV","runID":"r","runType":"Sequencing","outcome":"constructor"}')!.outcome,
    ).toBe('unknown');
    expect(() =>
      buildRunParameters({ run_dir: {}, no_projects: {} }, {}, { constructor: 1 }, { runDir: 's3://b/r' }),
    ).toThrow(/no such parameter/);
  });
  it('cuts names to bytes, whole characters only', () => {
    expect(cutToBytes('run', 10)).toBe('run');
    expect(Buffer.byteLength(cutToBytes('長'.repeat(200), 400))).toBeLessThanOrEqual(400);
    expect(cutToBytes('😀😀😀', 8)).toBe('😀…');
  });
});
