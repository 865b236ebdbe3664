import { describe, expect, it } from 'vitest';
import { nameRelaunch } from '../../domain/executions/relaunchName.js';

describe('the name of a relaunched execution', () => {
  it('has the next number', () => {
    expect(nameRelaunch('b2f NA12878', ['b2f NA12878'])).toBe('b2f NA12878 (2)');
    expect(nameRelaunch('b2f NA12878 (2)', ['b2f NA12878', 'b2f NA12878 (2)'])).toBe('b2f NA12878 (3)');
    expect(nameRelaunch('b2f NA12878', ['b2f NA12878', 'b2f NA12878 (2)', 'other (7)'])).toBe('b2f NA12878 (3)');
    expect(nameRelaunch('b2f NA12878', [])).toBe('b2f NA12878 (2)');
    expect(nameRelaunch('b2f NA12878 (10)', ['b2f NA12878 (9)'])).toBe('b2f NA12878 (11)');
  });
  it('keeps parentheses that are no number', () => {
    expect(nameRelaunch('run (old)', ['run (old)'])).toBe('run (old) (2)');
    expect(nameRelaunch('(2)', ['(2)'])).toBe('(2) (2)');
    expect(nameRelaunch('run(2)', ['run(2)'])).toBe('run(2) (2)');
  });
  it('has at most 128 characters', () => {
    const long = '🧬'.repeat(128);
    const second = nameRelaunch(long, [long]);
    expect([[...second].length, second.endsWith('🧬 (2)')]).toEqual([128, true]);
    expect(nameRelaunch(second, [long, second]).endsWith(' (3)')).toBe(true);
  });
});
