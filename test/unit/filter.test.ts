import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { InputError } from '../../domain/errors.js';
import { EXECUTION_FILTER } from '../../domain/executions/filter.js';
import { parseFilter } from '../../domain/filters/parse.js';
import { RUN_FILTER } from '../../domain/runs/filter.js';

const NOW = new Date('2026-03-31T12:00:00.000Z');
const parse = (filter: string) => parseFilter(filter, RUN_FILTER, NOW);
const iso = (filter: string): [string, string] => {
  const [value] = parse(filter)[0]!.values;
  return value?.kind === 'date' ? [value.from.toISOString(), value.until.toISOString()] : ['', ''];
};
const outcomeOf = (filter: string, fields = RUN_FILTER as never): string => {
  try {
    parseFilter(filter, fields, NOW);
    return 'accepted';
  } catch (error) {
    if (!(error instanceof InputError)) throw error;
    const [{ field, rule, message }] = error.problems as [{ field: string; rule: string; message: string }];
    expect(field).toBe('filter');
    return `${rule} ${/^at column (\d+): ./s.exec(message)?.[1]}`;
  }
};

describe('parseFilter', () => {
  it('reads conditions with alternatives, comparisons and quotes, and text without a keyword', () => {
    expect(
      parse(
        'status:failed,RUN_STATUS_STOPPED  name!="x y",z metrics.sequencing.q30>=90.5 NA12878 "two words"' +
          ' setup.sequencing.low_diversity:TRUE',
      ),
    ).toEqual([
      {
        keyword: 'status',
        operator: ':',
        values: [
          { kind: 'enum', text: 'FAILED' },
          { kind: 'enum', text: 'STOPPED' },
        ],
      },
      {
        keyword: 'name',
        operator: '!=',
        values: [
          { kind: 'string', text: 'x y', exact: true },
          { kind: 'string', text: 'z', exact: false },
        ],
      },
      { keyword: 'metrics.sequencing.q30', operator: '>=', values: [{ kind: 'number', number: 90.5 }] },
      { operator: ':', values: [{ kind: 'string', text: 'NA12878', exact: false }] },
      { operator: ':', values: [{ kind: 'string', text: 'two words', exact: false }] },
      { keyword: 'setup.sequencing.low_diversity', operator: ':', values: [{ kind: 'boolean', boolean: true }] },
    ]);
    expect(parse('')).toEqual([]);
    expect(parse('timeCreated>=7d')[0]!.keyword).toBe('time_created');
    expect(parse('name:"a\\"b\\\\c"')[0]!.values).toEqual([{ kind: 'string', text: 'a"b\\c', exact: true }]);
    expect(parse('name:a=b:c')[0]!.values).toEqual([{ kind: 'string', text: 'a=b:c', exact: false }]);
    expect(parseFilter('status:EXECUTION_STATUS_completed flow.name:b2f', EXECUTION_FILTER, NOW)).toHaveLength(2);
  });
  it('reads times, days and ages such as 7d', () => {
    expect(iso('time_created>=7d')[0]).toBe('2026-03-24T12:00:00.000Z');
    expect(iso('time_created>=24h')[0]).toBe('2026-03-30T12:00:00.000Z');
    expect(iso('time_created<1mo')[0]).toBe('2026-02-28T12:00:00.000Z');
    // The year before had no 29 February.
    expect(parseFilter('time_created>=1y', RUN_FILTER, new Date('2024-02-29T12:00:00Z'))[0]!.values).toMatchObject([
      { from: new Date('2023-02-28T12:00:00Z') },
    ]);
    for (const ago of ['99999y', '99999mo', '2026y'])
      expect(iso(`time_created>=${ago}`)[0]).toBe('0001-01-01T00:00:00.000Z');
    expect(parse('"-status:failed" "status=x" "=" ">=7d"')).toHaveLength(4);
    expect(iso('time_created:2026-02-03')).toEqual(['2026-02-03T00:00:00.000Z', '2026-02-04T00:00:00.000Z']);
    expect(iso('time_created>2026-02-03T10:00')[0]).toBe('2026-02-03T10:00:00.000Z');
    expect(iso('time_created>2026-02-03T10:00:00.123456789+02:00')[0]).toBe('2026-02-03T08:00:00.123Z');
  });
  it.each([
    ['stauts:failed', 'FILTER_KEYWORD 1'],
    ['name:x  stauts:failed', 'FILTER_KEYWORD 9'],
    ['constructor:x', 'FILTER_KEYWORD 1'],
    ['http://x', 'FILTER_KEYWORD 1'],
    ['.name:x', 'FILTER_KEYWORD 1'],
    ['status:nope', 'FILTER_ENUM 8'],
    ['status:failed,nope', 'FILTER_ENUM 15'],
    ['status:', 'FILTER_VALUE 8'],
    ['status:failed,', 'FILTER_VALUE 15'],
    ['name:,x', 'FILTER_VALUE 6'],
    ['status>failed', 'FILTER_OPERATOR 7'],
    ['name>=x', 'FILTER_OPERATOR 5'],
    ['time_created:7d', 'FILTER_DATE 14'],
    ['time_created>=yesterday', 'FILTER_DATE 15'],
    ['time_created>=2026-02-30', 'FILTER_DATE 15'],
    ['time_created>=2026-13-01T00:00:00Z', 'FILTER_DATE 15'],
    ['time_created>2026-01-01,2026-01-02', 'FILTER_OPERATOR 13'],
    ['metrics.sequencing.q30:high', 'FILTER_NUMBER 24'],
    ['metrics.sequencing.q30>1e999', 'FILTER_NUMBER 24'],
    ['metrics.sequencing.q30>NaN', 'FILTER_NUMBER 24'],
    ['setup.sequencing.low_diversity:yes', 'FILTER_BOOLEAN 32'],
    ['name:"x', 'FILTER_QUOTE 6'],
    ['name:"x"y', 'FILTER_QUOTE 9'],
    ['"', 'FILTER_QUOTE 1'],
    ['time_created>=2026-02-30T12:00:00Z', 'FILTER_DATE 15'],
    ['time_created:2025-02-29T01:00', 'FILTER_DATE 14'],
    ['x status=failed', 'FILTER_OPERATOR 3'],
    ['-status:failed', 'FILTER_OPERATOR 1'],
    ['!timeCreated>=7d', 'FILTER_OPERATOR 1'],
    ['name !status!=x', 'FILTER_OPERATOR 6'],
    ['status :failed', 'FILTER_OPERATOR 8'],
    ['time_created >= 7d', 'FILTER_OPERATOR 14'],
    ['""', 'FILTER_VALUE 1'],
    ['name:""', 'FILTER_VALUE 6'],
    ['a\0b', 'FILTER_CHARACTERS 2'],
    ['\ud800', 'FILTER_CHARACTERS 1'],
    ['x'.repeat(2001), 'FILTER_LENGTH 2001'],
    ['x '.repeat(31), 'FILTER_LENGTH 61'],
    [`name:${'x,'.repeat(150)}x`, 'FILTER_LENGTH 206'],
  ])('rejects %j with rule and column: %s', (filter, expected) => {
    expect(outcomeOf(filter)).toBe(expected);
  });
  it('reads any text or rejects it with an InputError', () => {
    const piece = fc.oneof(
      fc.string({ unit: 'binary', maxLength: 8 }),
      fc.constantFrom(
        ...Object.keys(RUN_FILTER),
        ':',
        '>=',
        '!=',
        '"',
        ',',
        ' ',
        '\\',
        'failed',
        '7d',
        '2026-01-01',
        '1',
      ),
    );
    fc.assert(
      fc.property(fc.array(piece, { maxLength: 12 }), (pieces) =>
        /^accepted$|^FILTER_[A-Z]+ \d+$/.test(outcomeOf(pieces.join(''))),
      ),
    );
  });
});
