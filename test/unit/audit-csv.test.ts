import { describe, expect, it } from 'vitest';
import { csvCell, csvRow } from '../../domain/audit/csv.js';

describe('cells of the exported audit log', () => {
  it.each([
    ['plain', 'plain'],
    ['a,b', '"a,b"'],
    ['say "x"', '"say ""x"""'],
    ['two\nlines', '"two\nlines"'],
    ['carriage\rreturn', '"carriage\rreturn"'],
    [' spaces ', '" spaces "'],
    ['', ''],
  ])('quotes %j as RFC 4180 says', (text, cell) => {
    expect(csvCell(text)).toBe(cell);
  });
  it.each(['=1+1', '+1', '-1', '@SUM(A1)', '\t=1', '\r=1'])('keeps %j from being a formula', (text) => {
    expect(csvCell(text).replace(/^"/, '')).toMatch(/^'/);
  });
  it('writes numbers, unknown values and ends of lines', () => {
    expect(csvRow([-1, null, 'a'])).toBe('-1,,a\r\n');
  });
});
