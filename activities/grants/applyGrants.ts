import { ApplicationFailure } from '@temporalio/common';
import { explainGonePrincipal } from '../../domain/grants/gonePrincipals.js';
import { bucketArn } from '../../domain/iam/permissions.js';
import { partitionOf } from '../../domain/regions.js';
import type { Db } from '../../store/database.js';
import type { GrantRow } from '../../store/grants/load.js';
import { type GrantStorage, loadGrantStorage, recordGrantOutcome } from '../../store/grants/policyChanges.js';
import { recordEvidence } from '../../store/verification/evidence.js';
import type { Dependencies } from '../dependencies.js';
import { type NotePermission, PolicyChange, PolicyRejectedTogether, type TaskOutcome } from './policyChange.js';
import { addNextStep, explainPolicyError, GrantRejected } from './rejection.js';
import { findTask, type GrantTask, STATE_AFTER } from './tasks.js';

type GrantDependencies = Pick<Dependencies, 'aws' | 'orchestrator'>;
type Tasks = [GrantTask, ...GrantTask[]];

/** Errors that may be about one of several changes. Others, such as no connection, are about all. */
const PERHAPS_OF_ONE = ['AwsInternal', 'Unexpected'];

/**
 * Does what is to be done for grants of one bucket now, in as few writes of its policy as possible, and records how that
 * ended.
 * @param connection holds the lock on the bucket's policy.
 * @returns the errors by grant, where another attempt may succeed.
 */
export async function applyGrants(
  dependencies: GrantDependencies,
  connection: Db,
  rows: readonly GrantRow[],
): Promise<Map<string, unknown>> {
  const errors = new Map<string, unknown>();
  const tasks: GrantTask[] = [];
  for (const row of rows) {
    const task = findTask(row);
    if (task === undefined) continue;
    // A grant that was never sent is in no policy.
    if (task.isWanted || task.mayHaveWritten) tasks.push(task);
    else await recordGrantOutcome(connection, row, STATE_AFTER[task.kind]);
  }
  for (const { storage, tasks: group } of await groupByProvider(connection, tasks)) {
    const { bucket } = group[0].row;
    for (const [task, error] of await new Group(dependencies, connection, bucket, storage).apply(group))
      errors.set(task.row.id, error);
  }
  return errors;
}

/** Storage connections of one bucket may have different providers, with different permissions. */
async function groupByProvider(
  connection: Db,
  tasks: readonly GrantTask[],
): Promise<Iterable<{ storage: GrantStorage; tasks: Tasks }>> {
  const groups = new Map<string, { storage: GrantStorage; tasks: Tasks }>();
  for (const task of tasks) {
    const storage = await loadGrantStorage(connection, task.row.storage_connection_id);
    const key = `${storage.providerId} ${storage.region}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { storage, tasks: [task] });
    else group.tasks.push(task);
  }
  return groups.values();
}

/** Changes of one policy that one provider makes. */
class Group {
  constructor(
    private readonly dependencies: GrantDependencies,
    private readonly connection: Db,
    private readonly bucket: string,
    private readonly storage: GrantStorage,
  ) {}

  /**
   * Makes all changes in one write. Where that fails and one of them may be at fault, it makes each alone.
   * @returns the errors where another attempt may succeed.
   */
  async apply(tasks: Tasks): Promise<Map<GrantTask, unknown>> {
    const { aws } = this.dependencies;
    const { providerId, region } = this.storage;
    const change = new PolicyChange(this.connection, aws.s3(providerId, region), tasks, this.#notePermission);
    let error: unknown;
    try {
      await aws.use(providerId, () => change.apply());
    } catch (failure) {
      error = this.#explain(failure, tasks);
    }
    for (const [task, outcome] of change.outcomes) await this.#record(task, outcome);
    const left = tasks.filter((task) => !change.outcomes.has(task));
    if (tasks.length > 1 && isPerhapsOfOne(error)) return this.#applyEach(left);
    const errors = new Map<GrantTask, unknown>();
    for (const task of left) {
      if (error instanceof GrantRejected)
        await this.#record(task, { is: 'rejected', problem: addNextStep(error.problem, task.kind) });
      else if (error !== undefined) {
        await this.#recordUnavailable(task, error);
        errors.set(task, error);
      }
    }
    return errors;
  }

  async #applyEach(tasks: readonly GrantTask[]): Promise<Map<GrantTask, unknown>> {
    const errors = new Map<GrantTask, unknown>();
    for (const task of tasks) for (const [failed, error] of await this.apply([task])) errors.set(failed, error);
    return errors;
  }

  /** What it means that there was no session, or that a change was not made. */
  #explain(error: unknown, [{ row }]: Tasks): unknown {
    if (error instanceof PolicyRejectedTogether || error instanceof ApplicationFailure) return error;
    const { bucket, partition } = row;
    return explainPolicyError(error, { action: 's3:GetBucketPolicy', bucket, partition, principals: [], ownSids: [] });
  }

  async #record({ kind, row }: GrantTask, outcome: TaskOutcome): Promise<void> {
    switch (outcome.is) {
      case 'superseded':
        return;
      case 'done':
        return recordGrantOutcome(this.connection, row, STATE_AFTER[kind], {
          written: outcome.written,
          ...(kind === 'drop' && {
            problem: explainGonePrincipal(row.principal, outcome.gonePrincipals, true),
            isInPolicy: false,
          }),
        });
      case 'rejected': {
        const state = kind === 'grant' ? 'failed' : row.state;
        return recordGrantOutcome(this.connection, row, state, { problem: outcome.problem });
      }
    }
  }

  async #recordUnavailable({ row }: GrantTask, error: unknown): Promise<void> {
    const message = error instanceof Error ? error.message : String(error);
    await recordGrantOutcome(this.connection, row, row.state, {
      problem: { kind: 'UNAVAILABLE', message, remedy: 'polony tries again automatically.' },
    });
  }

  readonly #notePermission: NotePermission = async (action, error) => {
    const { orchestrator } = this.dependencies;
    const { id, name, providerId, region } = this.storage;
    const resource = bucketArn(this.bucket, partitionOf(region));
    const isNews = await recordEvidence(this.connection, providerId, action, resource, error);
    if (!isNews) return;
    // Where this fails, the next verification reports it.
    await orchestrator.verification.verify({ kind: 'storageConnection', id, name }).catch(() => undefined);
  };
}

function isPerhapsOfOne(error: unknown): boolean {
  return (
    error instanceof PolicyRejectedTogether ||
    (error instanceof ApplicationFailure && PERHAPS_OF_ONE.includes(error.type ?? ''))
  );
}
