import { getBucketPolicy } from '../../aws/bucketPolicy.js';
import { classifyAwsError } from '../../aws/errors.js';
import {
  type BucketPolicy,
  foreignStatements,
  grantSids,
  grantStanding,
  parseBucketPolicy,
} from '../../domain/grants/bucketPolicy.js';
import type { ReconcileNote } from '../../domain/reconcile/report.js';
import { type GrantRow, toGrant } from '../../store/grants/load.js';
import { holdGrant, listGrantsOfBucket } from '../../store/grants/reconcile.js';
import { countRestored } from '../../store/reconcile/counts.js';
import { listRecordPlaces, type RecordPlace } from '../../store/reconcile/places.js';
import { listRegisteredRuns } from '../../store/runs/discovery.js';
import type { Orchestrator } from '../../temporal/client.js';
import type { Dependencies } from '../dependencies.js';
import type { AwsTruth } from './awsTruth.js';

/** Something besides executions, and what is to be done about it. */
interface SurroundingPlan {
  note: ReconcileNote;
  /** Absent where only a person can do something. */
  apply?: () => Promise<unknown>;
}

/** What is asked of Temporal about everything but executions. */
export interface SurroundingOrchestrator {
  schedules: Pick<Orchestrator['schedules'], 'isMissing' | 'ensureVerification'>;
  runs: Pick<Orchestrator['runs'], 'isFollowed' | 'startUpload'>;
  grants: Pick<Orchestrator['grants'], 'isAtWork'>;
}

export interface SurroundingSettings {
  verifySeconds: number;
}

/** Younger requests of grants are left to the process that made them. */
const GRANT_GRACE_MS = 120_000;

/** Plans what is to be done about the schedule, uploads, grants, webhooks and keys. Planning changes nothing. */
export async function planSurroundings(
  db: Dependencies['db'],
  orchestrator: SurroundingOrchestrator,
  settings: SurroundingSettings,
  truth: AwsTruth,
): Promise<SurroundingPlan[]> {
  return [
    ...(await planSchedule(orchestrator.schedules, settings)),
    ...(await planUploads(db, orchestrator.runs)),
    ...(await planGrants(db, orchestrator.grants, truth)),
    ...(await describeRestored(db)),
  ];
}

async function planSchedule(
  schedules: SurroundingOrchestrator['schedules'],
  { verifySeconds }: SurroundingSettings,
): Promise<SurroundingPlan[]> {
  if (!(await schedules.isMissing())) return [];
  return [
    {
      note: { subject: 'schedules', kind: 'changed', text: 'The verification is scheduled again' },
      apply: () => schedules.ensureVerification(verifySeconds),
    },
  ];
}

/** The search finds the uploads of other runs. */
async function planUploads(db: Dependencies['db'], runs: SurroundingOrchestrator['runs']): Promise<SurroundingPlan[]> {
  const plans: SurroundingPlan[] = [];
  for (const run of await listRegisteredRuns(db, new Date()))
    if (!(await runs.isFollowed(run)))
      plans.push({
        note: {
          subject: 'runs',
          kind: 'changed',
          text: `The upload of the registered run ${run.runName} is followed again`,
        },
        apply: () => runs.startUpload(run),
      });
  return plans;
}

/** Compares grants with the policies. Only holds grants back: nobody gets access that they did not have. */
async function planGrants(
  db: Dependencies['db'],
  workflows: SurroundingOrchestrator['grants'],
  truth: AwsTruth,
): Promise<SurroundingPlan[]> {
  const plans: SurroundingPlan[] = [];
  const buckets = new Map((await listRecordPlaces(db)).map((place) => [place.bucket, place]));
  for (const place of buckets.values()) {
    const grants = await listGrantsOfBucket(db, place.bucket);
    const policy = await readPolicy(truth, place);
    if (typeof policy === 'string') {
      if (grants.length > 0) plans.push({ note: describeUnreadable(place, grants.length, policy) });
      continue;
    }
    const known = new Set(grants.flatMap((grant) => grantSids(toGrant(grant))));
    const foreign = new Set(foreignStatements(policy, known).map(({ principal, sid }) => principal ?? sid));
    for (const principal of foreign) plans.push({ note: describeForeign(place, principal) });
    const isAtWork = grants.length > 0 && (await workflows.isAtWork(place.bucket));
    for (const grant of grants) {
      const plan = planGrant(db, place, grant, policy, isAtWork);
      if (plan !== undefined) plans.push(plan);
    }
  }
  return plans;
}

