import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { joinMismatches, parseIndexSeries, parseUnassignedSeries } from '../../domain/runs/indexSeries.js';
import { parseAnalysisSeries, parseInstrumentSeries } from '../../domain/runs/series.js';
import { parseSeriesFile } from '../../domain/runs/seriesFiles.js';

const instrumentCycle = (Cycle: number, PercentQ30: number, PercentPhixErrorRate: number) => ({
  Cycle,
  PercentQ30,
  PercentQ40: PercentQ30 - 10,
  AverageQScore: 41.5,
  PercentPhixErrorRate,
  BaseComposition: { A: 20, C: 30, G: 30, T: 20 },
});
const instrumentReads = [
  { Read: 'I1', PhiXAlignmentRate: 0, Cycles: [instrumentCycle(1, 99, 0)] },
  { Read: 'R1', PhiXAlignmentRate: 1.5, Cycles: [instrumentCycle(1, 90, 0), instrumentCycle(2, 96, 0.4)] },
];

describe('parseInstrumentSeries', () => {
  it('returns the values of each cycle, where 0 means that nothing was measured', () => {
    const { run, lanes } = parseInstrumentSeries(
      JSON.stringify({
        FileVersion: '2.0.0',
        RunStats: { PolonyCount: 1000, PFCount: 900, PercentPF: 90, TotalYield: 1800, Reads: instrumentReads },
        LaneStats: [
          { Lane: 0, PolonyCount: 400, Reads: instrumentReads },
          { Lane: 0, PolonyCount: 600, Reads: [] },
        ],
      }),
    );
    expect(run).toMatchObject({
      yield: 1800,
      polonies: 1000,
      poloniesPassingFilter: 900,
      percentPassingFilter: 90,
      percentQ30: 93,
      errorRate: 0.4,
      percentAssigned: null,
    });
    expect(run.reads.map(({ read, phixAlignmentRate }) => [read, phixAlignmentRate])).toEqual([
      ['I1', null],
      ['R1', 1.5],
    ]);
    expect(run.reads[1]!.cycles).toEqual({
      cycle: [1, 2],
      percentQ30: [90, 96],
      percentQ40: [80, 86],
      qualityScoreMean: [41.5, 41.5],
      errorRate: [null, 0.4],
      percentA: [20, 20],
      percentC: [30, 30],
      percentG: [30, 30],
      percentT: [20, 20],
      percentN: null,
    });
    // A run without a manifest has 0 for each lane.
    expect(lanes.map(({ lane, polonies }) => [lane, polonies])).toEqual([
      [1, 400],
      [2, 600],
    ]);
  });
  it('tolerates a file without compositions and lanes, and reports values out of range', () => {
    const { run, lanes, warnings } = parseInstrumentSeries(
      JSON.stringify({
        RunStats: {
          TotalYield: -1,
          Reads: [null, { Read: 3 }, { Read: 'R1', Cycles: [{ PercentQ30: 900 }, { PercentQ30: '95' }, 7, {}] }],
        },
        LaneStats: { '1': 2 },
      }),
    );
    expect(run.reads[0]!.cycles).toMatchObject({ cycle: [1, 2, 3], percentQ30: null, percentA: null });
    expect([run.yield, lanes]).toEqual([null, []]);
    expect(warnings).toEqual([
      'PercentQ30 is 900, which is not a number from 0 to 100',
      'PercentQ30 is "95", which is not a number from 0 to 100',
      `TotalYield is -1, which is not a number from 0 to ${Number.MAX_SAFE_INTEGER}`,
    ]);
  });
  it('limits the number of warnings', () => {
    const Cycles = Array.from({ length: 100 }, () => ({ PercentQ30: 101 }));
    const { warnings } = parseInstrumentSeries(JSON.stringify({ RunStats: { Reads: [{ Read: 'R1', Cycles }] } }));
    expect([warnings.length, warnings.at(-1)]).toEqual([5, '96 more values are out of range']);
  });
  it('takes objects, and counts that are too large to add, for missing', () => {
    const cycle = '{"BaseComposition":{"A":1e308,"C":1e308,"G":5,"T":1e999}}';
    const { run, warnings } = parseInstrumentSeries(
      `{"RunStats":{"PFCount":7,"TotalYield":[[7]],"Reads":[{"Read":"R1","Cycles":[${cycle}]}]}}`,
    );
    expect([run.poloniesPassingFilter, run.yield]).toEqual([7, null]);
    expect(warnings).toEqual([`TotalYield is an object, which is not a number from 0 to ${Number.MAX_SAFE_INTEGER}`]);
    expect(run.reads[0]!.cycles).toMatchObject({ percentA: null, percentG: null, percentT: null });
  });
  it.each(['', '[]', '{"RunStats"', '{}', '{"RunStats":null,"LaneStats":[{}]}'])('rejects %j', (text) =>
    expect(() => parseInstrumentSeries(text)).toThrow(/^AvitiRunStats\.json: /),
  );
});

