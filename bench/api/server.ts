import { randomBytes } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { Agent, get } from 'node:http';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { Kysely, type LogEvent, PostgresDialect } from 'kysely';
import pg from 'pg';
import { createGuardian, type GuardedChild, type Guardian, untilReady } from '../../local/guardian.js';
import { withFreePort } from '../../local/ports.js';
import { startPostgres } from '../../local/postgres.js';
import { migrate, openDatabase } from '../../store/database.js';
import { grantRuntimeRole } from '../../store/runtimeRole.js';
import type { Database } from '../../store/schema.js';
import { buildFolder } from '../build.js';

/** A PostgreSQL with the tables of polony, and the built API on it, each in a process of its own. */
export class BenchServer {
  readonly #agent = new Agent({ keepAlive: true });

  private constructor(
    readonly guardian: Guardian,
    readonly stateDir: string,
    /** Of the database, as the role that owns the tables. */
    readonly ownerUrl: string,
    /** Of the database, as the role of the API. */
    readonly databaseUrl: string,
    readonly apiKey: string,
    private readonly apiProcess: { child?: GuardedChild; url: string },
  ) {}

  /** Starts the database, without the API. */
  static async start(): Promise<BenchServer> {
    const stateDir = mkdtempSync(path.join(tmpdir(), 'polony-bench-'));
    const guardian = await createGuardian(stateDir);
    try {
      const postgres = await startPostgres({ guardian, stateDir, durable: false });
      const db = openDatabase(postgres.url, 1);
      await migrate(db)
        .then(() => grantRuntimeRole(db, postgres.runtimeRole))
        .finally(() => db.destroy());
      const apiKey = randomBytes(24).toString('hex');
      return new BenchServer(guardian, stateDir, postgres.url, postgres.runtimeUrl, apiKey, { url: '' });
    } catch (error) {
      await guardian.close();
      rmSync(stateDir, { recursive: true, force: true });
      throw error;
    }
  }

  /**
   * Starts the API. It serves what needs no Temporal, which is not there.
   * @param env more settings
   */
  async startApi(env: Record<string, string> = {}): Promise<void> {
    const settings: Record<string, string> = {
      DATABASE_URL: this.databaseUrl,
      // A port where nothing listens.
      TEMPORAL_ADDRESS: '127.0.0.1:9',
      POLONY_API_KEY: this.apiKey,
      POLONY_LOG_LEVEL: 'warn',
      POLONY_CONSOLE: 'false',
      // The bench is one caller.
      POLONY_REQUESTS_PER_MINUTE: '1000000',
      ...env,
    };
    await withFreePort(undefined, async (port) => {
      const url = `http://127.0.0.1:${port}`;
      const child = this.guardian.spawn('api', process.execPath, [path.join(buildFolder(), 'cli/main.js'), 'api'], {
        env: { ...settings, POLONY_PORT: String(port) },
      });
      const headers = { 'x-api-key': this.apiKey };
      await untilReady(child, async () => (await fetch(`${url}/v1/runs?pageSize=1`, { headers })).ok);
      Object.assign(this.apiProcess, { child, url });
    });
  }

  /** Waits for the first half a minute of the API, in which it keeps little space for objects (cli/startMemory.ts). */
  async untilSettled(): Promise<void> {
    await pause(31_000);
  }

  get apiUrl(): string {
    return this.apiProcess.url;
  }

  get apiPid(): number {
    return this.apiProcess.child!.pid;
  }

  /** Calls the API. @throws Error for an answer that is an error */
  async call<T>(method: 'GET' | 'POST', where: string, body?: object): Promise<T> {
    const response = await fetch(`${this.apiUrl}${where}`, {
      method,
      headers: { 'x-api-key': this.apiKey, ...(body !== undefined && { 'content-type': 'application/json' }) },
      ...(body !== undefined && { body: JSON.stringify(body) }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${method} ${where}: ${text}`);
    return JSON.parse(text) as T;
  }

  /** The text that the API answers. @throws Error for an answer that is an error */
  read(where: string): Promise<string> {
    return new Promise((resolve, reject) => {
      const headers = { 'x-api-key': this.apiKey };
      const sent = get(`${this.apiUrl}${where}`, { agent: this.#agent, headers }, (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('error', reject);
        response.on('end', () => {
          const text = Buffer.concat(chunks).toString('latin1');
          if (response.statusCode === 200) resolve(text);
          else reject(new Error(`GET ${where}: ${text}`));
        });
      });
      sent.on('error', reject);
    });
  }

  /** The database, as the API opens it. @param log hears of each query */
  open(log: (event: LogEvent) => void): Kysely<Database> {
    const pool = new pg.Pool({ connectionString: this.databaseUrl, max: 2 });
    return new Kysely<Database>({ dialect: new PostgresDialect({ pool }), log });
  }

  /** Ends what was started. */
  async stop(): Promise<void> {
    this.#agent.destroy();
    await this.guardian.close();
    rmSync(this.stateDir, { recursive: true, force: true });
  }
}
