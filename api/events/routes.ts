import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox';
import type { FastifyBaseLogger, FastifyInstance } from 'fastify';
import { Type } from 'typebox';
import { parseEvent, locateRunFolder, type BucketOrRunEvent } from '../../domain/events/event.js';
import { parseRunFolderName } from '../../domain/runs/runFolder.js';
import { RUN_UPLOADED_FILE } from '../../domain/runs/runUploaded.js';
import { wakeWatcher } from '../../store/events.js';
import { listStorageConnectionsInBucket } from '../../store/connections/storage.js';
import { findKnownRuns } from '../../store/runs/discovery.js';
import { reopenRun } from '../../store/runs/update.js';
import type { ApiDependencies } from '../dependencies.js';
import { withTimeout, loggableError } from '../errors.js';
import { requireScope } from '../plugins/auth.js';
import { BODY, errors } from '../openapi/shared.js';

/** Least time between two looks that events ask for at the same thing; the last event counts. */
const APART_MS = 1000;
/** As many things as are remembered for that. */
const REMEMBERED = 10_000;

/** Run folders that nobody knows yet are looked for this often at once, and a second, in one storage connection. */
const UNKNOWN_AT_ONCE = 20;
const UNKNOWN_PER_SECOND = 1;

/** So many at once, and as many more as time passes; for what each forged event could make up anew. */
class Allowance {
  readonly #left = new Map<string, { count: number; at: number }>();

  take(what: string): boolean {
    const now = Date.now();
    const last = this.#left.get(what) ?? { count: UNKNOWN_AT_ONCE, at: now };
    const count = Math.min(UNKNOWN_AT_ONCE, last.count + ((now - last.at) / 1000) * UNKNOWN_PER_SECOND);
    this.#left.set(what, { count: count < 1 ? count : count - 1, at: now });
    return count >= 1;
  }
}

/** Lets the first of a flood through at once and the last after a while, and drops the rest. */
class Gate {
  readonly #last = new Map<string, { at: number; timer?: NodeJS.Timeout }>();

  /** @returns whether `work` was started now; else it is started later, or is to be started already. */
  through(what: string, work: () => void): boolean {
    const now = Date.now();
    const last = this.#last.get(what);
    if (last === undefined || (last.timer === undefined && now - last.at >= APART_MS)) {
      if (this.#last.size >= REMEMBERED)
        for (const [key, each] of this.#last) if (each.timer === undefined) this.#last.delete(key);
      this.#last.set(what, { at: now });
      work();
      return true;
    }
    last.timer ??= setTimeout(
      () => {
        this.#last.set(what, { at: Date.now() });
        work();
      },
      Math.max(0, last.at + APART_MS - now),
    ).unref();
    return false;
  }
}

/**
 * Events of EventBridge, by an API destination. They only have what they tell of looked at: forged, repeated, late and unknown ones
 * do no harm. The answer is the same for all, so that nothing can be learnt from it.
 */
export function eventRoutes(scope: FastifyInstance, { db, orchestrator }: ApiDependencies): void {
  const app = scope.withTypeProvider<TypeBoxTypeProvider>();
  const gate = new Gate();
  const unknown = new Allowance();

  async function aboutObject({ bucket, key }: Extract<BucketOrRunEvent, { kind: 'object' }>): Promise<void> {
    for (const storage of await listStorageConnectionsInBucket(db, bucket)) {
      if (!storage.use_for_run_upload) continue;
      const found = locateRunFolder(key, storage.prefix, storage.run_depth);
      const instrument = found?.parentPath.slice(found.parentPath.lastIndexOf('/') + 1);
      if (found === undefined || parseRunFolderName(found.runFolder, instrument) === undefined) continue;
      const { parentPath, runFolder, file } = found;
      const run = (await findKnownRuns(db, storage.id, parentPath, [runFolder])).get(runFolder);
      const names = { storageConnectionId: storage.id, storageConnectionName: storage.name };
      // Beyond that the search finds it.
      if (run === undefined && !unknown.take(storage.id)) continue;
      if (run === undefined)
        await withTimeout(orchestrator.discoverFolder({ ...names, only: { parentPath, runFolder } }));
      else if (
        run.uploadState === 'uploading' ||
        (run.uploadState !== 'complete' && file === RUN_UPLOADED_FILE && (await reopenRun(db, run.id)))
      ) {
        // An end that was replaced counts anew.
        const looked =
          run.uploadState === 'uploading' &&
          (await withTimeout(orchestrator.lookAtRunUpload(storage.id, parentPath, runFolder)));
        if (!looked)
          await withTimeout(
            orchestrator.startRunUpload({
              ...names,
              runId: run.id,
              instrumentName: instrument!,
              parentPath,
              runFolder,
              runName: run.runName,
            }),
          );
      }
    }
  }

  function handle(log: FastifyBaseLogger, told: BucketOrRunEvent): Promise<void> | undefined {
    let now: Promise<void> | undefined;
    const work = async (): Promise<void> => {
      try {
        if (told.kind === 'object') await aboutObject(told);
        else await wakeWatcher(db, told);
      } catch (error) {
        // Polling finds it all the same.
        log.warn({ error: loggableError(error), event: told.kind }, 'an event could not be followed');
      }
    };
    const what = told.kind === 'object' ? `${told.bucket}/${told.key}` : `${told.account}/${told.region}/${told.runId}`;
    gate.through(what, () => void (now = work()));
    return now;
  }

  app.post(
    '/v1/events',
    {
      config: requireScope('events:write', undefined, { audit: false }),
      bodyLimit: 256 * 1024,
      schema: {
        operationId: 'EventService_TakeEvent',
        tags: ['EventService'],
        summary: 'Take an event of EventBridge',
        description:
          'S3 Object Created and aws.omics Run Status Change have the run or the execution looked at now; all others are taken and nothing happens. POLONY_EVENTS_KEY is a key for this alone.',
        body: Type.Object(
          {
            source: Type.String({ maxLength: 256 }),
            'detail-type': Type.String({ maxLength: 256 }),
            detail: Type.Unsafe<Record<string, unknown>>({ type: 'object', additionalProperties: true }),
          },
          {
            additionalProperties: true,
            examples: [
              {
                source: 'aws.s3',
                'detail-type': 'Object Created',
                account: '111122223333',
                region: 'us-west-2',
                detail: {
                  bucket: { name: 'lab-aviti' },
                  object: { key: 'runs/AV240001/20260115_AV240001_RUN/RunUploaded.json', size: 212 },
                },
              },
            ],
          },
        ),
        response: {
          202: Type.Object({ accepted: Type.Boolean() }, { additionalProperties: false, description: 'Taken' }),
          ...errors(...BODY),
        },
      },
    },
    async (request, reply) => {
      const told = parseEvent(request.body);
      if (told !== undefined) await handle(request.log, told);
      return reply.code(202).send({ accepted: true });
    },
  );
}
