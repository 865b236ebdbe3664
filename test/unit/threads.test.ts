import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { afterAll, describe, expect, inject, it } from 'vitest';
import { checkPolicy } from '../../domain/iam/policyCheck.js';
import { InputError } from '../../domain/errors.js';
import { TaskTooLongError, ThreadPool, ThreadsBusyError } from '../../threads/pool.js';

const POLICY = {
  Version: '2012-10-17',
  Statement: [{ Effect: 'Allow', Action: 's3:*', Resource: 'arn:aws:s3:::b/*' }],
};

describe('a pool of threads', () => {
  const pool = new ThreadPool();
  afterAll(() => pool.close());

  it('returns what the task returns, also for several tasks at once', async () => {
    const results = await Promise.all(Array.from({ length: 5 }, () => pool.run('checkPolicy', [{ policy: POLICY }])));
    expect(results).toEqual(Array.from({ length: 5 }, () => checkPolicy({ policy: POLICY })));
    expect((await pool.run('checkRunManifest', [Buffer.from('[Samples]\nSampleName\nS1\n'), {}])).samples).toBe(1);
  });
  it('throws what the task throws', async () => {
    const wrong = pool.run('checkPolicy', [{ policy: '{' }]);
    await expect(wrong).rejects.toBeInstanceOf(InputError);
    await expect(wrong).rejects.toMatchObject({ problems: [{ field: 'policy', rule: 'JSON' }] });
    // An unexpected error: the argument is missing.
    await expect(pool.run('checkPolicy', [] as never)).rejects.toBeInstanceOf(TypeError);
    expect((await pool.run('checkRunManifest', ['[Samples]\nSampleName\nS1\n', {}])).samples).toBe(1);
  });
  it('ends a task that takes longer than it may, and carries out the next one', async () => {
    const long = `[Samples]\nSampleName,Index1\n${'a,ACGT\n'.repeat(100_000)}`;
    await expect(pool.run('checkRunManifest', [long, {}], 1)).rejects.toBeInstanceOf(TaskTooLongError);
    expect((await pool.run('checkRunManifest', ['[Samples]\nSampleName\nS1\n', {}])).samples).toBe(1);
  });
  it('rejects tasks if too many wait', async () => {
    const own = new ThreadPool();
    const settled = await Promise.allSettled(
      Array.from({ length: 300 }, () => own.run('checkRunManifest', ['[Samples]\nSampleName\nS1\n', {}])),
    );
    const busy = settled.filter((each) => each.status === 'rejected' && each.reason instanceof ThreadsBusyError);
    expect(busy.length).toBeGreaterThan(0);
    expect(settled.filter(({ status }) => status === 'fulfilled').length).toBe(300 - busy.length);
    await own.close();
  });
  it('works in a build, and does not keep the process alive', () => {
    const code =
      `import { threads } from ${JSON.stringify(path.join(inject('build'), 'threads/pool.js'))};` +
      `const { permissions } = await threads.run('checkPolicy', [{ policy: ${JSON.stringify(POLICY)} }]);` +
      'console.log(permissions.length > 10);';
    expect(execFileSync(process.execPath, ['--input-type=module', '-e', code], { encoding: 'utf8' })).toBe('true\n');
  });
});
