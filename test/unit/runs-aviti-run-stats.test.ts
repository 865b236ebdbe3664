import { describe, expect, it } from 'vitest';
import { parseAvitiRunStats } from '../../domain/runs/instrumentMetrics.js';

const cycle = (Cycle: number, PercentQ30: number, PercentPhixErrorRate: number) => ({
  Cycle,
  PercentQ30,
  PercentQ40: PercentQ30 - 10,
  AverageQScore: 40,
  PercentPhixErrorRate,
  BaseComposition: { A: 25, C: 25, G: 25, T: 25 },
});
const reads = [
  { Read: 'I1', PhiXAlignmentRate: 0, Cycles: [cycle(1, 10, 50)] },
  { Read: 'R1', PhiXAlignmentRate: 2, Cycles: [cycle(1, 90, 0), cycle(2, 96, 0.1)] },
  { Read: 'R2', PhiXAlignmentRate: 3, Cycles: [cycle(1, 93, 0.2), cycle(2, 0, 0.6)] },
];

describe('parseAvitiRunStats', () => {
  it('returns passing polonies, yield, and means over all measured cycles of the reads', () => {
    expect(
      parseAvitiRunStats(
        JSON.stringify({
          FileVersion: '2.0.0',
          RunStats: { PolonyCount: 1_000, PFCount: 900, PercentPF: 90, TotalYield: 270_000_000_000, Reads: reads },
          LaneStats: [],
        }),
      ),
    ).toEqual({
      totalReads: 900,
      totalYield: 270_000_000_000,
      q30: 93,
      q40: 83,
      avgQ: 40,
      errorRate: 0.3,
      phixAlignmentRate: 2.5,
    });
  });
  it('averages over the lanes if the run itself has no reads', () => {
    expect(
      parseAvitiRunStats(
        JSON.stringify({
          RunStats: { PFCount: 5 },
          LaneStats: [
            { Lane: 1, Reads: reads },
            { Lane: 2, Reads: reads.slice(0, 2) },
          ],
        }),
      ),
    ).toMatchObject({ totalReads: 5, errorRate: 0.25, phixAlignmentRate: 2.3333 });
  });
  it.each([
    ['{}', {}],
    ['{"RunStats":null,"LaneStats":{"Lanes":[]}}', {}],
    [
      '{"RunStats":{"PFCount":"900","TotalYield":-1,"Reads":[null,7,{"Read":3},' +
        '{"Read":"R1","PhiXAlignmentRate":"x","Cycles":{"1":2}},' +
        '{"Read":"R1","Cycles":[null,[],{"PercentQ30":"95","PercentQ40":null,"AverageQScore":39.99996}]}]}}',
      { avgQ: 40 },
    ],
    ['{"RunStats":{"PFCount":1e30,"Reads":[{"Read":"R1","Cycles":[{"PercentQ30":1e999}]}]}}', {}],
  ])('leaves out values of the wrong type: %s', (text, expected) => expect(parseAvitiRunStats(text)).toEqual(expected));
  it.each(['', '[]', 'null', '{"RunStats"'])('rejects %j', (text) =>
    expect(() => parseAvitiRunStats(text)).toThrow(/AvitiRunStats\.json/),
  );
});
