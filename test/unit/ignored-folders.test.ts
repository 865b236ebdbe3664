import { expect, it } from 'vitest';
import { explainIgnored, isFoundAsRun } from '../../domain/runs/ignoredFolders.js';

const explain = (path: string, hasRunFiles = false, runDepth = 0) =>
  explainIgnored(path.split('/'), runDepth, hasRunFiles);

it.each([
  ['AV1/20260115_AV1_RUN', 0],
  ['lab/AV1/20260115_AV1_RUN', 1],
  ['AV_1/20260115_AV_1_RUN_2', 0],
])('does not explain %s, which the search finds', (path, runDepth) => {
  expect(isFoundAsRun(path.split('/'), runDepth)).toBe(true);
  expect(explain(path, true, runDepth)).toBeUndefined();
});

it.each([
  'AV1',
  'AV1/notes',
  'reference/genome',
  'AV1/sub/BaseCalls',
  'polony-executions',
  'polony-executions/0199/out',
])('says nothing about %s, which looks like no run', (path) => {
  expect(explain(path)).toBeUndefined();
});

it.each([
  ['AV1/260115_AV1_RUN', 'NAME_FORM', '20260115_AV1_RUN'],
  ['AV1/2026-01-15_AV1_RUN', 'NAME_FORM', '20260115_AV1_RUN'],
  ['AV1/20260115-AV1-RUN', 'NAME_FORM', '20260115_AV1_RUN'],
  ['AV1/20260115_AV1', 'NAME_FORM', '<YYYYMMDD>_<instrument>_<run name>'],
  ['AV1/20260115_AV1_', 'NAME_FORM', '<YYYYMMDD>_<instrument>_<run name>'],
  ['AV1/copy_AV1_RUN', 'NAME_FORM', '<YYYYMMDD>_<instrument>_<run name>'],
  ['AV1/20261332_AV1_RUN', 'DATE', '20261332'],
  ['archive/20260115_AV1_RUN', 'OTHER_INSTRUMENT', 'move it to a folder AV1'],
  ['AV1/20260115_av1_RUN', 'OTHER_INSTRUMENT', 'but av1'],
  ['20260115_AV1_RUN', 'DEPTH', 'Move it into the folder of its instrument'],
  ['lab/AV1/20260115_AV1_RUN', 'DEPTH', 'set runDepth to 1'],
  [`AV1/20260115_AV1_${'x'.repeat(250)}`, 'TOO_LONG', '255 bytes'],
  ['polony-executions/20260115_AV1_RUN', 'EXECUTIONS_FOLDER', 'Move the run out of it'],
  ['polony-executions/AV1/20260115_AV1_RUN', 'EXECUTIONS_FOLDER', 'Move the run out of it'],
])('explains %s as %s', (path, reason, says) => {
  expect(explain(path)).toMatchObject({ reason, message: expect.stringContaining(says) as string });
});

it.each([
  ['AV1/My run', 'NAME_FORM'],
  ['AV1', 'DEPTH'],
  ['AV1/backup/RUN', 'DEPTH'],
  ['polony-executions/AV1', 'EXECUTIONS_FOLDER'],
])('explains %s as %s if it has the files of a run', (path, reason) => {
  expect(explain(path)).toBeUndefined();
  expect(explain(path, true)).toMatchObject({ reason });
});

it('explains folders for the depth of the storage connection', () => {
  expect(explain('AV1/20260115_AV1_RUN', false, 1)).toMatchObject({
    reason: 'DEPTH',
    message: expect.stringContaining('set runDepth to 0') as string,
  });
  expect(explain('20260115_AV1_RUN', false, 1)!.message).not.toContain('set runDepth');
  expect(explain('lab/AV1/260115_AV1_RUN', false, 1)).toMatchObject({ reason: 'NAME_FORM' });
});
