import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import {
  parseApiConfig,
  parseCodecConfig,
  parseMigrateConfig,
  parsePromoteConfig,
  parseWorkerConfig,
} from '../../cli/settings/parse.js';
import { InputError } from '../../domain/errors.js';
import { toConnectionOptions } from '../../temporal/connection.js';
import * as workflows from '../../workflows/index.js';
import { WORKFLOW_TYPES } from '../../workflows/messages/workflowTypes.js';

const folder = mkdtempSync(path.join(os.tmpdir(), 'polony-settings-temporal-'));
const file = (name: string): string => {
  const where = path.join(folder, name);
  writeFileSync(where, `content of ${name}`);
  return where;
};
afterAll(() => rmSync(folder, { recursive: true, force: true }));

const KEY = Buffer.alloc(32, 1).toString('base64');
const base = {
  DATABASE_URL: 'postgres://user@db:5432/polony',
  TEMPORAL_ADDRESS: 'temporal:7233',
  POLONY_API_KEY: 'k'.repeat(24),
};

function problemsOf(parse: () => unknown): string[] {
  try {
    parse();
  } catch (error) {
    if (error instanceof InputError) return error.problems.map(({ field, rule }) => `${field} ${rule}`).sort();
    throw error;
  }
  return [];
}

describe('the connection to Temporal', () => {
  const [ca, cert, key] = [file('ca.pem'), file('client.pem'), file('client.key')];
  const tls = {
    TEMPORAL_TLS_SERVER_CA_CERT_PATH: ca,
    TEMPORAL_TLS_CLIENT_CERT_PATH: cert,
    TEMPORAL_TLS_CLIENT_KEY_PATH: key,
    TEMPORAL_TLS_SERVER_NAME: 'temporal.example.org',
  };

  it('uses TLS with the files of the settings', () => {
    const { temporal } = parseApiConfig({ ...base, ...tls });
    expect(temporal).toEqual({
      address: 'temporal:7233',
      namespace: 'default',
      caFile: ca,
      clientCertificate: { certFile: cert, keyFile: key },
      serverName: 'temporal.example.org',
    });
    expect(toConnectionOptions(temporal)).toEqual({
      address: 'temporal:7233',
      tls: {
        serverRootCACertificate: Buffer.from('content of ca.pem'),
        clientCertPair: { crt: Buffer.from('content of client.pem'), key: Buffer.from('content of client.key') },
        serverNameOverride: 'temporal.example.org',
      },
    });
    expect(toConnectionOptions({ address: 'a:1', namespace: 'n' })).toEqual({ address: 'a:1' });
    expect(toConnectionOptions({ address: 'a:1', namespace: 'n', apiKey: 'x' })).toMatchObject({ tls: {} });
  });

  it('rejects files that are missing, halves of a pair, and settings that have no effect', () => {
    const parse = (env: Record<string, string>) => problemsOf(() => parseWorkerConfig({ ...base, ...env }));
    expect(parse({ TEMPORAL_TLS_SERVER_CA_CERT_PATH: '/nowhere' })).toEqual(['TEMPORAL_TLS_SERVER_CA_CERT_PATH FILE']);
    expect(parse({ TEMPORAL_TLS_CLIENT_CERT_PATH: cert })).toEqual(['TEMPORAL_TLS_CLIENT_KEY_PATH REQUIRED']);
    expect(parse({ TEMPORAL_TLS_CLIENT_KEY_PATH: key })).toEqual(['TEMPORAL_TLS_CLIENT_CERT_PATH REQUIRED']);
    expect(parse({ ...tls, TEMPORAL_TLS: 'false' })).toEqual(
      Object.keys(tls)
        .map((name) => `${name} CONFLICT`)
        .sort(),
    );
    expect(parse({ TEMPORAL_TLS_SERVER_NAME: 'https://x' })).toEqual(['TEMPORAL_TLS_SERVER_NAME FORMAT']);
  });

  it('is optional for polony migrate, which needs no settings of the worker', () => {
    const { DATABASE_URL } = base;
    expect(parseMigrateConfig({ DATABASE_URL, POLONY_DEPLOYMENT_NAME: 'polony' })).toEqual({
      databaseUrl: DATABASE_URL,
    });
    expect(parseMigrateConfig({ ...base, ...tls }).temporal).toMatchObject({ caFile: ca });
    expect(
      problemsOf(() => parseMigrateConfig({ TEMPORAL_ADDRESS: 'http://x', POLONY_RUNTIME_PASSWORD: 'secret' })),
    ).toEqual(['DATABASE_URL REQUIRED', 'POLONY_RUNTIME_PASSWORD CONFLICT', 'TEMPORAL_ADDRESS FORMAT']);
  });
});

