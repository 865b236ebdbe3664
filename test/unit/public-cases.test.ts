/** The cases from public reports, which the project keeps beside its clone. Each has a test, and those with data run here. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { toActivityFailure } from '../../activities/failures.js';
import { checkHealthOmicsRole } from '../../domain/connections/compute.js';
import { FileFormatError } from '../../domain/errors.js';
import type { Blocked } from '../../domain/executions/execution.js';
import { iamDocuments } from '../../domain/iam/documents.js';
import { parseIamQuery } from '../../domain/iam/query.js';
import { checkRunManifest } from '../../domain/runs/manifestCheck.js';
import { findPathWarnings } from '../../domain/runs/pathWarnings.js';
import { parseRunUploaded } from '../../domain/runs/runUploaded.js';

const TESTS = path.resolve(import.meta.dirname, '..');
const CASES = path.resolve(import.meta.dirname, '../../../shared/cases');

/** For each case, the file below test/ and the title of a test in it. */
const TESTED: Readonly<Record<string, readonly [string, string]>> = {
  '01-two-dead-grantees': [
    'stack/grants-principals.test.ts',
    'removes grants of deleted roles, and then goes on to revoke and grant others',
  ],
  '03-composite-index': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '05-vendor-heading-values': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '06-settings-parameter': [
    'stack/executions.test.ts',
    'checks a manifest with the settings that are parameters of the execution',
  ],
  '08-mask-without-read': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '10-explicit-deny': [
    'stack/executions.test.ts',
    'names the Deny that blocks an execution, and offers no Allow, which could not help',
  ],
  '12-one-odd-prefix-stops-all': [
    'stack/session-policies.test.ts',
    'leaves out what AWS does not accept, names it, and goes on with the rest',
  ],
  '14-late-role': [
    'stack/verification.test.ts',
    'turns its provider and connections CONNECTED as soon as AWS gives a session',
  ],
  '15-partition': ['unit/iam-partitions.test.ts', 'writes all documents of the variant %s in its partition'],
  '17-long-role-arn': ['stack/connections.test.ts', 'apply to the ARN of an execution role'],
  '18-excel-delimiters': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '20-illumina-headings': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '21-sample-names': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '22-default-manifest-indexed-run': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '23-kms-bucket-shared': [
    'stack/grants.test.ts',
    'warns of a KMS key that the principal cannot use, with the statement for its policy',
  ],
  '24-babraham-shape': ['unit/runs-manifest-check.test.ts', 'judges the public case %s'],
  '27-runuploaded-damaged': ['stack/runs.test.ts', "describe('RunUploaded.json'"],
  '28-odd-keys': ['stack/files.test.ts', 'contain download URLs that work for any name'],
  '31-presign-seven-days': ['stack/files.test.ts', 'contain URLs that expire with the session that signed them'],
  '32-burst-of-starts': [
    'stack/main-job.test.ts',
    'completes executions that start at the same time, while HealthOmics throttles',
  ],
  '33-spaces-in-run-name': ['stack/main-job.test.ts', 'analyses the run %s, and serves its files'],
  '34-re-upload': [
    'stack/runs.test.ts',
    'checks a failed run again after a retry, and starts the flows that wait for a good one',
  ],
};

it.each(Object.entries(TESTED))('the case %s has a test', (_case, [file, title]) => {
  expect(readFileSync(path.join(TESTS, file), 'utf8')).toContain(title);
});

describe.skipIf(!existsSync(CASES))('the data of the cases', () => {
  const read = (file: string): string => readFileSync(path.join(CASES, file), 'utf8');
  const run = { cycles: { R1: 2, R2: 2, I1: 4, I2: 4 }, analysisLanes: '1+2' };

  it('belong to cases that all have a test', () => {
    const folders = readdirSync(CASES, { withFileTypes: true }).filter((entry) => entry.isDirectory());
    expect(folders.map(({ name }) => name).sort()).toEqual(Object.keys(TESTED).sort());
  });

  it('06: a setting of the parameters makes the indexes right', () => {
    const { parameters, manifest } = JSON.parse(read('06-settings-parameter/body.json')) as {
      parameters: Record<string, unknown>;
      manifest: { content: string };
    };
    expect(checkRunManifest(manifest.content, { ...run, parameters })).toMatchObject({ errors: [], warnings: [] });
    expect(checkRunManifest(manifest.content, run).errors.map(({ rule }) => rule)).toEqual(['index-length']);
  });

  it('10: the remedy for a Deny is to take it away', () => {
    const { Statement } = JSON.parse(read('10-explicit-deny/deny.json')) as { Statement: { Action: string }[] };
    const action = Statement[0]!.Action;
    const message = `User: x is not authorized to perform: ${action} on resource: * with an explicit deny in an identity-based policy`;
    const error = Object.assign(new Error(message), { name: 'AccessDeniedException' });
    const blocked = toActivityFailure(error, { action, resource: '*' }).details![0] as Blocked;
    expect(blocked.remedy).toMatch(/^Remove the Deny/);
    expect(blocked.statement).toBeUndefined();
  });

  it('15: the documents are in the partition of the region', () => {
    const query = Object.fromEntries(
      new URL(read('15-partition/request.txt').split(' ')[1]!.trim(), 'http://x').searchParams,
    );
    const text = JSON.stringify(iamDocuments(parseIamQuery(query as never), '111122223333'));
    expect(text).toContain('arn:aws-us-gov:s3:::lab-gov');
    expect(text).not.toContain('arn:aws:');
  });

  it('17: an ARN that StartRun does not accept is rejected when it is given', () => {
    const problems = checkHealthOmicsRole('executionRoleArn', read('17-long-role-arn/arn.txt').trim());
    expect(problems.map(({ rule }) => rule)).toEqual(['EXECUTION_ROLE_ARN_LENGTH']);
  });

  it('27: a byte order mark does no harm, and damaged files are reported', () => {
    expect(parseRunUploaded(read('27-runuploaded-damaged/bom.json'))?.outcome).toBe('completed');
    for (const file of ['cut.json', 'array.json'])
      expect(() => parseRunUploaded(read(`27-runuploaded-damaged/${file}`))).toThrow(FileFormatError);
  });

  it('33: paths that other tools misread have a warning', () => {
    const names = read('33-spaces-in-run-name/names.txt').split('\n').filter(Boolean);
    for (const name of names)
      expect(findPathWarnings({ prefix: 'runs', parentPath: 'AV1', runFolder: `20260115_AV1_${name}` })).toHaveLength(
        1,
      );
  });
});
