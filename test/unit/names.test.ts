import { describe, expect, it } from 'vitest';
import { cutToBytes } from '../../domain/names.js';

describe('cutToBytes', () => {
  it('cuts text to a number of bytes at a character boundary', () => {
    expect(cutToBytes('run', 10)).toBe('run');
    expect(Buffer.byteLength(cutToBytes('長'.repeat(200), 400))).toBeLessThanOrEqual(400);
    expect(cutToBytes('😀😀😀', 8)).toBe('😀…');
  });
});
