import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { WorkflowNotFoundError } from '@temporalio/client';
import { Worker } from '@temporalio/worker';
import { expect, it } from 'vitest';
import { parseEvent, locateRunFolder } from '../../domain/events/event.js';
import { runFolderName } from '../../local/instrument.js';
import { waitFor } from '../support.js';
import { workflowSource } from '../testStack.js';
import {
  account,
  call,
  changed,
  created,
  endUpload,
  EVENTS_KEY,
  executions,
  flowId,
  inStatus,
  pace,
  post,
  runs,
  runsOf,
  s3,
  stack,
  storageConnectionId,
  temporal,
  upload,
  useEventsStack,
  waitForRun,
} from '../eventsStack.js';

useEventsStack();

it('accepts events with a key that allows nothing else', async () => {
  expect(await post({ source: 'aws.ec2', 'detail-type': 'Anything', detail: {} })).toBe(202);
  expect(await post({ source: 'aws.ec2', 'detail-type': 'Anything', detail: {} }, stack.info.apiKey)).toBe(202);
  expect(
    await post({ source: 'aws.ec2', 'detail-type': 'Anything', detail: {} }, 'somebody_0123456789abcdefghijkl'),
  ).toBe(401);
  expect(await post({ flowId }, EVENTS_KEY, '/v1/executions')).toBe(403);
  for (const malformed of [[], 'event', { source: 1 }, { source: 'aws.s3' }, {}])
    expect(await post(malformed)).toBe(400);
});

it('takes a run from RunUploaded.json to StartRun and to its end by events alone', async () => {
  const { folder } = await upload('PUSHED');
  await pace(400);
  expect(await runs()).toEqual([]);
  const began = Date.now();
  expect(await post(created(`${folder}/RunUploaded.json`))).toBe(202);
  const { id } = await waitFor('the execution', async () => (await executions())[0]);
  const run = await waitFor('StartRun', () => runsOf(id)[0]);
  console.log(`    RunUploaded.json as an event to StartRun: ${run.createdAt - began} ms`);
  // polony looks once at the start. After that, only events cause a look.
  await waitFor('the run to end', () => run.status === 'COMPLETED');
  expect(await post(changed(run, 'COMPLETED'))).toBe(202);
  await inStatus(id, 'COMPLETED');
});

it(
  'checks a followed upload again for any number of events, with a short history that replays',
  { tags: 'long' },
  async () => {
    const { folder, workflowId, run } = await upload('FLOOD');
    // The same upload without RunUploaded.json.
    await s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key: `${folder}/RunUploaded.json` }));
    await post(created(`${folder}/RunParameters.json`));
    expect((await runs()).some((each) => each.name === 'FLOOD')).toBe(false);
    await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
    await waitFor('the run to be followed', async () => (await runs()).some((each) => each.name === 'FLOOD'));
    const began = Date.now();
    await Promise.all(Array.from({ length: 300 }, async () => post(created(`${folder}/RunParameters.json`))));
    const events = async (): Promise<number> =>
      (await temporal.workflow.getHandle(workflowId).fetchHistory()).events!.length;
    // Two seconds pass between two looks, and a look adds about ten events. Each event would add as many.
    expect(await events()).toBeLessThan(60 + ((Date.now() - began) / 1000) * 12);
    await endUpload({ folder, run }, 'completed');
    await waitForRun('FLOOD', 'COMPLETED');
    await temporal.workflow.getHandle(workflowId).result();
    await Worker.runReplayHistory(
      { ...workflowSource() },
      await temporal.workflow.getHandle(workflowId).fetchHistory(),
    );
  },
);

