import { setTimeout as pause } from 'node:timers/promises';
import { PutObjectCommand, type S3Client } from '@aws-sdk/client-s3';
import { adminClients, type CustomerAccount } from '../cli/customer.js';
import { runUploadedText, type SimulatedRun, simulateInstrument } from '../local/instrument.js';
import type { EmulatedRun } from '../local/omics/run.js';
import { type BenchStack, replaceWorker, runConcurrently, smallRun, until, withBenchStack } from './benchStack.js';
import { mean, median, type Report } from './report.js';

/** Seconds between two polls of an upload, and of a HealthOmics run, where no events arrive. */
const POLL_SECONDS = 6;
/**
 * Runs of each side, which are followed at the same time, and the seconds over which what happens to them is spread. polony
 * handles one event in less time than there is until the next.
 */
const BY_POLL = { count: 17, seconds: POLL_SECONDS };
const BY_EVENT = { count: 13, seconds: 13 };
const EVENTS_KEY = 'events_0123456789abcdefghijklmn';
/** Nothing is polled in that time, so that only events cause progress. */
const NEVER = '86400';

const WAITS = [
  { of: 'start', name: 'from RunUploaded.json to StartRun' },
  { of: 'end', name: "from a HealthOmics run's end to COMPLETED" },
] as const;

/** Milliseconds from what happens at AWS to what polony does about it. */
type Waits = Record<(typeof WAITS)[number]['of'], number[]>;

/** Rows of how soon polony notices a run's upload and its end, by polls and by events. */
export async function events(report: Report): Promise<void> {
  await withBenchStack(
    {
      env: {
        POLONY_EVENTS_KEY: EVENTS_KEY,
        POLONY_UPLOAD_POLL_SECONDS: String(POLL_SECONDS),
        POLONY_RUN_POLL_SECONDS: String(POLL_SECONDS),
      },
      omics: { pace: { PENDING: 0, STARTING: 0, RUNNING: 3_600_000, STOPPING: 0 } },
      autoStart: true,
      say: report.say,
    },
    async (bench) => {
      const { s3, iam, omics } = adminClients(bench.stack.info);
      try {
        const runs = new Runs(bench, s3);
        report.say(`  by polls, every ${POLL_SECONDS} s`);
        const byPoll = await runs.follow('POLL', BY_POLL, async () => undefined);
        await replaceWorker(bench.stack, { POLONY_UPLOAD_POLL_SECONDS: NEVER, POLONY_RUN_POLL_SECONDS: '3600' });
        report.say('  by events');
        const byEvent = await runs.follow('EVENT', BY_EVENT, (event) => post(bench, event));
        for (const { of, name } of WAITS) {
          // The moments are even, so that each run belongs to the mean. The one in the middle is one moment or the next.
          const [polled, pushed] = [mean(byPoll[of]), median(byEvent[of])];
          report.row({
            name: `${name}, by event`,
            unit: 'ms',
            value: pushed,
            against: 1000,
            of: 'the target',
            ratio: pushed / 1000,
            reach: 'at most 1 s at the median',
            met: pushed <= 1000,
          });
          report.row({
            name: `${name}, by poll`,
            unit: 'ms',
            value: polled,
            against: POLL_SECONDS * 1000,
            of: 'the poll interval',
            ratio: polled / (POLL_SECONDS * 1000),
            reach: 'at most the interval, on average',
            met: polled <= POLL_SECONDS * 1000,
          });
          report.note(
            `${name}, ms, by event: ${byEvent[of].join(', ')}; by poll every ${POLL_SECONDS} s: ${byPoll[of].join(', ')}`,
          );
        }
      } finally {
        for (const client of [s3, iam, omics]) client.destroy();
      }
    },
  );
}

async function post({ stack }: BenchStack, event: object): Promise<void> {
  const response = await fetch(`${stack.info.apiUrl}/v1/events`, {
    method: 'POST',
    headers: { 'x-api-key': EVENTS_KEY, 'content-type': 'application/json' },
    body: JSON.stringify({ account: '111122223333', region: 'us-west-2', ...event }),
  });
  if (!response.ok) throw new Error(`POST /v1/events answered ${response.status}`);
}

/** A run folder without its last file. */
interface Upload {
  run: SimulatedRun;
  folder: string;
}

