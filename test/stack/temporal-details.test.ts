/** @module-tag long */
import { ApplicationFailure, ApplicationFailureCategory } from '@temporalio/common';
import { WorkflowFailedError, type WorkflowHandle } from '@temporalio/client';
import { expect, it } from 'vitest';
import type { Activities } from '../../activities/index.js';
import { createBlockedFailure } from '../../activities/failures.js';
import { retrySignal } from '../../workflows/messages/retry.js';
import { attributes } from '../../workflows/messages/searchAttributes.js';
import { cancelSignal } from '../../workflows/messages/executions.js';
import { WAITS_FOR_OTHER } from '../../workflows/messages/runs.js';
import { waitFor } from '../support.js';
import { env, execution, upload, useTimeSkipping, withWorker } from '../timeSkipping.js';

// What the workflows show in Temporal: search attributes, current details and failures.
useTimeSkipping();

const denied = (action: string): ApplicationFailure =>
  createBlockedFailure({
    kind: 'ACCESS_DENIED',
    action,
    resource: `arn:aws:omics:us-west-2:${execution.account}:run/1`,
    message: `${action} is denied.`,
    remedy: 'Allow it.',
  });
const notYet = (): ApplicationFailure =>
  ApplicationFailure.create({
    type: 'NotYet',
    message: 'uploading',
    nextRetryDelay: '1 hour',
    category: ApplicationFailureCategory.BENIGN,
  });

interface Shown {
  blocked?: boolean;
  blockedBy?: string[];
  waitingSince?: Date;
  status?: string;
}
async function shownBy(handle: WorkflowHandle): Promise<Shown> {
  const { typedSearchAttributes: shown } = await handle.describe();
  return {
    blocked: shown.get(attributes.blocked),
    blockedBy: shown.get(attributes.blockedBy),
    waitingSince: shown.get(attributes.waitingSince),
    status: shown.get(attributes.status),
  };
}
const detailsOf = async (handle: WorkflowHandle): Promise<string> =>
  (await handle.query<{ currentDetails: string }>('__temporal_workflow_metadata')).currentDetails;

it('shows every cause of a block, and counts as blocked until none is left', async () => {
  const lacking = new Set(['omics:GetRun', 'omics:CancelRun']);
  const activities: Partial<Activities> = {
    prepareExecution: async () => undefined,
    startRun: async () => ({ healthOmicsRunId: '1234567', runOutputUri: 's3://b/o/1234567', attempt: 1 }),
    async watchRun() {
      if (lacking.has('omics:GetRun')) throw denied('omics:GetRun');
      return { status: 'CANCELED', healthOmicsStatus: 'CANCELLED' };
    },
    async cancelRun() {
      if (lacking.has('omics:CancelRun')) throw denied('omics:CancelRun');
      return { cancelledBy: 'lims' };
    },
    recordEnd: async () => ({ cancelledBy: 'lims' }),
    recordRetry: async () => undefined,
  };
  await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('bases2fastq', {
      taskQueue: 'test',
      workflowId: 'two-blocks',
      args: [execution],
    });
    await waitFor('the watching to be blocked', async () => (await shownBy(handle)).blocked);
    const first = await shownBy(handle);
    const cause = (action: string): string => `ACCESS_DENIED ${action}: customer, account ${execution.account}`;
    expect(first.blockedBy).toEqual([cause('omics:GetRun'), 'omics:GetRun', 'customer']);
    expect(first.waitingSince).toBeInstanceOf(Date);
    await handle.signal(cancelSignal, { requestedBy: 'lims', reason: 'wrong manifest' });
    const both = await waitFor('the cancel to be blocked', async () => {
      const { blockedBy } = await shownBy(handle);
      return blockedBy?.includes('omics:CancelRun') && blockedBy;
    });
    expect(both).toEqual(expect.arrayContaining([cause('omics:GetRun'), cause('omics:CancelRun')]));
    const details = await detailsOf(handle);
    for (const action of both.filter((each) => each.startsWith('omics:')))
      expect(details).toContain(`- **Answer:** \`${action} is denied.\``);
    expect(details).toContain('- **Who:** not confirmed yet (Temporal signal, which says it is from lims)');
    lacking.delete('omics:CancelRun');
    await handle.signal(retrySignal);
    await waitFor('CancelRun', async () => !(await shownBy(handle)).blockedBy?.includes('omics:CancelRun'));
    expect(await shownBy(handle)).toMatchObject({ blocked: true, blockedBy: first.blockedBy });
    expect(await detailsOf(handle)).toContain('- **Who:** lims (through the API)');
    lacking.clear();
    await handle.signal(retrySignal);
    expect(await handle.result()).toMatchObject({
      status: 'CANCELED',
      cancelled: { who: 'lims (through the API)', why: 'wrong manifest' },
    });
    const ended = await shownBy(handle);
    expect(ended).toMatchObject({ blocked: false, status: 'CANCELED' });
    expect([ended.blockedBy, ended.waitingSince]).toEqual([undefined, undefined]);
  });
});

