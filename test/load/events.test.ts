import { DeleteObjectCommand } from '@aws-sdk/client-s3';
import { defaultPayloadConverter } from '@temporalio/common';
import { Worker } from '@temporalio/worker';
import { expect, it } from 'vitest';
import { waitFor } from '../support.js';
import { workflowSource } from '../testStack.js';
import {
  account,
  call,
  endUpload,
  executions,
  s3,
  storageConnectionId,
  temporal,
  upload,
  useEventsStack,
  waitForRun,
} from '../eventsStack.js';

useEventsStack();

it('continues as a new workflow after many looks, keeps its deadline, and still sees the end', async () => {
  const { folder, workflowId, run } = await upload('LONG');
  await s3.send(new DeleteObjectCommand({ Bucket: account.bucket, Key: `${folder}/RunUploaded.json` }));
  await call('POST', `/v1/storage-connections/${storageConnectionId}/discover`);
  const handle = temporal.workflow.getHandle(workflowId);
  const first = await waitFor('the run to be followed', () => handle.describe().catch(() => undefined));
  let length = 0;
  const next = await waitFor(
    'another workflow',
    async () => {
      // Each look waits for the one before, so signals arrive faster than looks.
      await handle.signal('look');
      const now = await handle.describe();
      length = now.historyLength;
      return now.runId !== first.runId && now;
    },
    () => length,
  );
  expect(next.status.name).toBe('RUNNING');
  const input = defaultPayloadConverter.fromPayload<{ deadline: number }>(
    (await handle.fetchHistory()).events![0]!.workflowExecutionStartedEventAttributes!.input!.payloads![0]!,
  );
  expect(input.deadline - first.startTime.getTime()).toBeCloseTo(14 * 86_400_000, -5);
  await endUpload({ folder, run }, 'completed');
  await waitForRun('LONG', 'COMPLETED');
  await temporal.workflow.getHandle(workflowId).result();
  expect((await executions()).filter((each) => each.inputs[0]!.run.name === 'LONG')).toHaveLength(1);
  const before = await temporal.workflow.getHandle(workflowId, first.runId).fetchHistory();
  expect(before.events!.length).toBeLessThan(2100);
  await Worker.runReplayHistory({ ...workflowSource() }, before);
});
