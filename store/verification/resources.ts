import type { VerificationReport, VerifiedKind } from '../../domain/verification/report.js';
import type { DbOrTransaction } from '../database.js';
import { loadVerifications, TABLE_BY_KIND } from './reports.js';

/** A resource to verify: the input of its workflow. */
export interface ResourceToVerify {
  kind: VerifiedKind;
  id: string;
  name: string;
}

/** A provider with its connections and their flows; the provider comes first. */
export async function listProviderParts(db: DbOrTransaction, providerId: string): Promise<ResourceToVerify[]> {
  const providers = await db
    .selectFrom('providers')
    .select(['id', 'name'])
    .where('id', '=', providerId)
    .where('time_deleted', 'is', null)
    .execute();
  const storage = await db
    .selectFrom('storage_connections')
    .select(['id', 'name'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
  const compute = await db
    .selectFrom('compute_connections')
    .select(['id', 'name'])
    .where('provider_id', '=', providerId)
    .where('time_deleted', 'is', null)
    .orderBy('id')
    .execute();
  const flows =
    compute.length === 0
      ? []
      : await db
          .selectFrom('flows')
          .select(['id', 'name'])
          .where(
            'compute_connection_id',
            'in',
            compute.map((row) => row.id),
          )
          .where('time_deleted', 'is', null)
          .orderBy('id')
          .execute();
  const of = (kind: VerifiedKind, rows: { id: string; name: string }[]): ResourceToVerify[] =>
    rows.map((row) => ({ kind, ...row }));
  return [
    ...of('provider', providers),
    ...of('storageConnection', storage),
    ...of('computeConnection', compute),
    ...of('flow', flows),
  ];
}

/**
 * The provider and those of its connections and flows whose last verification got no session that polony may use: AWS
 * gave none, or the role could be assumed without its external ID.
 */
export async function listWithoutSession(db: DbOrTransaction, providerId: string): Promise<ResourceToVerify[]> {
  const parts = await listProviderParts(db, providerId);
  const ids = parts.map(({ id }) => id);
  const withoutSession = new Set(
    (await loadVerifications(db, ids)).filter(({ report }) => !gotUsableSession(report)).map(({ id }) => id),
  );
  return parts.filter(({ id }) => withoutSession.has(id));
}

function gotUsableSession({ sessionSeconds, findings }: VerificationReport): boolean {
  const isRefused = findings.some(({ code, severity }) => code === 'EXTERNAL_ID_IGNORED' && severity === 'error');
  return sessionSeconds !== null && !isRefused;
}

/** Resources that were never verified, or not since their last change. For the sweep. */
export async function listUnverified(db: DbOrTransaction, changedBefore: Date): Promise<ResourceToVerify[]> {
  const found: ResourceToVerify[] = [];
  for (const [kind, table] of Object.entries(TABLE_BY_KIND) as [VerifiedKind, (typeof TABLE_BY_KIND)[VerifiedKind]][]) {
    const rows = await db
      .selectFrom(table)
      .select(['id', 'name'])
      .where('time_deleted', 'is', null)
      .where('time_updated', '<', changedBefore)
      .where((where) =>
        where.or([where('time_verified', 'is', null), where('time_verified', '<', where.ref('time_updated'))]),
      )
      .orderBy('id')
      .limit(200)
      .execute();
    found.push(...rows.map((row) => ({ kind, ...row })));
  }
  return found;
}

const PAGE = 500;

/** All resources that are not deleted. Reads them page by page. */
export async function* iterateResourcesToVerify(db: DbOrTransaction): AsyncGenerator<ResourceToVerify> {
  for (const [kind, table] of Object.entries(TABLE_BY_KIND) as [VerifiedKind, (typeof TABLE_BY_KIND)[VerifiedKind]][]) {
    for (let after = '00000000-0000-0000-0000-000000000000'; ;) {
      const rows = await db
        .selectFrom(table)
        .select(['id', 'name'])
        .where('time_deleted', 'is', null)
        .where('id', '>', after)
        .orderBy('id')
        .limit(PAGE)
        .execute();
      for (const row of rows) yield { kind, ...row };
      if (rows.length < PAGE) break;
      after = rows.at(-1)!.id;
    }
  }
}
