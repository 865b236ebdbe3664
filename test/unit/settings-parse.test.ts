import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { parseApiConfig, parseWorkerConfig } from '../../cli/settings/parse.js';
import { InputError } from '../../domain/errors.js';

const base = {
  DATABASE_URL: 'postgres://user:p%40ss@db:5432/polony',
  TEMPORAL_ADDRESS: 'temporal:7233',
  POLONY_API_KEY: 'k'.repeat(24),
};

function problemsOf(parse: () => unknown): string[] {
  try {
    parse();
  } catch (error) {
    if (error instanceof InputError) return error.problems.map((problem) => `${problem.field} ${problem.rule}`);
    throw error;
  }
  return [];
}

describe('parseApiConfig', () => {
  it('has defaults for everything but addresses and API key', () => {
    expect(parseApiConfig(base)).toEqual({
      databaseUrl: base.DATABASE_URL,
      statementSeconds: 30,
      maxDbConnections: 10,
      temporal: { address: 'temporal:7233', namespace: 'default' },
      taskQueue: 'polony',
      logLevel: 'info',
      isTracing: false,
      encryptionKeys: [],
      giveUpDays: 14,
      webhookNetworks: { allowPrivate: false, allowedNetworks: [] },
      apiKey: base.POLONY_API_KEY,
      host: '127.0.0.1',
      port: 8080,
      publicUrl: undefined,
      publicApiDocs: true,
      errorDomain: 'polony',
      trustProxy: false,
      trustedAccountId: undefined,
      requestsPerMinute: 6000,
      servesConsole: true,
      failedLoginsPerMinute: 30,
      sessionSeconds: 43_200,
      allowsOpenRoles: false,
      auditsReads: false,
    });
  });
  it('reads a secret from the file that a variable names', () => {
    const folder = mkdtempSync(path.join(os.tmpdir(), 'polony-settings-'));
    const file = path.join(folder, 'key');
    writeFileSync(file, 'key-from-a-file-0123456789\n');
    const { POLONY_API_KEY: key, ...others } = base;
    expect(parseApiConfig({ ...others, POLONY_API_KEY_FILE: file }).apiKey).toBe('key-from-a-file-0123456789');
    expect(() => parseApiConfig({ ...others, POLONY_API_KEY: key, POLONY_API_KEY_FILE: file })).toThrow(
      'POLONY_API_KEY_FILE: cannot be set together with POLONY_API_KEY',
    );
    expect(() => parseApiConfig({ ...others, POLONY_API_KEY_FILE: path.join(folder, 'none') })).toThrow(
      'POLONY_API_KEY_FILE: names a file that cannot be read (ENOENT)',
    );
    rmSync(folder, { recursive: true });
  });
  it('reads every setting', () => {
    expect(
      parseApiConfig({
        ...base,
        TEMPORAL_NAMESPACE: 'lab',
        TEMPORAL_API_KEY: 'cloud',
        TEMPORAL_TLS: 'yes',
        POLONY_TASK_QUEUE: 'q',
        POLONY_HOST: '::',
        POLONY_PORT: '0',
        POLONY_PUBLIC_URL: 'https://polony.example.org/base/',
        POLONY_LOG_LEVEL: 'WARN',
        POLONY_ERROR_DOMAIN: 'cloud-api.elembio.io',
        POLONY_TRUST_PROXY: '10.0.0.0/8, loopback, fd00::/8',
        POLONY_MAX_DB_CONNECTIONS: '5',
        POLONY_GIVE_UP_DAYS: '1',
        POLONY_TRUSTED_ACCOUNT_ID: '588258415937',
      }),
    ).toMatchObject({
      temporal: { namespace: 'lab', apiKey: 'cloud', tls: true },
      taskQueue: 'q',
      host: '::',
      port: 0,
      publicUrl: 'https://polony.example.org/base',
      logLevel: 'warn',
      errorDomain: 'cloud-api.elembio.io',
      trustProxy: ['10.0.0.0/8', 'loopback', 'fd00::/8'],
      maxDbConnections: 5,
      giveUpDays: 1,
      trustedAccountId: '588258415937',
    });
    expect(
      parseApiConfig({
        ...base,
        POLONY_ENCRYPTION_KEYS: `new=arn:aws:kms:us-west-2:111122223333:key/1, old=${'A'.repeat(43)}=`,
      }).encryptionKeys,
    ).toEqual([
      { id: 'new', kmsKeyArn: 'arn:aws:kms:us-west-2:111122223333:key/1' },
      { id: 'old', key: `${'A'.repeat(43)}=` },
    ]);
    expect(parseApiConfig({ ...base, POLONY_TRUST_PROXY: 'false', POLONY_PORT: '', TEMPORAL_TLS: ' ' })).toMatchObject({
      trustProxy: false,
      port: 8080,
      temporal: { address: 'temporal:7233', namespace: 'default' },
    });
  });
  it.each<[Record<string, string | undefined>, string[]]>([
    [
      { DATABASE_URL: undefined, TEMPORAL_ADDRESS: '', POLONY_API_KEY: ' ' },
      ['DATABASE_URL REQUIRED', 'TEMPORAL_ADDRESS REQUIRED', 'POLONY_API_KEY REQUIRED'],
    ],
    [{ DATABASE_URL: 'mysql://h/d' }, ['DATABASE_URL FORMAT']],
    [{ POLONY_ENCRYPTION_KEYS: 'abc' }, ['POLONY_ENCRYPTION_KEYS FORMAT']],
    [
      { POLONY_ENCRYPTION_KEYS: 'k1=tooshort,k1=arn:aws:s3:::b' },
      ['POLONY_ENCRYPTION_KEYS FORMAT', 'POLONY_ENCRYPTION_KEYS FORMAT'],
    ],
    [{ POLONY_ENCRYPTION_KEYS: `k1=${'A'.repeat(43)}=,k1=${'B'.repeat(43)}=` }, ['POLONY_ENCRYPTION_KEYS UNIQUE']],
    [{ DATABASE_URL: 'postgres://h' }, ['DATABASE_URL FORMAT']],
    [{ DATABASE_URL: 'postgres://user:p/ss@h:port/d' }, ['DATABASE_URL FORMAT']],
    [{ TEMPORAL_ADDRESS: 'http://h:7233' }, ['TEMPORAL_ADDRESS FORMAT']],
    [{ TEMPORAL_ADDRESS: 'h:70000' }, ['TEMPORAL_ADDRESS FORMAT']],
    [{ TEMPORAL_ADDRESS: 'h' }, ['TEMPORAL_ADDRESS FORMAT']],
    [{ TEMPORAL_TLS: 'maybe' }, ['TEMPORAL_TLS BOOLEAN']],
    [{ TEMPORAL_API_KEY: 'k', TEMPORAL_TLS: 'false' }, ['TEMPORAL_TLS CONFLICT']],
    [{ POLONY_API_KEY: 'k'.repeat(23) }, ['POLONY_API_KEY LENGTH']],
    [{ POLONY_API_KEY: `${'k'.repeat(30)} x` }, ['POLONY_API_KEY FORMAT']],
    [
      { POLONY_PORT: '65536', POLONY_HOST: 'a b', POLONY_LOG_LEVEL: 'loud' },
      ['POLONY_LOG_LEVEL ONE_OF', 'POLONY_HOST FORMAT', 'POLONY_PORT INTEGER'],
    ],
    [{ POLONY_PUBLIC_URL: 'polony.example.org' }, ['POLONY_PUBLIC_URL FORMAT']],
    [{ POLONY_PUBLIC_URL: 'https://x/?y' }, ['POLONY_PUBLIC_URL FORMAT']],
    [{ POLONY_ERROR_DOMAIN: 'a b' }, ['POLONY_ERROR_DOMAIN FORMAT']],
    [{ POLONY_TRUST_PROXY: '1' }, ['POLONY_TRUST_PROXY FORMAT']],
    [{ POLONY_TRUST_PROXY: 'true' }, ['POLONY_TRUST_PROXY FORMAT']],
    [{ POLONY_TRUST_PROXY: '10.0.0.1,proxy' }, ['POLONY_TRUST_PROXY FORMAT']],
    [{ POLONY_TRUSTED_ACCOUNT_ID: 'arn:aws:iam::588258415937:root' }, ['POLONY_TRUSTED_ACCOUNT_ID FORMAT']],
    [{ POLONY_EVENTS_KEY: 'short' }, ['POLONY_EVENTS_KEY LENGTH']],
    [{ POLONY_EVENTS_KEY: base.POLONY_API_KEY }, ['POLONY_EVENTS_KEY DIFFERENT']],
    [{ POLONY_TASK_QUEUE: 'a b' }, ['POLONY_TASK_QUEUE FORMAT']],
    [
      { POLONY_GIVE_UP_DAYS: '0', POLONY_MAX_DB_CONNECTIONS: '1.5' },
      ['POLONY_MAX_DB_CONNECTIONS INTEGER', 'POLONY_GIVE_UP_DAYS INTEGER'],
    ],
  ])('rejects %o and names the variables: %j', (change, expected) => {
    expect(problemsOf(() => parseApiConfig({ ...base, ...change }))).toEqual(expected);
  });
  it('repeats no value in its errors', () => {
    const secret = 'hunter2-hunter2';
    try {
      parseApiConfig({
        DATABASE_URL: `mysql://u:${secret}@h/d`,
        TEMPORAL_ADDRESS: secret,
        TEMPORAL_API_KEY: secret,
        TEMPORAL_TLS: secret,
        POLONY_API_KEY: secret,
        POLONY_PORT: secret,
        POLONY_PUBLIC_URL: secret,
      });
      expect.unreachable();
    } catch (error) {
      expect(JSON.stringify([(error as InputError).problems, (error as Error).message])).not.toContain(secret);
    }
  });
  it('takes the settings of OpenID Connect together, or says which one is missing or too much', () => {
    const ISSUER = 'https://login.example.org';
    const person = { POLONY_OIDC_ISSUER: ISSUER, POLONY_OIDC_AUDIENCE: 'polony' };
    const browser = { ...person, POLONY_OIDC_CLIENT_ID: 'console', POLONY_PUBLIC_URL: 'https://polony.example.org' };
    const problems = (env: Record<string, string>): string[] => problemsOf(() => parseApiConfig({ ...base, ...env }));
    expect(parseApiConfig({ ...base, ...person })).toMatchObject({ oidc: { issuer: ISSUER, audience: 'polony' } });
    expect(parseApiConfig({ ...base, ...person }).oidcClient).toBeUndefined();
    // A public client has no secret.
    expect(parseApiConfig({ ...base, ...browser }).oidcClient).toEqual({ clientId: 'console' });
    expect(parseApiConfig({ ...base, ...browser, POLONY_OIDC_CLIENT_SECRET: 'secret' }).oidcClient).toEqual({
      clientId: 'console',
      clientSecret: 'secret',
    });
    for (const [env, expected] of [
      [{ POLONY_OIDC_ISSUER: ISSUER }, ['POLONY_OIDC_AUDIENCE REQUIRED']],
      [{ POLONY_OIDC_AUDIENCE: 'polony' }, ['POLONY_OIDC_AUDIENCE CONFLICT']],
      [{ ...person, POLONY_OIDC_CLIENT_SECRET: 'secret' }, ['POLONY_OIDC_CLIENT_SECRET CONFLICT']],
      [{ ...person, POLONY_OIDC_CLIENT_ID: 'console' }, ['POLONY_PUBLIC_URL REQUIRED']],
      [{ ...browser, POLONY_PUBLIC_URL: 'http://polony.example.org' }, ['POLONY_PUBLIC_URL TLS']],
      [
        { POLONY_OIDC_CLIENT_ID: 'console', POLONY_PUBLIC_URL: 'https://polony.example.org' },
        ['POLONY_OIDC_CLIENT_ID CONFLICT'],
      ],
      // Of a provider and an installation on the same machine.
      [{ ...browser, POLONY_PUBLIC_URL: 'http://127.0.0.1:8080' }, []],
    ] as const)
      expect([env, problems(env)]).toEqual([env, expected]);
    expect(() => parseApiConfig({ ...base, POLONY_OIDC_CLIENT_SECRET: 'not-to-be-shown' })).toThrow(
      /^(?!.*not-to-be-shown)/s,
    );
  });
});

