import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import type { FastifyInstance } from 'fastify';
import type { ApiDependencies } from '../api/dependencies.js';
import { buildApp } from '../api/app.js';
import { AwsSessions } from '../aws/sessions.js';
import { type LocalAws, startLocalAws } from '../local/aws.js';
import { createGuardian } from '../local/guardian.js';
import { createProviderLoader } from '../store/connections/providerLoader.js';
import { createLocalKey, Secrets } from '../store/secrets.js';
import { startTestPostgres, type TestPostgres } from './postgres.js';
import { stubOrchestrator } from './stubOrchestrator.js';

/** The key of the installation in {@link startTestApi}. */
export const ROOT_KEY = 'root-key-0123456789-abcdefgh';

/** An API on a real PostgreSQL and the enforcing local AWS, whose Temporal does whatever it is asked. */
export interface TestApi {
  app: FastifyInstance;
  access: AwsSessions;
  aws: LocalAws;
  postgres: TestPostgres;
  /** A temporary one, for what a test writes. */
  folder: string;
  /** Listens from now on. @returns the address. */
  listen: () => Promise<string>;
  stop: () => Promise<void>;
}

/** Starts one. This process is polony's service user at the local AWS from then on (environment variables). */
export async function startTestApi(options: Partial<ApiDependencies> = {}): Promise<TestApi> {
  const folder = mkdtempSync(path.join(os.tmpdir(), 'polony-test-'));
  const guardian = await createGuardian(folder);
  const [aws, postgres] = await Promise.all([startLocalAws({ guardian, stateDir: folder }), startTestPostgres()]);
  Object.assign(process.env, {
    AWS_ENDPOINT_URL: aws.endpoint,
    AWS_ACCESS_KEY_ID: aws.serviceAccessKeyId,
    AWS_SECRET_ACCESS_KEY: aws.serviceSecretAccessKey,
  });
  const secrets = new Secrets([createLocalKey('test', Buffer.alloc(32, 7))]);
  const access = new AwsSessions({ sessionSeconds: 43_200, ...createProviderLoader(postgres.db, secrets) });
  const app = await buildApp({
    db: postgres.db,
    databaseUrl: postgres.url,
    secrets,
    aws: access,
    orchestrator: stubOrchestrator,
    apiKey: ROOT_KEY,
    discoverSeconds: 7,
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
