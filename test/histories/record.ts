// Records the histories that test/unit/histories.test.ts replays: node --import tsx test/histories/record.ts
// It records only the histories that do not exist yet. See README.md.
import { hostname } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { Context } from '@temporalio/activity';
import { Client, type WorkflowHandle, type WorkflowStartOptions } from '@temporalio/client';
import { TestWorkflowEnvironment } from '@temporalio/testing';
import { DefaultLogger, Runtime, Worker } from '@temporalio/worker';
import pLimit from 'p-limit';
import { ensurePython } from '../../local/python.js';
import { PYTHON } from '../../local/pythonPackages.js';
import { registerSearchAttributes } from '../../temporal/searchAttributes.js';
import { bundleWorkflows } from '../../worker/workflowBundle.js';
import { SEARCH_ATTRIBUTES } from '../../workflows/messages/searchAttributes.js';
import { hasHistory, writeHistory } from './historyFile.js';
import { type ActivityType, Calls, QUEUES, type Scenario, sleep } from './scenario.js';
import { bases2fastqScenarios } from './scenarios/bases2fastq.js';
import { bucketAccessScenarios } from './scenarios/bucketAccess.js';
import { otherScenarios } from './scenarios/others.js';
import { discoverRunsScenarios, runUploadScenarios, sweepScenarios } from './scenarios/runs.js';

const FOLDER = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(FOLDER, '../..');
/** A scenario that takes longer does not reach its outcome. */
const LONGEST_MS = 180_000;
/** `bucketAccess` starts a new history when the server suggests it; a small number keeps the recorded history short. */
const SUGGEST_CONTINUE_AS_NEW_EVENTS = 40;
/** Heartbeats tell an activity that it is cancelled. */
const HEARTBEAT_MS = 200;

const scenarios: Scenario[] = [
  ...bases2fastqScenarios,
  ...runUploadScenarios,
  ...discoverRunsScenarios,
  ...sweepScenarios,
  ...bucketAccessScenarios,
  ...otherScenarios,
];

/** Every activity that a workflow may call; the compiler checks that none is missing. */
const ACTIVITY_QUEUES: Record<ActivityType, string> = {
  judgeUpload: QUEUES.main,
  prepareExecution: QUEUES.main,
  startRun: QUEUES.main,
  settleStart: QUEUES.main,
  watchRun: QUEUES.watch,
  nextAttempt: QUEUES.main,
  cancelRun: QUEUES.main,
  readResults: QUEUES.main,
  recordEnd: QUEUES.main,
  discoverRunFolders: QUEUES.main,
  watchUpload: QUEUES.main,
  giveUpUpload: QUEUES.main,
  startFlows: QUEUES.main,
  handOver: QUEUES.main,
  verifyResource: QUEUES.main,
  startVerifications: QUEUES.main,
  changeAccess: QUEUES.main,
  settleAccess: QUEUES.main,
  recordRetry: QUEUES.main,
  attemptDelivery: QUEUES.webhooks,
};

type Implementation = (...args: unknown[]) => Promise<unknown>;
interface Recording {
  calls: Calls;
  activities: Partial<Record<ActivityType, Implementation>>;
}
/** The recordings in progress, by workflow id. */
const recordings = new Map<string, Recording>();

const nameOf = ({ workflow, outcome }: Scenario): string => `${workflow}/${outcome}`;
const fileOf = (scenario: Scenario): string => path.join(FOLDER, nameOf(scenario));

/** Creates the fake activity that every worker registers. It answers as the scenario of its workflow says. */
function createFakeActivity(activity: ActivityType): Implementation {
  return async (...args) => {
    const context = Context.current();
    const { workflowId } = context.info.workflowExecution!;
    const recording = recordings.get(workflowId);
    const implementation = recording?.activities[activity];
    if (recording === undefined || implementation === undefined)
      throw new Error(`${workflowId} called ${activity}, for which its scenario has no answer`);
    const beating = setInterval(() => context.heartbeat(), HEARTBEAT_MS);
    try {
      recording.calls.add(activity);
      return await implementation(...args);
    } finally {
      clearInterval(beating);
    }
  };
}

function activitiesOf(queue: string): Record<string, Implementation> {
  const names = (Object.keys(ACTIVITY_QUEUES) as ActivityType[]).filter((name) => ACTIVITY_QUEUES[name] === queue);
  return Object.fromEntries(names.map((name) => [name, createFakeActivity(name)]));
}

async function until(what: string, isTrue: () => Promise<boolean>): Promise<void> {
  for (const end = Date.now() + LONGEST_MS; Date.now() < end; await sleep(50)) if (await isTrue()) return;
  throw new Error(`${what} was not reached within ${LONGEST_MS / 1000} s`);
}

