import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseRunStats } from '../../domain/executions/results.js';
import { FileFormatError } from '../../domain/errors.js';
import { expectedBaseCalls, parseRunFolderName } from '../../domain/runs/runFolder.js';
import { parseRunManifest } from '../../domain/runs/manifest.js';
import { parseRunParameters } from '../../domain/runs/runParameters.js';
import { parseRunUploaded } from '../../domain/runs/runUploaded.js';

const SHARED_DATA = path.resolve(import.meta.dirname, '../../../shared/data');

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
  it('read an outcome that names a member of every JavaScript object, such as constructor, as unknown', () => {
    expect(
      parseRunUploaded('{"instrument":"AV","runID":"r","runType":"Sequencing","outcome":"constructor"}')!.outcome,
    ).toBe('unknown');
  });
  it('accept no folder as a run that lies below another instrument name, or whose name is too long', () => {
    expect(parseRunFolderName('20260115_AV240001_RUN', 'archive')).toBeUndefined();
    expect(parseRunFolderName(`20260115_AV240001_${'x'.repeat(300)}`, 'AV240001')).toBeUndefined();
  });
});
