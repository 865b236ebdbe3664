import type { Connection } from '@temporalio/client';
import type { CommonConfig } from '../../domain/settings.js';
import { type Db, openDatabase } from '../../store/database.js';
import { readDatabaseFacts } from '../../store/doctor.js';
import { connectTemporal } from '../../temporal/connection.js';
import type { Environment } from '../settings/read.js';
import { NeedsError } from './finding.js';

/** What checks can use without valid settings. */
export interface DoctorBasics {
  env: Environment;
  /** Of polony. */
  version: string;
  /** Milliseconds since 1970, by the clock of this machine. */
  now: () => number;
}

/** What checks work with. Connections are made once, for the first check that needs them. */
export interface DoctorContext extends DoctorBasics {
  config: CommonConfig;
  /** The setting POLONY_TRUSTED_ACCOUNT_ID, of the API. */
  trustedAccountId: string | undefined;
  /** @throws the error of the connection */
  openDb: () => Promise<Db>;
  /** @throws the error of the connection */
  openTemporal: () => Promise<Connection>;
  /** @throws NeedsError where there is no connection */
  needDb: () => Promise<Db>;
  /** @throws NeedsError where there is no connection */
  needTemporal: () => Promise<Connection>;
  close: () => Promise<void>;
}

/** Opens nothing yet. */
export function createContext(
  basics: DoctorBasics,
  config: CommonConfig,
  trustedAccountId: string | undefined,
): DoctorContext {
  let db: Promise<Db> | undefined;
  let temporal: Promise<Connection> | undefined;
  const opened: Db[] = [];
  const openDb = (): Promise<Db> =>
    (db ??= (async () => {
      // Checks run side by side, and must change nothing.
      const pool = openDatabase(config.databaseUrl, 4, 10, true);
      opened.push(pool);
      await readDatabaseFacts(pool);
      return pool;
    })());
  const openTemporal = (): Promise<Connection> =>
    (temporal ??= connectTemporal(config.temporal).then(({ connection }) => connection));
  const need = <T>(open: () => Promise<T>, what: string) =>
    open().catch(() => {
      throw new NeedsError(what);
    });
  return {
    ...basics,
    config,
    trustedAccountId,
    openDb,
    openTemporal,
    needDb: () => need(openDb, 'the database'),
    needTemporal: () => need(openTemporal, 'Temporal'),
    close: async () => {
      await temporal?.then((connection) => connection.close()).catch(() => undefined);
      await Promise.all(opened.map((pool) => pool.destroy().catch(() => undefined)));
    },
  };
}