/** @returns why the policy cannot be read, where it cannot. */
async function readPolicy(truth: AwsTruth, place: RecordPlace): Promise<BucketPolicy | string> {
  try {
    return parseBucketPolicy(await truth.use(place.providerId, () => getBucketPolicy(truth.s3(place), place.bucket)));
  } catch (error) {
    return classifyAwsError(error).message;
  }
}

function describeUnreadable({ bucket, name }: RecordPlace, grants: number, why: string): ReconcileNote {
  return {
    subject: 'grants',
    kind: 'attention',
    text: `The policy of ${bucket} cannot be compared with its ${grants} grants: ${why}`,
    todo: `polony storage verify ${name}`,
  };
}

function describeForeign({ bucket, name }: RecordPlace, principal: string): ReconcileNote {
  return {
    subject: 'grants',
    kind: 'attention',
    text:
      `The policy of ${bucket} lets ${principal} read, and the database has no such grant: it was given after the ` +
      'backup, or by somebody else. The policy stays as it is',
    todo: `polony storage grants ${name}; then grant it in polony too, or remove the statement from the policy`,
  };
}

function planGrant(
  db: Dependencies['db'],
  { bucket, name }: RecordPlace,
  grant: GrantRow,
  policy: BucketPolicy,
  isAtWork: boolean,
): SurroundingPlan | undefined {
  const standing = grantStanding(policy, toGrant(grant));
  const isOld = Date.now() - grant.time_updated.getTime() > GRANT_GRACE_MS;
  if (grant.state === 'pending' && standing === 'missing' && isOld && !isAtWork)
    return {
      note: {
        subject: 'grants',
        kind: 'changed',
        text:
          `The grant of ${bucket} for ${grant.principal} was waiting in the backup, and the policy does not have it. ` +
          'It is held back, because somebody may have removed it since',
        todo: `polony storage grant-repair ${name} ${grant.id}, or grant-remove`,
      },
      apply: () => holdGrant(db, grant),
    };
  if (grant.state !== 'active' || standing === 'whole') return undefined;
  return {
    note: {
      subject: 'grants',
      kind: 'attention',
      text:
        `The database has a grant of ${bucket} for ${grant.principal}, and the policy ` +
        `${standing === 'missing' ? 'does not have it' : 'has another one'}. polony gives no access by itself`,
      todo: `polony storage grant-remove ${name} ${grant.id}, or grant-repair`,
    },
  };
}

async function describeRestored(db: Dependencies['db']): Promise<SurroundingPlan[]> {
  const { keys, deliveries, webhooks } = await countRestored(db);
  const plans: SurroundingPlan[] = [];
  if (keys > 0)
    plans.push({
      note: {
        subject: 'keys',
        kind: 'info',
        text: `${keys} API keys are valid. Keys that were revoked after the backup are valid again`,
        todo: 'polony keys list, and revoke again what was revoked',
      },
    });
  if (deliveries > 0)
    plans.push({
      note: {
        subject: 'webhooks',
        kind: 'info',
        text:
          `${deliveries} webhook deliveries are open. Those that were delivered after the backup are sent again, with ` +
          'the same event IDs',
      },
    });
  if (webhooks > 0)
    plans.push({
      note: {
        subject: 'webhooks',
        kind: 'info',
        text:
          `${webhooks} webhooks are enabled, with the signing secrets of the backup. Executions that come back, or whose ` +
          'status changes, send events with new event IDs, which receivers may have had before',
      },
    });
  return plans;
}