/** Runs a scenario and writes the history of its workflow. */
async function record(client: Client, scenario: Scenario): Promise<void> {
  const name = nameOf(scenario);
  const calls = new Calls();
  const activities = scenario.activities(calls) as Recording['activities'];
  recordings.set(name, { calls, activities });
  const options: WorkflowStartOptions = {
    workflowId: name,
    taskQueue: QUEUES.main,
    args: scenario.input === undefined ? [] : [scenario.input],
  };
  await (scenario.start?.(client, options) ?? client.workflow.start(scenario.workflow, options));
  const current = client.workflow.getHandle(name);
  const handle = await firstRun(client, current);
  try {
    const untilRetrying = (activity: ActivityType): Promise<void> =>
      until(`${name}: the next attempt of ${activity}`, async () => isRetrying(handle, activity));
    await scenario.drive?.({ handle, calls, untilRetrying });
    await until(`${name}: status ${scenario.status}`, async () => isAtRest(handle, scenario.status));
    const history = await handle.fetchHistory();
    writeHistory(fileOf(scenario), history, [ROOT, `@${hostname()}`]);
    console.log(`${name}: ${history.events?.length} events`);
  } finally {
    await current.terminate().catch(() => undefined);
  }
}

/** The first run of the workflow, even if it has continued as new since then. */
async function firstRun(client: Client, handle: WorkflowHandle): Promise<WorkflowHandle> {
  const { raw } = await handle.describe();
  return client.workflow.getHandle(handle.workflowId, raw.workflowExecutionInfo?.firstRunId || undefined);
}

/** Whether an activity has failed and waits for its next attempt. */
async function isRetrying(handle: WorkflowHandle, activity: ActivityType): Promise<boolean> {
  const { raw } = await handle.describe();
  return (raw.pendingActivities ?? []).some((each) => each.activityType?.name === activity && (each.attempt ?? 0) > 1);
}

/** Whether a workflow has the expected status and no open workflow task. */
async function isAtRest(handle: WorkflowHandle, expected: Scenario['status']): Promise<boolean> {
  const { status, raw } = await handle.describe();
  if (status.name === expected) return expected !== 'RUNNING' || raw.pendingWorkflowTask == null;
  if (status.name === 'RUNNING') return false;
  throw new Error(`${handle.workflowId} ended as ${status.name} instead of ${expected}`);
}

/** Starts the Temporal server that records. Call `teardown` to stop it. */
async function startServer(): Promise<TestWorkflowEnvironment> {
  const { binDir } = await ensurePython(PYTHON.temporal);
  const env = await TestWorkflowEnvironment.createLocal({
    server: {
      executable: { type: 'existing-path', path: path.join(binDir, 'temporal') },
      extraArgs: [
        '--dynamic-config-value',
        `limit.historyCount.suggestContinueAsNew=${SUGGEST_CONTINUE_AS_NEW_EVENTS}`,
        '--dynamic-config-value',
        'system.forceSearchAttributesCacheRefreshOnRead=true',
      ],
    },
  });
  await registerSearchAttributes(env.connection, 'default', SEARCH_ATTRIBUTES);
  return env;
}

async function createWorkers(env: TestWorkflowEnvironment): Promise<Worker[]> {
  const workflowBundle = { code: await bundleWorkflows() };
  const create = (queue: string, more: object = {}): Promise<Worker> =>
    Worker.create({
      connection: env.nativeConnection,
      identity: 'worker',
      taskQueue: queue,
      activities: activitiesOf(queue),
      maxHeartbeatThrottleInterval: HEARTBEAT_MS,
      defaultHeartbeatThrottleInterval: HEARTBEAT_MS,
      shutdownForceTime: '5 seconds',
      ...more,
    });
  return Promise.all([create(QUEUES.main, { workflowBundle }), create(QUEUES.watch), create(QUEUES.webhooks)]);
}

async function main(): Promise<void> {
  Runtime.install({ logger: new DefaultLogger('ERROR') });
  const missing = scenarios.filter((each) => !hasHistory(fileOf(each)));
  console.log(`${missing.length} of ${scenarios.length} histories are to be recorded`);
  if (missing.length === 0) return;
  const env = await startServer();
  const failures: string[] = [];
  try {
    const workers = await createWorkers(env);
    const runs = workers.map((worker) => worker.run());
    const client = new Client({ connection: env.connection, identity: 'recorder' });
    const limit = pLimit(20);
    await Promise.all(
      missing.map((scenario) =>
        limit(() => record(client, scenario)).catch((error: unknown) => {
          failures.push(`${nameOf(scenario)}: ${error instanceof Error ? error.message : String(error)}`);
        }),
      ),
    );
    for (const worker of workers) worker.shutdown();
    await Promise.all(runs);
  } finally {
    await env.teardown();
  }
  if (failures.length > 0) throw new Error(`Not recorded:\n${failures.join('\n')}`);
}

await main();