describe('parseAnalysisSeries', () => {
  const cycle = {
    Cycle: 1,
    QualityScoreMean: 39.5,
    PercentQ30: 0,
    BaseComposition: { A: 1e9, C: 1e9, G: 0, T: 2e9, N: 0 },
  };
  const stats = {
    AnalysisVersion: '2.1.0.1',
    TotalYield: 228.228710818,
    NumPolonies: 300,
    PercentAssignedReads: 95.5,
    Reads: [{ Read: 'R1', PercentQ30: 97.6, Cycles: [cycle] }],
    Lanes: [
      {
        Lane: 2,
        NumPolonies: 200,
        UnassignedSequences: [
          { I1: 'AA', I2: 'CC', Count: 2 },
          { I1: 'GG', I2: 'TT', Count: 10 },
        ],
      },
    ],
    SampleStats: [
      { SampleName: '' },
      {
        SampleName: 's1',
        NumPolonies: 100,
        PercentMismatch: 2,
        Occurrences: [
          { Lane: 1, ExpectedSequence: 'AACC', NumPolonies: 25, PercentMismatch: 1 },
          { Lane: 2, ExpectedSequence: 'AACC', NumPolonies: 75, PercentMismatch: 5 },
        ],
      },
    ],
  };
  it('returns yields in bases, measured zeros, shares of the bases, and unassigned sequences by count', () => {
    const { run, lanes, unassigned, softwareVersion } = parseAnalysisSeries(JSON.stringify(stats));
    expect(softwareVersion).toBe('2.1.0.1');
    expect(run).toMatchObject({ yield: 228228710818, percentAssigned: 95.5, percentQ30: null, percentMismatch: null });
    expect(run.reads[0]!.percentQ30).toBe(97.6);
    expect(run.reads[0]!.cycles).toMatchObject({
      percentQ30: [0],
      percentA: [25],
      percentG: [0],
      percentT: [50],
      errorRate: null,
    });
    expect(lanes.map(({ lane, polonies }) => [lane, polonies])).toEqual([[2, 200]]);
    expect(unassigned).toEqual([
      { lane: '2', index1: 'GG', index2: 'TT', polonies: 10, percent: 5 },
      { lane: '2', index1: 'AA', index2: 'CC', polonies: 2, percent: 1 },
    ]);
  });
  it('gives mismatches to the rows of the index assignment, weighted over both lanes', () => {
    const { rows } = parseIndexSeries(
      'SampleName,I1,I2,Lane,NumPoloniesAssigned\ns1,AA,CC,1+2,100\ns1,AA,CC,2,75\ns1,AA,GG,2,1\n',
    );
    const joined = joinMismatches(rows, parseAnalysisSeries(JSON.stringify(stats)).samples);
    expect(joined.map(({ percentPerfect, percentMismatch }) => [percentPerfect, percentMismatch])).toEqual([
      [96, 4],
      [95, 5],
      [null, null],
    ]);
  });
  it('adds up the occurrences of an index once, however often a file repeats it', () => {
    const { rows } = parseIndexSeries(`SampleName,Lane,NumPoloniesAssigned\n${'s1,1+1,1\n'.repeat(10_000)}`);
    let reads = 0;
    const occurrence = {
      get lane() {
        reads++;
        return 1;
      },
      sequence: '',
      polonies: 5,
      percentMismatch: 2,
    };
    const sample = { ...parseAnalysisSeries(JSON.stringify(stats)).samples[0]!, sampleName: 's1' };
    const samples = Array.from({ length: 100 }, () => ({
      ...sample,
      occurrences: Array.from({ length: 64 }, () => occurrence),
    }));
    const joined = joinMismatches(rows, samples);
    expect(joined.every(({ percentMismatch }) => percentMismatch === 2)).toBe(true);
    expect(reads).toBeLessThan(10 * 6400);
  });
  it.each(['', '{}', '{"Lanes":{},"SampleStats":7}'])('rejects %j', (text) =>
    expect(() => parseAnalysisSeries(text)).toThrow(/^RunStats\.json: /),
  );
  const data = path.resolve(import.meta.dirname, '../../../shared/data/bases2fastq-output/NT1850075L/RunStats.json');
  it.skipIf(!existsSync(data))('reads a real file', () => {
    const series = parseAnalysisSeries(readFileSync(data, 'utf8'));
    expect([series.warnings, series.samples.length, series.unassigned.length]).toEqual([[], 22, 60]);
    expect(series.lanes.map(({ lane, percentAssigned }) => [lane, percentAssigned])).toEqual([
      [1, 95.5308],
      [2, 95.4336],
    ]);
    expect(series.run).toMatchObject({ yield: 228228710818, polonies: 764753786, percentQ30: 97.3259 });
  });
});

