import { type Command, InvalidArgumentError } from 'commander';
import type { ChainHead } from '../store/auditChain.js';

/** Adds `polony audit verify`, which reads the database itself: the API is not what proves its own log. */
export function addAuditVerify(program: Command): void {
  program.commands
    .find((command) => command.name() === 'audit')
    ?.command('verify')
    .description('check in the database (DATABASE_URL) that nobody changed, removed or added entries of the audit log')
    .option('--anchor <head>', 'the head that an earlier check printed, which must still be part of the log', parseHead)
    .action(auditVerify);
}

function parseHead(text: string): ChainHead {
  const [, number, hash] = /^(\d{1,15}):([0-9a-f]{64})$/.exec(text) ?? [];
  if (number === undefined || hash === undefined)
    throw new InvalidArgumentError('must be the head that polony audit verify printed, such as 12:9f86d0…');
  return { number: Number(number), hash };
}

/** Prints the head of the log, or what is wrong with the log. The exit code is 1 then. */
async function auditVerify({ anchor }: { anchor?: ChainHead }): Promise<void> {
  // The other commands do not need the database.
  const [{ verifyAuditChain }, { openDatabase }, { parseDatabaseUrl }] = await Promise.all([
    import('../store/auditChain.js'),
    import('../store/database.js'),
    import('./settings/parse.js'),
  ]);
  const db = openDatabase(parseDatabaseUrl(process.env), 1);
  try {
    const { links, head, problems } = await verifyAuditChain(db, anchor);
    for (const problem of problems) process.stderr.write(`${problem}\n`);
    if (problems.length > 0) {
      process.stderr.write('The audit log is not as polony wrote it. Compare it with a backup.\n');
      process.exitCode = 1;
      return;
    }
    process.stdout.write(`The audit log is intact: ${links} entries and outcomes. Head: ${head.number}:${head.hash}\n`);
  } finally {
    await db.destroy();
  }
}
