import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { ApiDependencies } from '../api/dependencies.js';
import { buildApp } from '../api/app.js';
import { AwsSessions, type AwsSessionsOptions } from '../aws/sessions.js';
import { type LocalAws, startLocalAws } from '../local/aws.js';
import { createGuardian } from '../local/guardian.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { createLocalKey } from '../encryption/keys.js';
import { Secrets } from '../store/secrets.js';
import { startTestPostgres, type TestPostgres } from './postgres.js';
import { stubOrchestrator } from './stubOrchestrator.js';

/** The installation's API key in {@link startTestApi}. */
export const ROOT_KEY = 'root-key-0123456789-abcdefgh';

/** An API on a real PostgreSQL and the local AWS, which enforces policies, with a stub for Temporal. */
export interface TestApi {
  app: FastifyInstance;
  access: AwsSessions;
  aws: LocalAws;
  postgres: TestPostgres;
  /** A temporary folder for files of the test. */
  folder: string;
  /** Starts listening. @returns the address. */
  listen: () => Promise<string>;
  stop: () => Promise<void>;
}

/** Starts a test API. Sets environment variables that make this process polony's service user at the local AWS. */
export async function startTestApi(
  options: Partial<ApiDependencies> = {},
  sessions: Partial<AwsSessionsOptions> = {},
): Promise<TestApi> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'polony-test-'));
  const guardian = await createGuardian(folder);
  const [aws, postgres] = await Promise.all([startLocalAws({ guardian, stateDir: folder }), startTestPostgres()]);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_ACCESS_KEY_ID: aws.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.serviceSecretAccessKey,
  });
  const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
  const access = new AwsSessions({
    sessionSeconds: 43_200,
    ...createProviderLoader(postgres.db, secrets),
    ...sessions,
  });
  const app = await buildApp({
    db: postgres.db,
    databaseUrl: postgres.url,
    secrets,
    aws: access,
    orchestrator: stubOrchestrator,
    apiKey: ROOT_KEY,
    errorDomain: 'polony',
    ...options,
  });
  return {
    app,
    access,
    aws,
    postgres,
    folder,
    listen: () => app.listen({ host: '127.0.0.1', port: 0 }),
    stop: async () => {
      await app.close();
      access.close();
      await guardian.stopAll();
      await aws.emulator.close();
      await guardian.close();
      await postgres.stop();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
