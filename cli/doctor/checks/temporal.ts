import { errorMessage } from '../../../domain/errors.js';
import {
  compareSearchAttributes,
  listPollers,
  type Poller,
  readNamespace,
  readServerVersion,
} from '../../../temporal/doctor.js';
import { toConnectionOptions } from '../../../temporal/connection.js';
import { Deployments } from '../../../temporal/deployments.js';
import type { WorkerConfig } from '../../../domain/settings.js';
import { SEARCH_ATTRIBUTES } from '../../../workflows/messages/searchAttributes.js';
import { taskQueues } from '../../../workflows/messages/taskQueues.js';
import type { DoctorContext } from '../context.js';
import { type Check, failure, NeedsError, ok, warning } from '../finding.js';

/** With a shorter retention, an hour's restore may find closed workflows gone (docs/operations). */
const SHORT_RETENTION_HOURS = 24;
/** A poll takes at most a minute, so a worker that was not seen for longer is gone. */
const POLLED_WITHIN_MS = 90_000;
/** gRPC codes: denied, and unimplemented. Temporal Cloud does not let its users list search attributes. */
const NOT_ALLOWED: readonly unknown[] = [7, 12];

/** The checks of Temporal. */
export function temporalChecks(context: DoctorContext): Check[] {
  return [
    // Opening a connection alone may take 10 s, and its retries as long again.
    { name: 'Temporal', run: () => checkServer(context), timeoutMs: 30_000 },
    { name: 'namespace', run: () => checkNamespace(context) },
    { name: 'search attributes', run: () => checkSearchAttributes(context) },
    { name: 'workers', run: () => checkWorkers(context) },
    { name: 'worker version', run: () => checkVersion(context) },
  ];
}

async function checkServer({ config, openTemporal }: DoctorContext) {
  const { address } = config.temporal;
  let connection;
  try {
    connection = await openTemporal();
  } catch (error) {
    return [
      failure(
        `Temporal at ${address} does not answer: ${errorMessage((error as { cause?: unknown }).cause ?? error)}`,
        'Check TEMPORAL_ADDRESS, TEMPORAL_TLS, TEMPORAL_API_KEY, that the server runs, and the firewall',
      ),
    ];
  }
  const version = await readServerVersion(connection);
  const isEncrypted = toConnectionOptions(config.temporal).tls !== undefined;
  const host = address.slice(0, address.lastIndexOf(':'));
  if (!isEncrypted && !['localhost', '127.0.0.1', '[::1]'].includes(host))
    return [
      warning(
        `The connection to Temporal ${version} at ${address} is not encrypted`,
        'Set TEMPORAL_TLS=true, if the server has TLS',
      ),
    ];
  return [ok(`Temporal ${version} at ${address}, ${isEncrypted ? 'with TLS' : 'without TLS'}`)];
}

/** The connection and the namespace. @throws NeedsError where there is none */
async function needNamespace({ config, needTemporal }: DoctorContext) {
  const connection = await needTemporal();
  const { namespace } = config.temporal;
  const found = await readNamespace(connection, namespace);
  if (found === undefined) throw new NeedsError(`the namespace ${namespace}`);
  return { connection, namespace };
}

async function checkNamespace({ config, needTemporal }: DoctorContext) {
  const { namespace } = config.temporal;
  const found = await readNamespace(await needTemporal(), namespace);
  if (found === undefined)
    return [
      failure(
        `Temporal has no namespace ${namespace}`,
        `temporal operator namespace create --namespace ${namespace} --retention 72h; or correct TEMPORAL_NAMESPACE`,
      ),
    ];
  const { retentionHours } = found;
  if (retentionHours < SHORT_RETENTION_HOURS)
    return [
      warning(
        `The namespace ${namespace} forgets closed workflows after ${retentionHours} hours, so a restore of an older ` +
          'database can lean on the bucket only',
        `temporal operator namespace update --namespace ${namespace} --retention 72h`,
      ),
    ];
  return [ok(`The namespace ${namespace} keeps closed workflows for ${retentionHours} hours`)];
}