/** Runs of an instrument that polony follows. */
class Runs {
  readonly #account: CustomerAccount;
  readonly #emulator: BenchStack['stack']['aws']['emulator'];

  constructor(
    private readonly bench: BenchStack,
    private readonly s3: S3Client,
  ) {
    this.#account = bench.account;
    this.#emulator = bench.stack.aws.emulator;
  }

  /**
   * Follows runs until their executions have completed.
   * @param announce sends an event
   */
  async follow(
    prefix: string,
    { count, seconds }: { count: number; seconds: number },
    announce: (event: object) => Promise<void>,
  ): Promise<Waits> {
    // Moments that are spread evenly, so that chance does not decide how long a poll takes.
    const untilMoment = (at: number): Promise<void> => pause((at / count) * seconds * 1000);
    const uploads = await runConcurrently(
      count,
      async (at) => {
        await untilMoment(at);
        const upload = await this.#upload(`${prefix}${10 + at}`);
        await this.bench.call('POST', `/v1/storage-connections/${this.bench.storageConnectionId}/discover`);
        return upload;
      },
      count,
    );
    await until('the runs to be followed', async () => {
      const { runs } = await this.bench.call<{ runs: { name: string }[] }>('GET', '/v1/runs');
      return uploads.every(({ run }) => runs.some(({ name }) => name === run.runName));
    });
    // The first looks at the uploads, which come at once, are over.
    await pause(2000);
    const waits: Waits = { start: [], end: [] };
    const follow = async (at: number): Promise<void> => {
      // In the other order than their polls: otherwise all would wait for as long as the first one.
      const moment = count - 1 - at;
      await untilMoment(moment);
      const run = await this.#start(uploads[at]!, announce, waits);
      await until('the run to be seen running', async () => (await this.#statusOf(run)).endsWith('RUNNING'));
      // Events that come one after the other within two seconds cause one poll. A run takes hours.
      await pause(2100);
      await untilMoment(moment);
      await this.#end(run, announce, waits);
    };
    await runConcurrently(count, follow, count);
    return waits;
  }

  async #upload(runName: string): Promise<Upload> {
    const run = smallRun(runName);
    const { bucket, prefix } = this.#account;
    const simulation = simulateInstrument({ s3: this.s3, bucket, prefix, run, outcome: 'none' });
    await simulation.done;
    return { run, folder: simulation.folder };
  }

  async #start(
    { run, folder }: Upload,
    announce: (event: object) => Promise<void>,
    waits: Waits,
  ): Promise<EmulatedRun> {
    const { bucket } = this.#account;
    const [Key, Body] = [`${folder}/RunUploaded.json`, runUploadedText(run, 'completed')];
    await this.s3.send(new PutObjectCommand({ Bucket: bucket, Key, Body }));
    const began = Date.now();
    await announce({
      source: 'aws.s3',
      'detail-type': 'Object Created',
      detail: { bucket: { name: bucket }, object: { key: Key, size: Body.length } },
    });
    const find = (): EmulatedRun | undefined =>
      [...this.#emulator.runs.values()].find(({ parameters }) => JSON.stringify(parameters).includes(`/${folder}`));
    await until('StartRun', () => find() !== undefined);
    const started = find()!;
    waits.start.push(started.createdAt - began);
    return started;
  }

  async #end(run: EmulatedRun, announce: (event: object) => Promise<void>, waits: Waits): Promise<void> {
    this.#emulator.finish(run.id);
    await until('the run to have ended', () => run.status === 'COMPLETED');
    const began = Date.now();
    await announce({
      source: 'aws.omics',
      'detail-type': 'Run Status Change',
      detail: {
        omicsVersion: '1',
        arn: `arn:aws:omics:us-west-2:111122223333:run/${run.id}`,
        status: 'COMPLETED',
        uuid: run.uuid,
        runId: run.id,
      },
    });
    await this.bench.end(run.requestId);
    waits.end.push(Date.now() - began);
  }

  async #statusOf({ requestId }: EmulatedRun): Promise<string> {
    const { execution } = await this.bench.call<{ execution: { status: string } }>(
      'GET',
      `/v1/executions/${requestId}`,
    );
    return execution.status;
  }
}
