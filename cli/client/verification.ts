import type { Schema } from '../../client/index.js';
import { CliError, EXIT } from './exit.js';
import { cell, column, listTable } from './output.js';
import type { Profile } from './profiles.js';
import { request } from './requests.js';

type Report = Schema<'Verification'>;

/** Where the reports of a kind are. */
const PATHS: Readonly<Record<Report['kind'], string>> = {
  provider: '/v1/providers/{id}/verification',
  storageConnection: '/v1/storage-connections/{id}/verification',
  computeConnection: '/v1/compute-connections/{id}/verification',
  flow: '/v1/flows/{id}/verification',
};
/** How long to wait for a verification, and how often to look, in milliseconds. */
const TIMES = { limit: 300_000, poll: 500 };

const RESULTS = ['denied', 'unknown', 'granted'] as const;

function section(title: string, rows: readonly object[], columns: Parameters<typeof listTable>[1]): string[] {
  return rows.length === 0 ? [] : ['', title, listTable(rows, columns, true)];
}

/** The permissions, with problems first. */
function permissionTable({ permissions, kind }: Report): string[] {
  const rows = RESULTS.flatMap((result) => permissions.filter((each) => each.result === result));
  return section('Permissions', rows, [
    column('result'),
    column('action'),
    column('requirement', 'NEED'),
    column('resource'),
    ...(kind === 'provider' ? [column('of')] : []),
    column('error.code', 'ERROR'),
  ]);
}

/** What to do about what is denied: the words of the API, then statements to paste. */
function remedies({ permissions }: Report): string[] {
  const denied = permissions.filter(({ result }) => result === 'denied');
  const texts = denied.filter(({ remedy }) => remedy !== null).map((each) => `- ${each.action}: ${cell(each.remedy)}`);
  const statements = denied.map(({ statement }) => statement).filter((each) => each !== null && each !== undefined);
  return [
    ...(texts.length === 0 ? [] : ['', 'What to do', ...new Set(texts)]),
    ...(statements.length === 0
      ? []
      : ['', 'Statements that grant what is denied', JSON.stringify(statements, undefined, 2)]),
  ];
}

/** Writes a verification report for people. */
export function verificationTable(report: Report): string {
  const { status, description, timeCompleted, parts, capabilities, findings } = report;
  // polony verifies a connection again by itself when AWS denies it something, so a part can be newer than its provider.
  const newest = [timeCompleted, ...parts.map((part) => part.timeCompleted)].sort().at(-1);
  return [
    `${cell(status)} at ${cell(newest)}: ${cell(description)}`,
    ...section('Parts', parts, [
      column('kind'),
      column('name'),
      column('status'),
      column('timeCompleted', 'VERIFIED'),
      column('description'),
    ]),
    ...section('Capabilities', capabilities, [
      column('capability'),
      column('state'),
      column('missing'),
      column('unknown'),
    ]),
    ...permissionTable(report),
    ...section('Findings', findings, [column('severity'), column('code'), column('message'), column('remedy')]),
    ...remedies(report),
  ].join('\n');
}

async function loadReport(api: Profile, kind: Report['kind'], id: string): Promise<Report | undefined> {
  try {
    const answer = await request(api, 'GET', PATHS[kind], { path: { id } });
    return (answer as { verification: Report }).verification;
  } catch (error) {
    if (error instanceof CliError && error.exit === EXIT.notFound) return undefined;
    throw error;
  }
}

interface Verified {
  kind: Report['kind'];
  id: string;
}

/** Waits for a report that is newer than one. @throws CliError `unavailable` after five minutes */
async function waitForNewReport(api: Profile, { kind, id }: Verified, before: string | undefined): Promise<Report> {
  for (const end = Date.now() + TIMES.limit; Date.now() < end;) {
    const report = await loadReport(api, kind, id);
    if (report !== undefined && report.timeCompleted !== before) return report;
    await new Promise((resolve) => setTimeout(resolve, TIMES.poll));
  }
  throw new CliError(
    `The verification has no result after ${TIMES.limit / 60_000} minutes. It continues; check that a worker runs`,
    EXIT.unavailable,
  );
}

/** The provider, connections and flows that an answer says it verifies: `verify/<kind>/<id>`. */
function verifiedIn(answer: unknown): Verified[] {
  const { workflowIds = [] } = (answer ?? {}) as { workflowIds?: string[] };
  return workflowIds.flatMap((workflowId) => {
    const [, kind = '', id] = /^verify\/([a-z-]+)\/(.+)$/.exec(workflowId) ?? [];
    const name = kind.replace(/-([a-z])/g, (_, letter: string) => letter.toUpperCase());
    return id === undefined || !Object.hasOwn(PATHS, name) ? [] : [{ kind: name as Report['kind'], id }];
  });
}

/**
 * Starts a verification and waits for its report: that of a provider includes those of its connections and flows.
 * @param start requests the verification
 */
export async function verifyAndWait(api: Profile, verified: Verified, start: () => Promise<unknown>): Promise<Report> {
  const own = await loadReport(api, verified.kind, verified.id);
  const before = new Map([[verified.id, own?.timeCompleted]]);
  for (const { kind, id } of own?.parts ?? [])
    if (id !== verified.id) before.set(id, (await loadReport(api, kind, id))?.timeCompleted);
  const parts = verifiedIn(await start()).filter(({ id }) => id !== verified.id);
  // What has no report yet is verified for the first time: any report of it will do.
  for (const part of [verified, ...parts]) await waitForNewReport(api, part, before.get(part.id));
  return (await loadReport(api, verified.kind, verified.id))!;
}