describe('worker versioning', () => {
  const version = { POLONY_DEPLOYMENT_NAME: 'polony', POLONY_BUILD_ID: '1.4.0' };

  it('is off without a deployment name', () => {
    expect(parseWorkerConfig(base).versioning).toBeUndefined();
    expect(
      problemsOf(() => parseWorkerConfig({ ...base, POLONY_BUILD_ID: '1', POLONY_PINNED_WORKFLOWS: '*' })),
    ).toEqual(['POLONY_BUILD_ID CONFLICT', 'POLONY_PINNED_WORKFLOWS CONFLICT']);
  });

  it('reads the version and the pinned workflows', () => {
    expect(parseWorkerConfig({ ...base, ...version }).versioning).toEqual({
      deploymentName: 'polony',
      buildId: '1.4.0',
      pinnedWorkflows: [],
      endsWhenDrained: false,
    });
    const pinned = (POLONY_PINNED_WORKFLOWS: string) =>
      parseWorkerConfig({ ...base, ...version, POLONY_PINNED_WORKFLOWS }).versioning?.pinnedWorkflows;
    expect(pinned('bases2fastq, runUpload')).toEqual(['bases2fastq', 'runUpload']);
    expect(pinned('*')).toEqual(WORKFLOW_TYPES);
    expect(problemsOf(() => parseWorkerConfig({ ...base, ...version, POLONY_PINNED_WORKFLOWS: 'bases2fast' }))).toEqual(
      ['POLONY_PINNED_WORKFLOWS FORMAT'],
    );
    expect(problemsOf(() => parseWorkerConfig({ ...base, POLONY_DEPLOYMENT_NAME: 'polony' }))).toEqual([
      'POLONY_BUILD_ID REQUIRED',
    ]);
  });

  it('names every workflow type that exists', () => {
    expect([...WORKFLOW_TYPES].sort()).toEqual(Object.keys(workflows).sort());
  });

  it('is required for polony promote', () => {
    expect(parsePromoteConfig({ ...base, ...version })).toEqual({
      temporal: { address: 'temporal:7233', namespace: 'default' },
      taskQueue: 'polony',
      version: { deploymentName: 'polony', buildId: '1.4.0' },
    });
    expect(problemsOf(() => parsePromoteConfig({}))).toEqual([
      'POLONY_DEPLOYMENT_NAME REQUIRED',
      'TEMPORAL_ADDRESS REQUIRED',
    ]);
  });
});

describe('the codec server', () => {
  it('has the login of the API, and needs payload keys', () => {
    const config = parseCodecConfig({
      ...base,
      POLONY_PAYLOAD_KEYS: `p1=${KEY}`,
      POLONY_CODEC_ORIGINS: 'https://temporal.example.org, http://localhost:8233',
      POLONY_OIDC_ISSUER: 'https://login.example.org',
      POLONY_OIDC_AUDIENCE: 'polony',
    });
    expect(config).toMatchObject({
      host: '127.0.0.1',
      port: 8088,
      apiKey: base.POLONY_API_KEY,
      origins: ['https://temporal.example.org', 'http://localhost:8233'],
      payloadKeys: { encrypts: true, keys: [{ id: 'p1', key: KEY }] },
      oidc: { issuer: 'https://login.example.org', audience: 'polony' },
    });
    expect(problemsOf(() => parseCodecConfig(base))).toEqual(['POLONY_PAYLOAD_KEYS REQUIRED']);
  });

  it('accepts no origin that stands for others, and no address with a path', () => {
    for (const origins of ['*', 'null', 'temporal.example.org', 'https://temporal.example.org/ui', 'https://a.org,'])
      expect(
        problemsOf(() =>
          parseCodecConfig({ ...base, POLONY_PAYLOAD_KEYS: `p1=${KEY}`, POLONY_CODEC_ORIGINS: origins }),
        ),
        origins,
      ).toEqual(['POLONY_CODEC_ORIGINS FORMAT']);
  });
});
