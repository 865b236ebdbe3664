import { errorMessage } from '../../../domain/errors.js';
import { describeAddress } from '../../../store/database.js';
import { checkRights, compareMigrations, measureRoundTrip, readDatabaseFacts } from '../../../store/doctor.js';
import type { DoctorContext } from '../context.js';
import { type Check, failure, ok, warning } from '../finding.js';

/** PostgreSQL 13 is no longer maintained (PostgreSQL, versioning policy). */
const OLDEST_MAJOR = 14;
/** Each step of an execution makes several queries. */
const SLOW_MS = 100;
/** Clocks that differ more make times in lists and audit entries misleading. */
const SKEW_MS = 5000;

/** The checks of PostgreSQL. */
export function databaseChecks(context: DoctorContext): Check[] {
  return [
    { name: 'database', run: () => checkDatabase(context) },
    { name: 'migrations', run: () => checkMigrations(context) },
    { name: 'database role', run: () => checkRole(context) },
    { name: 'clock of the database', run: () => checkClock(context) },
  ];
}

async function checkDatabase({ config, openDb }: DoctorContext) {
  const address = describeAddress(config.databaseUrl);
  let db;
  try {
    db = await openDb();
  } catch (error) {
    const { message, remedy } = explainDatabaseError(error);
    return [failure(`The database ${address} does not answer: ${message}`, remedy)];
  }
  const { version, major, isEncrypted } = await readDatabaseFacts(db);
  const milliseconds = await measureRoundTrip(db);
  const findings = [];
  if (major < OLDEST_MAJOR)
    findings.push(warning(`PostgreSQL ${version} at ${address} is no longer maintained`, 'Upgrade PostgreSQL'));
  if (!isEncrypted && !isLocal(new URL(config.databaseUrl).hostname))
    findings.push(
      warning(
        `The connection to ${address} is not encrypted, so others in the network can read what it carries`,
        'Set POLONY_DATABASE_TLS=verify, and POLONY_DATABASE_CA_FILE for a certificate authority of your own',
      ),
    );
  if (milliseconds > SLOW_MS)
    findings.push(
      warning(`A query takes ${Math.round(milliseconds)} ms at least`, 'Run polony in the same network as PostgreSQL'),
    );
  const encrypted = isEncrypted ? 'with TLS' : 'without TLS';
  if (findings.length === 0)
    findings.push(ok(`PostgreSQL ${version} at ${address}, ${encrypted}, ${milliseconds.toFixed(1)} ms`));
  return findings;
}

function isLocal(host: string): boolean {
  return ['', 'localhost', '127.0.0.1', '[::1]', '::1'].includes(host);
}

/** What an error of a connection means (PostgreSQL, Appendix A), and what to do. */
function explainDatabaseError(error: unknown): { message: string; remedy: string } {
  const code = (error as { code?: unknown }).code;
  const message = errorMessage(error);
  switch (code) {
    case '28P01':
    case '28000':
      return { message, remedy: 'Correct the user and the password in DATABASE_URL' };
    case '3D000':
      return { message, remedy: 'Create the database (createdb), or correct its name in DATABASE_URL' };
    case '53300':
      return { message, remedy: 'Raise max_connections of PostgreSQL, or lower POLONY_MAX_DB_CONNECTIONS' };
    case 'ENOTFOUND':
    case 'EAI_AGAIN':
      return { message, remedy: 'Correct the host in DATABASE_URL, and check the DNS of this machine' };
    case 'ECONNREFUSED':
    case 'ETIMEDOUT':
    case 'EHOSTUNREACH':
      return { message, remedy: 'Check that PostgreSQL runs, its port in DATABASE_URL, and the firewall' };
    default:
      return /certificate|self.signed|SSL|TLS/i.test(message)
        ? { message, remedy: 'Check POLONY_DATABASE_TLS and POLONY_DATABASE_CA_FILE' }
        : { message, remedy: 'Check DATABASE_URL, and that PostgreSQL accepts connections from here' };
  }
}

async function checkMigrations({ needDb }: DoctorContext) {
  const { applied, missing, unknown } = await compareMigrations(await needDb());
  const findings = [];
  if (missing.length > 0)
    findings.push(failure(`The database lacks the migrations ${missing.join(', ')}`, 'polony migrate'));
  if (unknown.length > 0)
    findings.push(
      warning(
        `A newer version of polony migrated the database (${unknown.join(', ')}); this one is older`,
        'Upgrade the processes that still run this version',
      ),
    );
  return findings.length > 0 ? findings : [ok(`All ${applied} migrations are applied`)];
}

async function checkRole({ needDb }: DoctorContext) {
  const db = await needDb();
  const { role } = await readDatabaseFacts(db);
  const { lacking, canChangeAuditLog } = await checkRights(db);
  if (lacking.length > 0)
    return [
      failure(
        `The role ${role} lacks rights: ${shorten(lacking)}`,
        `POLONY_RUNTIME_ROLE=${role} polony migrate, as the owner of the database`,
      ),
    ];
  if (canChangeAuditLog)
    return [
      warning(
        `The role ${role} can change the audit log, which then proves nothing against a stolen password`,
        'Set POLONY_RUNTIME_ROLE for polony migrate, and connect the API and the workers as that role',
      ),
    ];
  return [ok(`The role ${role} has the rights that it needs, and cannot change the audit log`)];
}

function shorten(texts: readonly string[]): string {
  return [...texts.slice(0, 4), ...(texts.length > 4 ? [`${texts.length - 4} more`] : [])].join(', ');
}

async function checkClock({ needDb, now }: DoctorContext) {
  const db = await needDb();
  const before = now();
  const { time } = await readDatabaseFacts(db);
  const after = now();
  const skew = time.getTime() - (before + after) / 2;
  // Nobody knows when during a slow answer PostgreSQL read its clock.
  if (Math.abs(skew) > SKEW_MS + (after - before) / 2)
    return [
      warning(
        `The clock of this machine and that of PostgreSQL differ by ${(skew / 1000).toFixed(1)} s`,
        'Synchronise both clocks, for example with chrony: timedatectl set-ntp true',
      ),
    ];
  return [ok(`It differs by ${Math.abs(skew / 1000).toFixed(1)} s`)];
}