describe('parseIndexSeries', () => {
  const ofRun =
    'SampleNumber,SampleName,I1,I2,NumPoloniesAssigned,PercentPoloniesAssigned,Yield(Gb),Lane\r\n' +
    '1,PhiX,TGTG,TGTC,2000,20.000000,0.6175,1+2\r\n1,PhiX,TGTG,TGTC,800,8.000000,0.2,1\r\n' +
    '1,PhiX,TGTG,TGTC,1200,12.000000,0.4,2\r\n';
  it('returns a row for each sample, index and lane', () => {
    expect(parseIndexSeries(ofRun)).toEqual({
      percentOf: 'run',
      isTruncated: false,
      rows: [
        ['1+2', 2000, 20, 617_500_000],
        ['1', 800, 8, 200_000_000],
        ['2', 1200, 12, 400_000_000],
      ].map(([lane, polonies, percent, bases]) => ({
        ...{ sampleName: 'PhiX', sampleNumber: 1, index1: 'TGTG', index2: 'TGTC' },
        ...{ lane, polonies, percent, yield: bases },
      })),
    });
  });
  it.each([
    ['s,1+2,2000,45\ns,1,1000,45\ns,2,1000,45', 'lane'],
    ['s,1,1000,45', 'lane'],
    ['s,1,1000,90\ns,2,1000,90', 'lane'],
    ['s,1,1000,45\ns,2,1000,45', null],
    ['s,1,1000,\ns,2,0,0', null],
    ['s,1+2,2000,45', null],
  ])('finds out what percentages are shares of: %j', (rows, expected) =>
    expect(parseIndexSeries(`SampleName,Lane,NumPoloniesAssigned,PercentPoloniesAssigned\n${rows}\n`).percentOf).toBe(
      expected,
    ),
  );
  it('reads the columns of instruments, which differ', () => {
    expect(
      parseIndexSeries(
        'SampleName,Index1,Index2,Lane,NumPoloniesAssigned,PercentPoloniesAssigned\na,AC,GT,1,10,5.0000\n',
      ).rows,
    ).toMatchObject([{ sampleNumber: null, index1: 'AC', index2: 'GT', yield: null }]);
  });
  it.each([
    ['', 'the file is empty'],
    ['SampleName,Lane\na,1', 'the column NumPoloniesAssigned is missing'],
    ['SampleName,NumPoloniesAssigned\na,many', 'row 1 has "many" as NumPoloniesAssigned, not a number'],
    ['SampleName,NumPoloniesAssigned\n"a,1', 'the closing quote is missing'],
  ])('rejects %j', (text, message) => expect(() => parseIndexSeries(text)).toThrow(message));
});

describe('numbers of IndexAssignment.csv', () => {
  it('are missing where no file can have them', () => {
    const { rows } = parseIndexSeries(
      'SampleName,SampleNumber,NumPoloniesAssigned,Yield(Gb)\na,1.5,3,1e305\nb,1e300,3,1e10\n',
    );
    expect(rows.map((row) => [row.sampleNumber, row.yield])).toEqual([
      [null, null],
      [null, null],
    ]);
    expect(() => parseIndexSeries('SampleName,NumPoloniesAssigned\na,1e308\n')).toThrow(/not a number/);
  });
});

describe('parseUnassignedSeries', () => {
  it('returns the most frequent sequences of each lane', () => {
    const rows = Array.from({ length: 150 }, (_, at) => `A,C,0.1,${at},1`).join('\n');
    const series = parseUnassignedSeries(`I1,I2,% Polonies,Count,Lane\nT,G,0.02,7,1+2\n${rows}\n`);
    expect([series.rows.length, series.isTruncated]).toEqual([101, true]);
    expect(series.rows.slice(0, 2)).toEqual([
      { lane: '1+2', index1: 'T', index2: 'G', polonies: 7, percent: 0.02 },
      { lane: '1', index1: 'A', index2: 'C', polonies: 149, percent: 0.1 },
    ]);
    expect(parseUnassignedSeries('I1,I2,% Polonies,Count,Lane\n')).toEqual({
      percentOf: null,
      rows: [],
      isTruncated: false,
    });
  });
});

describe('parseSeriesFile', () => {
  it('does not parse what is nested too deep', () => {
    const nested = (levels: number): Buffer =>
      Buffer.from(`{"NumPolonies":1,"X":${'['.repeat(levels)}${']'.repeat(levels)}}`);
    expect(parseSeriesFile('RunStats.json', nested(99))).toHaveProperty('content');
    expect(parseSeriesFile('RunStats.json', nested(100))).toEqual({
      problem: 'RunStats.json: the JSON is nested deeper than 100 levels',
    });
    expect(parseSeriesFile('RunStats.json', nested(10_000_000))).toHaveProperty('problem');
  });
  it('returns what is wrong with a damaged file', () => {
    expect(parseSeriesFile('RunStats.json', Buffer.from('{'))).toEqual({
      problem: expect.stringMatching(/^RunStats\.json: not valid JSON/) as string,
    });
    expect(parseSeriesFile('UnassignedSequences.csv', Buffer.from('Count\n1\n'))).toMatchObject({ characters: 111 });
  });
});
