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

describe('the rules for connections', () => {
  it.each(['ab', 'Lab@7:x,y=z-1./_', 'x'.repeat(1224)])('accept the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).toEqual([]),
  );
  it.each(['a', '', 'has space', 'plus+sign', 'ümlaut', 'x'.repeat(1225)])('reject the external ID %#', (value) =>
    expect(checkExternalId('externalId', value)).not.toEqual([]),
  );
  it.each(['lab-aviti', 'my.bucket.1', 'abc'])('accept the bucket name %s', (value) =>
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
  ])('reject the bucket name %s with %s', (value, rule) =>
    expect(checkBucketName('bucket', value)[0]?.rule).toBe(rule),
  );
  it('normalize prefixes and reject those that IAM would read as wildcards', () => {
    expect(['/runs/', 'runs', 'runs//'].map(normalizePrefix)).toEqual(['runs', 'runs', 'runs']);
    expect(checkPrefix('prefix', 'lab/runs')).toEqual([]);
    for (const bad of ['runs/*', 'ru?s', 'a//b', 'a/../b', '${aws:username}', 's3://b/x'])
      expect(checkPrefix('prefix', bad), bad).not.toEqual([]);
  });
  it('accept valid role ARNs, HealthOmics regions and shared workflows, and reject others', () => {
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

describe('parsers of instrument and Bases2Fastq files', () => {
  it('return undefined for an empty RunUploaded.json, and `unknown` for an outcome of a later AVITI version', () => {
    expect(parseRunUploaded('')).toBeUndefined();
    expect(parseRunUploaded('\n')).toBeUndefined();
    expect(parseRunUploaded('{"outcome":"OutcomeStopped","instrument":"AV1","runID":"x"}')).toMatchObject({
      outcome: 'stopped',
      runId: 'x',
    });
    expect(parseRunUploaded('{"outcome":"OutcomePaused"}')?.outcome).toBe('unknown');
    expect(() => parseRunUploaded('{"outcome":')).toThrow(FileFormatError);
  });
  it('read a manifest with quotes, comments, trailing commas and headings in any case', () => {
    const manifest = parseRunManifest(
      '\uFEFF[RunValues],,\r\nKeyName, Value,\r\nLab,"a, b",\r\n# comment\r\n\r\n' +
        '[SAMPLES]\r\nsamplename,INDEX1,Index2,Lane,Project,Extra\r\n' +
        'S1,acgt,TTTT,1,P1,x\r\nPhiX,AAAA,CCCC,,,\r\nPhiX,GGGG,TTTT,1+2,,\r\n',
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
  it('list the BaseCalls files that a run must have, and parse folder names', () => {
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
  it.skipIf(!existsSync(SHARED_DATA))('parse the files that laboratories have published', () => {
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

describe('a HealthOmics run', () => {
  const template = { run_dir: {}, no_projects: { optional: true }, num_unassigned: { optional: true } };
  it('gets --no-projects always, and no parameter that its template does not name', () => {
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
  it('is running while STOPPING, and canceled when someone else cancels it', () => {
    expect(
      ['STARTING', 'STOPPING', 'CANCELLED', 'DELETED'].map((status) => toExecutionStatus(status as never)),
    ).toEqual(['PENDING', 'RUNNING', 'CANCELED', 'FAILED']);
  });
});

describe('classifyAwsError', () => {
  it.each([
    [{ name: 'ExpiredTokenException' }, 'expired'],
    [{ name: 'AccessDeniedException', $metadata: { httpStatusCode: 403 } }, 'denied'],
    [{ name: 'ServiceQuotaExceededException', $metadata: { httpStatusCode: 402 } }, 'quota'],
    [{ name: 'Unknown', $metadata: { httpStatusCode: 429 } }, 'throttled'],
    [{ code: 'ECONNREFUSED' }, 'unreachable'],
    [{ code: 'ECONNRESET' }, 'network'],
    [{ name: 'Odd', $metadata: { httpStatusCode: 503 } }, 'internal'],
    [new Error('?'), 'unknown'],
  ])('classifies %o as %s', (error, kind) => expect(classifyAwsError(error).kind).toBe(kind));
});

describe('the environment parser', () => {
  it('names every wrong variable and repeats no value', () => {
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
  it('has defaults for everything but the addresses', () => {
    expect(parseWorkerConfig({ DATABASE_URL: 'postgres://u:p@h/d', TEMPORAL_ADDRESS: 'h:7233' })).toMatchObject({
      runPollSeconds: 30,
      sessionSeconds: 43200,
      temporal: { namespace: 'default' },
    });
  });
});

describe('unusual input', () => {
  it('is not a run folder if it lies below another instrument name, or if its name is too long', () => {
    expect(parseRunFolderName('20260115_AV240001_RUN', 'archive')).toBeUndefined();
    expect(parseRunFolderName(`20260115_AV240001_${'x'.repeat(300)}`, 'AV240001')).toBeUndefined();
  });
  it('is unknown if it names a member of every JavaScript object, such as constructor', () => {
    expect(
      parseRunUploaded('{"instrument":"AV","runID":"r","runType":"Sequencing","outcome":"constructor"}')!.outcome,
    ).toBe('unknown');
    expect(() =>
      buildRunParameters({ run_dir: {}, no_projects: {} }, {}, { constructor: 1 }, { runDir: 's3://b/r' }),
    ).toThrow(/no such parameter/);
  });
  it('is cut to a number of bytes at a character boundary', () => {
    expect(cutToBytes('run', 10)).toBe('run');
    expect(Buffer.byteLength(cutToBytes('長'.repeat(200), 400))).toBeLessThanOrEqual(400);
    expect(cutToBytes('😀😀😀', 8)).toBe('😀…');
  });
});