it('shows what an upload waits for, and adds little to the history however often that changes', async () => {
  let checks = 0;
  const askedFor: unknown[] = [];
  const activities: Partial<Activities> = {
    async watchUpload(_runId, _probing, _byEvent, shown) {
      askedFor.push(shown);
      if (++checks > 100) return { usable: true, reason: 'The run is complete' };
      const other = checks % 2 === 0 ? 'files' : 'parameters';
      throw shown == null ? notYet() : ApplicationFailure.nonRetryable(`waits for ${other}`, WAITS_FOR_OTHER, other);
    },
    startFlows: async () => ({ executions: [] }),
  };
  const handle = await withWorker(activities, async () => {
    const started = await env.client.workflow.start('runUpload', {
      taskQueue: 'test',
      workflowId: 'upload-waits',
      args: [{ ...upload, runFolderUri: 's3://b/runs/AV240001/folder', storageRegion: 'us-west-2' }],
    });
    await waitFor('a wait', async () => (await detailsOf(started)).includes('- **Waits for:** waits for '));
    expect(await detailsOf(started)).toContain('?region=us-west-2&prefix=runs%2FAV240001%2Ffolder%2F');
    await started.result();
    expect(await detailsOf(started)).toContain('**Upload**: The run is complete');
    return started;
  });
  expect(askedFor.filter((each) => each != null)).toHaveLength(20);
  expect((await handle.fetchHistory()).events!.length).toBeLessThan(20 * 7 + 25);
});

it.each(['fails', 'is cancelled'] as const)('clears what it waited for when an upload %s', async (how) => {
  let isGone = false;
  const activities: Partial<Activities> = {
    async watchUpload() {
      throw isGone ? ApplicationFailure.nonRetryable('It is not in the store', 'RunUnknown') : denied('s3:GetObject');
    },
    recordRetry: async () => undefined,
  };
  await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('runUpload', {
      taskQueue: 'test',
      workflowId: `upload-${how}`,
      args: [upload],
    });
    await waitFor('it to be blocked', async () => (await shownBy(handle)).blocked);
    if (how === 'is cancelled') await handle.cancel();
    else {
      isGone = true;
      await handle.signal(retrySignal);
    }
    await expect(handle.result()).rejects.toThrow(WorkflowFailedError);
    expect(await shownBy(handle)).toEqual({ blocked: false });
  });
});

it('says in the failure of an execution who must do what', async () => {
  const activities: Partial<Activities> = {
    prepareExecution: async () => undefined,
    startRun: async () => ({ healthOmicsRunId: '1234567', runOutputUri: 's3://b/o/1234567', attempt: 1 }),
    watchRun: async () => ({ status: 'FAILED', healthOmicsStatus: 'FAILED', failureReason: 'ECR_PERMISSION_ERROR' }),
    recordEnd: async () => undefined,
  };
  const options = { taskQueue: 'test', workflowId: 'failure', args: [execution] };
  await withWorker(activities, async () => {
    const handle = await env.client.workflow.start('bases2fastq', options);
    const failure = await handle.result().then(
      () => undefined,
      (error: unknown) => (error as WorkflowFailedError).cause as ApplicationFailure,
    );
    const toDo = 'Ask Element to share the image with your account and region';
    expect(failure).toMatchObject({
      type: 'ECR_PERMISSION_ERROR',
      message:
        'HealthOmics run 1234567 ended as FAILED (ECR_PERMISSION_ERROR). ' +
        `What to do (Element Biosciences, who shares the workflow): ${toDo}.`,
      details: [
        {
          description: 'HealthOmics run 1234567 ended as FAILED (ECR_PERMISSION_ERROR)',
          owner: 'vendor',
          toDo,
          healthOmicsRunId: '1234567',
        },
      ],
    });
    expect(await detailsOf(handle)).toContain(toDo);
  });
});