it('adds no delay between the event for RunUploaded.json and StartRun', { tags: 'long' }, async () => {
  const waits: number[] = [];
  for (let at = 0; at < 5; at++) {
    const { folder, run, workflowId } = await upload(`MEDIAN${at}`);
    const began = Date.now();
    await post(created(`${folder}/RunUploaded.json`));
    const { id } = await waitFor('the execution', async () =>
      (await executions()).find((each) => each.inputs[0]!.run.name === run.runName),
    );
    const started = await waitFor('StartRun', () => runsOf(id)[0]);
    waits.push(started.createdAt - began);
    // The time depends on the machine. A delay by polony would show as a timer or a second attempt in these histories.
    for (const workflow of [
      `discover-run/${storageConnectionId}/${run.instrumentName}/${runFolderName(run)}`,
      workflowId,
      `execution/${id}`,
    ]) {
      const { events } = await temporal.workflow.getHandle(workflow).fetchHistory();
      const before = events!.filter(
        ({ eventTime }) => Number(eventTime!.seconds) * 1000 + eventTime!.nanos! / 1e6 <= started.createdAt,
      );
      expect(before.length).toBeGreaterThan(3);
      expect(before.filter((event) => event.timerStartedEventAttributes != null)).toEqual([]);
      const attempts = before.flatMap((event) => event.activityTaskStartedEventAttributes?.attempt ?? []);
      expect(attempts).toEqual(attempts.map(() => 1));
    }
  }
  console.log(`    RunUploaded.json as an event to StartRun: ${waits.join(', ')} ms`);
});

it('checks a run again after RunUploaded.json was replaced', async () => {
  const uploaded = await upload('REPLACED');
  await endUpload(uploaded, 'stopped');
  await waitForRun('REPLACED', 'STOPPED');
  await endUpload(uploaded, 'completed');
  await waitForRun('REPLACED', 'COMPLETED');
  const started = await waitFor('its execution', async () =>
    (await executions()).find((each) => each.inputs[0]!.run.name === 'REPLACED'),
  );
  expect(runsOf(started.id).length).toBeLessThanOrEqual(1);
});

it('ignores events that are forged, repeated, late or about other resources', { tags: 'long' }, async () => {
  const before = await runs();
  const count = (await executions()).length;
  for (const key of [
    'runs/AV240001/20260115_AV240001_FORGED/RunUploaded.json',
    'runs-secret/AV240001/20260115_AV240001_X/RunUploaded.json',
    'RunUploaded.json',
    'runs/../x/RunUploaded.json',
    'runs/AV240001/odd name/RunUploaded.json',
    `runs/${'x'.repeat(900)}`,
    'runs//20260115__X/RunUploaded.json',
    'runs/AV240001/20260115_AV240001_PUSHED/RunUploaded.json',
  ])
    expect(await post(created(key))).toBe(202);
  expect(await post(created('runs/AV240001/20260115_AV240001_PUSHED/RunUploaded.json', 'somebodys-bucket'))).toBe(202);
  await pace(3_600_000);
  const { execution } = await call<{ execution: { id: string } }>('POST', '/v1/executions', {
    flowId,
    runId: before[0]!.id,
  });
  await inStatus(execution.id, 'RUNNING');
  const run = runsOf(execution.id)[0]!;
  const looks = (): number =>
    stack.aws.emulator.calls.filter((each) => each.operation === 'GetRun' && each.runId === run.id).length;
  // The watch of the pending run ends with one look, and the watch of the running run begins with the next.
  const running = run.history.find(({ status }) => status === 'RUNNING')!.at;
  await waitFor(
    'the watch of the running run to have begun',
    () =>
      stack.aws.emulator.calls.filter(
        (each) => each.operation === 'GetRun' && each.runId === run.id && each.at >= running,
      ).length >= 2,
  );
  const seen = looks();
  for (const event of [
    changed({ id: run.id, uuid: 'another' }),
    changed(run, 'COMPLETED', '999999999999'),
    changed({ id: '1', uuid: run.uuid }),
    { ...changed(run), detail: 'text' },
    { ...changed(run), region: 7 },
  ])
    expect([202, 400]).toContain(await post(event));
  expect(looks()).toBe(seen);
  // The run is real, but the event claims COMPLETED. polony asks AWS, which says otherwise.
  const began = Date.now();
  await Promise.all(Array.from({ length: 50 }, async () => post(changed(run, 'COMPLETED'))));
  await waitFor('one look', () => looks() > seen);
  // One look at once, and one more for each two seconds since then.
  expect(looks()).toBeLessThanOrEqual(seen + 2 + (Date.now() - began) / 2000);
  await call('POST', `/v1/executions/${execution.id}/cancel`, {});
  await waitFor('it to be cancelled', () => run.status === 'CANCELLED');
  await post(changed(run, 'CANCELLED'));
  await inStatus(execution.id, 'CANCELED');
  await post(changed(run, 'CANCELLED'));
  expect((await runs()).map((each) => each.id).sort()).toEqual(before.map((each) => each.id).sort());
  expect((await executions()).length).toBe(count + 1);
});