async function checkSearchAttributes(context: DoctorContext) {
  const { connection, namespace } = await needNamespace(context);
  try {
    const { missing, wrong } = await compareSearchAttributes(connection, namespace, SEARCH_ATTRIBUTES);
    const findings = [];
    if (missing.length > 0)
      findings.push(
        failure(`The namespace ${namespace} lacks the search attributes ${missing.join(', ')}`, 'polony migrate'),
      );
    if (wrong.length > 0)
      findings.push(
        failure(
          `The namespace ${namespace} has search attributes of other types than polony needs: ` +
            wrong.map((name) => `${name} (needed: ${SEARCH_ATTRIBUTES[name]})`).join(', '),
          'Set TEMPORAL_NAMESPACE to a namespace of its own, and run polony migrate',
        ),
      );
    if (findings.length > 0) return findings;
    return [ok(`The namespace has all ${Object.keys(SEARCH_ATTRIBUTES).length} search attributes`)];
  } catch (error) {
    if (!NOT_ALLOWED.includes((error as { code?: unknown }).code)) throw error;
    return [
      warning(
        'This server does not let polony list the search attributes, as Temporal Cloud does not',
        'Compare the list of docs/reference/temporal.md with the namespace in the Temporal UI',
      ),
    ];
  }
}

async function checkWorkers(context: DoctorContext) {
  const { connection, namespace } = await needNamespace(context);
  const queues = taskQueues(context.config.taskQueue);
  const wanted = [
    { queue: queues.main, kind: 'workflow' },
    { queue: queues.main, kind: 'activity' },
    { queue: queues.watch, kind: 'activity' },
    { queue: queues.webhooks, kind: 'activity' },
  ] as const;
  const alive = (poller: Poller): boolean => Date.now() - (poller.lastSeen?.getTime() ?? 0) < POLLED_WITHIN_MS;
  const pollers = await Promise.all(
    wanted.map(async ({ queue, kind }) => (await listPollers(connection, namespace, queue, kind)).filter(alive)),
  );
  const unattended = wanted.filter((_, at) => pollers[at]!.length === 0);
  if (unattended.length > 0)
    return [
      failure(
        `No worker takes tasks from ${unattended.map(({ queue, kind }) => `${queue} (${kind})`).join(', ')}, so nothing ` +
          'continues',
        'Start polony worker with the same POLONY_TASK_QUEUE and TEMPORAL_NAMESPACE, or look in the log of the workers',
      ),
    ];
  const workers = pollers[0]!;
  const buildIds = [...new Set(workers.map(({ buildId }) => buildId).filter((each) => each !== undefined))].map(
    shorten,
  );
  const described = `${workers.length} ${workers.length === 1 ? 'worker takes' : 'workers take'} tasks`;
  if (buildIds.length > 1)
    return [
      warning(
        `${described}, and they run ${buildIds.length} builds: ${buildIds.join(', ')}`,
        'Finish the upgrade: replace the workers of the older build. During an upgrade this is expected',
      ),
    ];
  return [ok(`${described}; build ${buildIds[0] ?? 'unknown'}`)];
}

/** With Worker Versioning, whether any version takes tasks, and whether it is that of these settings. */
async function checkVersion(context: DoctorContext) {
  const { versioning } = context.config as Partial<WorkerConfig>;
  if (versioning === undefined) return [ok('Worker Versioning is off (POLONY_DEPLOYMENT_NAME)')];
  const { connection, namespace } = await needNamespace(context);
  const { deploymentName, buildId } = versioning;
  const current = await new Deployments(connection, namespace).findCurrent(deploymentName);
  if (current === undefined)
    return [
      failure(
        `The deployment ${deploymentName} has no current version, so its workers get no tasks`,
        'Start workers, and run polony promote with their POLONY_BUILD_ID',
      ),
    ];
  if (current !== buildId)
    return [
      warning(
        `The current version of ${deploymentName} is ${current}, and the settings say ${buildId}`,
        'Run polony promote when the workers of the new version run. During an upgrade this is expected',
      ),
    ];
  return [ok(`Version ${buildId} is the current one of ${deploymentName}`)];
}

/** The build id that the SDK makes up ends with a long hash of the workflow bundle. */
function shorten(buildId: string): string {
  return buildId.replace(/\+([0-9a-f]{12})[0-9a-f]{20,}$/, '+$1');
}
