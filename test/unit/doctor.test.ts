import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeExamination } from '../../cli/doctor.js';
import { checkNames, checkNode, NODE_RANGE } from '../../cli/doctor/checks/machine.js';
import { createRedactor } from '../../cli/doctor/redact.js';

describe('polony doctor', () => {
  it('knows which versions of Node.js package.json allows', () => {
    const { engines } = JSON.parse(readFileSync('package.json', 'utf8')) as { engines: { node: string } };
    expect(engines.node).toBe(`>=${NODE_RANGE.from.join('.')}.0 <${NODE_RANGE.below}`);
    expect(checkNode('20.18.9', '1').level).toBe('failure');
    for (const version of ['20.19.0', '22.0.0', '24.9.1']) expect(checkNode(version, '1').level).toBe('ok');
    expect(checkNode('25.0.0', '1').level).toBe('failure');
  });

  it('names settings that do not exist, also those with _FILE', () => {
    expect(checkNames({ POLONY_API_KEY_FILE: '/run/key', POLONY_SWEEP_SECONDS: '1', HOME: '/' })[0]!.level).toBe('ok');
    // The local stack marks its processes with it.
    expect(checkNames({ POLONY_GUARD: 'id:worker' })[0]!.level).toBe('ok');
    const [found] = checkNames({ POLONY_SWEEP_SECOND: '1', POLONY_GUARDS: '1' });
    expect(found).toMatchObject({
      level: 'warning',
      message: expect.stringContaining('POLONY_SWEEP_SECOND') as string,
    });
  });

  it('takes secrets out of texts: of variables, of lists of keys, of addresses, and of files', () => {
    const folder = mkdtempSync(path.join(tmpdir(), 'polony-redact-'));
    const file = path.join(folder, 'key');
    writeFileSync(file, 'secret-of-a-file\n');
    const redact = createRedactor({
      DATABASE_URL: 'postgres://polony:pass%40word@db/polony',
      POLONY_ENCRYPTION_KEYS: 'new=bmV3LWtleQ==,old=b2xkLWtleQ==',
      TEMPORAL_API_KEY_FILE: file,
      POLONY_LOG_LEVEL: 'information',
    });
    rmSync(folder, { recursive: true });
    const text = 'pass%40word pass@word bmV3LWtleQ== b2xkLWtleQ== secret-of-a-file information';
    expect(redact(text)).toBe('*** *** *** *** *** information');
  });

  it('shows each finding on a line, with what to do below it', () => {
    const text = describeExamination({
      program: 'worker',
      findings: [
        { check: 'database', level: 'ok', message: 'PostgreSQL 16' },
        { check: 'workers', level: 'failure', message: 'No worker\u001b[2J', remedy: 'Start one' },
      ],
    });
    expect(text).toMatch(
      /^ok {7}database {2}PostgreSQL 16\nFAILURE {2}workers {3}No worker \[2J\n +To do: Start one\n/,
    );
    expect(text).toContain('ok: 1, warnings: 0, failures: 1, skipped: 0');
  });
});
