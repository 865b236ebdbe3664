import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseIndexAssignment, parseMetrics, parseRunStats } from '../../domain/executions/results.js';
import { explainFailure } from '../../domain/executions/failures.js';
import { checkRunSettings, isTransientFailure, matchesAutoStart } from '../../domain/connections/runSettings.js';

describe('result files of Bases2Fastq', () => {
  it('counts each polony once, although a sample has rows for lanes 1+2, 1 and 2 and for each index', () => {
    const content = [
      'SampleNumber,SampleName,I1,I2,NumPoloniesAssigned,PercentPoloniesAssigned,Yield(Gb),Lane',
      '1,S1,AAAA,CCCC,300,30,0.3,1+2',
      '1,S1,AAAA,CCCC,100,20,0.1,1',
      '1,S1,AAAA,CCCC,200,40,0.2,2',
      '2,PhiX,GGGG,TTTT,10,1,0.01,1+2',
      '2,PhiX,GGGG,TTTT,4,1,0.004,1',
      '2,PhiX,GGGG,TTTT,6,1,0.006,2',
      '2,PhiX,TTTT,GGGG,20,2,0.02,1+2',
      '2,PhiX,TTTT,GGGG,20,4,0.02,2',
      '3,Only,ACGT,ACGT,50,10,0.05,1',
      '',
    ].join('\r\n');
    expect(parseIndexAssignment(content)).toEqual([
      { name: 'S1', numPolonies: 300, percentPolonies: 30 },
      { name: 'PhiX', numPolonies: 30, percentPolonies: 3 },
      { name: 'Only', numPolonies: 50, percentPolonies: 10 },
    ]);
    expect(parseIndexAssignment('')).toEqual([]);
    expect(() => parseIndexAssignment('a,b\n1,2')).toThrow(/SampleName/);
    expect(() => parseIndexAssignment('SampleName,NumPoloniesAssigned\n"S1,2')).toThrow(/IndexAssignment.csv line 2/);
  });
  it('reads the values of all lanes from Metrics.csv', () => {
    expect(parseMetrics('Metric,Lane,Value\nPercentQ30,1+2,96.5\nPercentQ30,1,97\nNote,1+2,fine\n')).toEqual({
      PercentQ30: 96.5,
      Note: 'fine',
    });
    expect(() => parseMetrics('A,B\n1,2')).toThrow(/Metric and Value/);
  });
  it('reads a RunStats.json of Bases2Fastq 1.7, which has no PercentQ50, and rejects an empty file', () => {
    expect(
      parseRunStats(
        '{"TotalYield": 12.5, "PercentQ30": 95, "SampleStats": [{"SampleName": "S1", "Yield": 3}, {}, null]}',
      ),
    ).toMatchObject({ totalYield: 12.5, percentQ50: undefined, samples: [{ name: 'S1', yield: 3 }], lanes: [] });
    expect(() => parseRunStats('')).toThrow(/empty/);
  });
  const data = path.resolve(import.meta.dirname, '../../../shared/data/bases2fastq-output/NT1850075L/RunStats.json');
  it.skipIf(!existsSync(data))('reads a real RunStats.json', () => {
    const stats = parseRunStats(readFileSync(data, 'utf8'));
    expect(stats).toMatchObject({
      analysisVersion: '2.1.0.1522407762',
      totalYield: 228.228710818,
      numPolonies: 764753786,
    });
    expect(stats.samples).toHaveLength(22);
    expect(stats.lanes).toHaveLength(2);
    expect(stats.lanes!.reduce((sum, lane) => sum + lane.numPolonies!, 0)).toBe(stats.numPolonies);
  });
});

describe('failure reasons of HealthOmics', () => {
  it('have an owner, and only temporary ones are transient', () => {
    expect(explainFailure('EXPORT_FAILED')).toMatchObject({ owner: 'customer', transient: false });
    expect(explainFailure('ECR_PERMISSION_ERROR').owner).toBe('vendor');
    expect(explainFailure('NEW_REASON_OF_AWS')).toMatchObject({ owner: 'aws', transient: false });
    expect(explainFailure('constructor').owner).toBe('polony');
    for (const reason of ['INSTANCE_RESERVATION_FAILED', 'SERVICE_ERROR', 'MODIFIED_INPUT_RESOURCE'])
      expect(explainFailure(reason).transient).toBe(true);
    expect(isTransientFailure(undefined)).toBe(false);
    expect(isTransientFailure('RUN_TASK_FAILED')).toBe(false);
  });
});

describe('the run settings and start filter of a flow', () => {
  it.each([
    [{ cacheBehavior: 'CACHE_ALWAYS' as const }, ['NEEDS_CACHE_ID']],
    [{ storageCapacity: 100 }, ['STATIC_ONLY']],
    [
      {
        storageCapacity: 100,
        storageType: 'STATIC' as const,
        cacheId: '1',
        cacheBehavior: 'CACHE_ALWAYS' as const,
        priority: 5,
        tags: { Project: 'a b' },
      },
      [],
    ],
    [
      { tags: { 'aws:x': '1', 'polony:y': '1', '': '1', ok: 'x'.repeat(257), 'a|b': '1' } },
      ['RESERVED', 'RESERVED', 'LENGTH', 'LENGTH', 'FORMAT'],
    ],
    [{ tags: Object.fromEntries(Array.from({ length: 48 }, (_, at) => [`k${at}`, ''])) }, ['TOO_MANY']],
  ])('report for %j the problems %j', (settings, rules) => {
    expect(checkRunSettings('runSettings', settings).map((problem) => problem.rule)).toEqual(rules);
  });
  it.each([
    [{}, true],
    [{ instruments: [] }, true],
    [{ instruments: ['AV2*'] }, true],
    [{ instruments: ['av1*', 'AV234003'] }, true],
    [{ instruments: ['AV2'] }, false],
    [{ runNames: ['*_PROD_*'] }, true],
    [{ runNames: ['NT*PROD', 'x'] }, false],
    [{ runNames: ['NT*1*1'] }, false],
    [{ instruments: ['*'], runNames: ['nt_prod_1'] }, true],
    [{ instruments: ['AV1*'], runNames: ['*'] }, false],
  ])('match the filter %j against a run: %s', (filter, starts) => {
    expect(matchesAutoStart(filter, { instrumentName: 'AV234003', runName: 'NT_PROD_1' })).toBe(starts);
  });
});