it('starts few searches for events about many unknown folders', { tags: 'long' }, async () => {
  const folders = Array.from({ length: 300 }, (_, at) => `20260115_AV240001_MADEUP${at}`);
  const began = Date.now();
  const answers = await Promise.all(folders.map((name) => post(created(`runs/AV240001/${name}/RunUploaded.json`))));
  const seconds = Math.ceil((Date.now() - began) / 1000);
  expect(new Set(answers)).toEqual(new Set([202]));
  // Every search starts before its event is answered.
  const searched = await Promise.all(
    folders.map((name) =>
      temporal.workflow
        .getHandle(`discover-run/${storageConnectionId}/AV240001/${name}`)
        .describe()
        .then(
          () => true,
          (error: unknown) => {
            expect(error).toBeInstanceOf(WorkflowNotFoundError);
            return false;
          },
        ),
    ),
  );
  const count = searched.filter(Boolean).length;
  expect(count).toBeGreaterThan(0);
  expect(count).toBeLessThanOrEqual(20 + seconds);
  expect((await runs()).some((each) => each.name.startsWith('MADEUP'))).toBe(false);
});

it.each([
  [
    created('runs/a%2Fb+c/RunUploaded.json', 'b'),
    { kind: 'object', bucket: 'b', key: 'runs/a%2Fb+c/RunUploaded.json' },
  ],
  [
    {
      source: 'aws.omics',
      'detail-type': 'Run Status Change',
      account: '1',
      region: 'r',
      detail: { arn: 'arn:aws:omics:r:1:run/55' },
    },
    { kind: 'run', account: '1', region: 'r', runId: '55', uuid: undefined },
  ],
  [{ source: 'aws.omics', 'detail-type': 'Run Status Change', detail: { runId: '5' } }, undefined],
  [
    { source: 'aws.s3', 'detail-type': 'Object Deleted', detail: { bucket: { name: 'b' }, object: { key: 'k' } } },
    undefined,
  ],
  [null, undefined],
])('parses %j', (event, told) => {
  expect(parseEvent(event)).toEqual(told);
});
it.each([
  ['runs/AV1/F/RunUploaded.json', 'runs', 0, { parentPath: 'AV1', runFolder: 'F', file: 'RunUploaded.json' }],
  ['AV1/F/RunParameters.json', '', 0, { parentPath: 'AV1', runFolder: 'F', file: 'RunParameters.json' }],
  ['runs/a/b/AV1/F/RunUploaded.json', 'runs', 2, { parentPath: 'a/b/AV1', runFolder: 'F', file: 'RunUploaded.json' }],
  ['runs/a/AV1/F/RunUploaded.json', 'runs', 0, undefined],
  ['runs/polony-executions/AV1/F/RunUploaded.json', 'runs', 1, undefined],
  ['runs/AV1/F/BaseCalls/R1_C001.zip', 'runs', 0, undefined],
  ['runs-secret/AV1/F/RunUploaded.json', 'runs', 0, undefined],
  ['RunUploaded.json', '', 0, undefined],
])('finds the run folder of %s below "%s" at depth %i', (key, prefix, depth, found) => {
  expect(locateRunFolder(key, prefix, depth)).toEqual(found);
});