describe('parseWorkerConfig', () => {
  it('has defaults for everything but addresses, and needs no API key', () => {
    expect(parseWorkerConfig({ ...base, POLONY_API_KEY: undefined })).toMatchObject({
      discoverSeconds: 60,
      uploadPollSeconds: 60,
      runPollSeconds: 60,
      sweepSeconds: 60,
      sessionSeconds: 43_200,
      watchSlots: 4000,
      activitySlots: 100,
      workflowCache: 100,
      startRunsPerSecond: 1,
      getRunsPerSecond: 8,
      retryRunSeconds: 60,
      stalledMinutes: 120,
      closedWorkflows: 'adopt',
      metricsAddress: undefined,
    });
  });
  it('accepts session durations within the limits of STS', () => {
    expect(parseWorkerConfig({ ...base, POLONY_SESSION_SECONDS: '43200' }).sessionSeconds).toBe(43_200);
    for (const seconds of ['899', '43201', '1h', '-900'])
      expect(problemsOf(() => parseWorkerConfig({ ...base, POLONY_SESSION_SECONDS: seconds }))).toEqual([
        'POLONY_SESSION_SECONDS INTEGER',
      ]);
  });
  it('accepts fractional rates and known words, and rejects others', () => {
    expect(
      parseWorkerConfig({ ...base, POLONY_START_RUNS_PER_SECOND: '0.5', POLONY_CLOSED_WORKFLOWS: 'Cancel' }),
    ).toMatchObject({ startRunsPerSecond: 0.5, closedWorkflows: 'cancel' });
    for (const rate of ['0', '-1', '1e3', 'one', '1001'])
      expect(problemsOf(() => parseWorkerConfig({ ...base, POLONY_START_RUNS_PER_SECOND: rate }))).toEqual([
        'POLONY_START_RUNS_PER_SECOND NUMBER',
      ]);
    expect(problemsOf(() => parseWorkerConfig({ ...base, POLONY_CLOSED_WORKFLOWS: 'keep' }))).toEqual([
      'POLONY_CLOSED_WORKFLOWS ONE_OF',
    ]);
  });
  it('reports all problems at once', () => {
    expect(
      problemsOf(() =>
        parseWorkerConfig({ POLONY_RUN_POLL_SECONDS: '0', POLONY_WATCH_SLOTS: 'many', POLONY_METRICS_ADDRESS: '9464' }),
      ).sort(),
    ).toEqual([
      'DATABASE_URL REQUIRED',
      'POLONY_METRICS_ADDRESS FORMAT',
      'POLONY_RUN_POLL_SECONDS INTEGER',
      'POLONY_WATCH_SLOTS INTEGER',
      'TEMPORAL_ADDRESS REQUIRED',
    ]);
    expect(parseWorkerConfig({ ...base, POLONY_METRICS_ADDRESS: '0.0.0.0:9464' }).metricsAddress).toBe('0.0.0.0:9464');
  });
});

describe('the environment parser', () => {
  it('names every wrong variable and repeats no value', () => {
    let problems: readonly { field: string; message: string }[] = [];
    try {
      parseApiConfig({ POLONY_API_KEY: 'short-secret', POLONY_PORT: 'x', TEMPORAL_ADDRESS: 'http://t' });
    } catch (error) {
      problems = (error as InputError).problems;
    }
    expect(problems.map((problem) => problem.field).sort()).toEqual([
      'DATABASE_URL',
      'POLONY_API_KEY',
      'POLONY_PORT',
      'TEMPORAL_ADDRESS',
    ]);
    expect(JSON.stringify(problems)).not.toContain('short-secret');
  });
  it('has defaults for everything but the addresses', () => {
    expect(parseWorkerConfig({ DATABASE_URL: 'postgres://u:p@h/d', TEMPORAL_ADDRESS: 'h:7233' })).toMatchObject({
      runPollSeconds: 60,
      sessionSeconds: 43200,
      temporal: { namespace: 'default' },
    });
  });
});
