import { createHash } from 'node:crypto';
import { sql } from 'kysely';
import type { Db, DbTransaction } from './database.js';

/** The end of the hash chain. Whoever keeps a copy elsewhere can tell later that nothing before it has changed. */
export interface ChainHead {
  /** 0 for an empty log. */
  number: number;
  /** In hexadecimal digits. */
  hash: string;
}

/** What {@link verifyAuditChain} found. */
interface ChainReport {
  /** The checked links: one for each entry, and one for each outcome. */
  links: number;
  head: ChainHead;
  /** What is wrong, as sentences; the first {@link MOST_PROBLEMS}. Empty for an intact log. */
  problems: string[];
}

/** How many problems a report names at most. */
const MOST_PROBLEMS = 20;
/** How many links one query reads. */
const BATCH = 2000;
const EMPTY_HEAD: ChainHead = { number: 0, hash: '0'.repeat(64) };

/**
 * Checks that the audit log is as it was written: computes every hash of the chain again, and compares the entries and
 * outcomes with the chain. It does so in this process, because functions in the database could have been replaced.
 *
 * The owner of the tables can compute a whole new chain. Only a head that was kept elsewhere reveals that.
 * @param anchor a head from an earlier report
 */
export async function verifyAuditChain(db: Db, anchor?: ChainHead): Promise<ChainReport> {
  return db
    .transaction()
    .setIsolationLevel('repeatable read')
    .setAccessMode('read only')
    .execute(async (transaction) => {
      const check = new ChainCheck(anchor);
      for (let rows = await readLinks(transaction, 0); rows.length > 0;) {
        for (const row of rows) check.add(row);
        rows = await readLinks(transaction, check.head.number);
      }
      for (const unchained of await listUnchained(transaction)) check.report(unchained);
      return check.finish();
    });
}

/** A link of the chain with the fields of its entry or outcome, as text. `fields` is null where that is missing. */
interface Link {
  number: string;
  source: 'entry' | 'outcome';
  audit_id: string;
  hash: Buffer;
  fields: (string | null)[] | null;
}

async function readLinks(transaction: DbTransaction, after: number): Promise<Link[]> {
  const time = (column: string) => sql`to_char(${sql.ref(column)} at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US')`;
  const { rows } = await sql<Link>`
    select c.number, c.source, c.audit_id, c.hash,
      case
        when c.source = 'entry' and a.id is not null then array[
          a.id::text, ${time('a.time')}, a.request_id, a.caller_kind, a.caller_id, a.caller_name, a.address, a.action,
          a.resource_type, a.resource_id, a.detail::text]
        when c.source = 'outcome' and o.audit_id is not null then array[
          o.audit_id::text, ${time('o.time')}, o.status::text, o.reason, o.resource_id, o.detail::text]
      end as fields
    from audit_chain c
    left join audit_log a on c.source = 'entry' and a.id = c.audit_id
    left join audit_outcomes o on c.source = 'outcome' and o.audit_id = c.audit_id
    where c.number > ${after}
    order by c.number
    limit ${BATCH}`.execute(transaction);
  return rows;
}

/** Entries and outcomes that no link names: somebody added them while the triggers were off. */
async function listUnchained(transaction: DbTransaction): Promise<string[]> {
  const { rows } = await sql<{ source: string; id: string }>`
    (select 'entry' as source, id from audit_log a
     where not exists (select from audit_chain c where c.source = 'entry' and c.audit_id = a.id) limit ${MOST_PROBLEMS})
    union all
    (select 'outcome', audit_id from audit_outcomes o
     where not exists (select from audit_chain c where c.source = 'outcome' and c.audit_id = o.audit_id)
     limit ${MOST_PROBLEMS})`.execute(transaction);
  return rows.map(({ source, id }) => `The chain has no link for the ${source} ${id}: somebody added it past polony.`);
}

/** Follows the chain, link by link. */
class ChainCheck {
  head: ChainHead = EMPTY_HEAD;
  #links = 0;
  readonly #problems: string[] = [];
  #isAnchorSeen: boolean;

  constructor(private readonly anchor: ChainHead | undefined) {
    this.#isAnchorSeen = anchor === undefined || anchor.number === 0;
  }

  add({ number: digits, source, audit_id: id, hash, fields }: Link): void {
    const number = Number(digits);
    if (number !== this.head.number + 1)
      this.report(`The links ${this.head.number + 1} to ${number - 1} of the chain are missing.`);
    if (fields === null) this.report(`The ${source} ${id} (link ${number}) was removed.`);
    else if (!hash.equals(nextHash(this.head.hash, source, fields)))
      this.report(`The ${source} ${id} (link ${number}) or a link before it was changed: the hash does not match.`);
    this.head = { number, hash: hash.toString('hex') };
    this.#links++;
    if (this.anchor?.number !== number) return;
    this.#isAnchorSeen = true;
    if (this.anchor.hash !== this.head.hash)
      this.report(`The hash of link ${number} differs from your anchor: the chain was computed anew.`);
  }

  report(problem: string): void {
    if (this.#problems.length < MOST_PROBLEMS) this.#problems.push(problem);
  }

  finish(): ChainReport {
    if (!this.#isAnchorSeen)
      this.report(
        `The chain ends at link ${this.head.number} and does not reach your anchor ${this.anchor!.number}: ` +
          'its end was cut off, or an older backup was restored.',
      );
    return { links: this.#links, head: this.head, problems: this.#problems };
  }
}

/** The same as `append_to_audit_chain` of the migration 0017. */
function nextHash(previous: string, source: string, fields: readonly (string | null)[]): Buffer {
  const content = fields.map((field) => (field === null ? '-' : `${Buffer.byteLength(field)}:${field}`)).join('');
  return createHash('sha256').update(Buffer.from(previous, 'hex')).update(`${source}${content}`).digest();
}
