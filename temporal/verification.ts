import { TypedSearchAttributes } from '@temporalio/common';
import type { VerifiedKind } from '../domain/verification/report.js';
import { attributes } from '../workflows/messages/searchAttributes.js';
import { toSummary } from '../workflows/messages/summary.js';
import { verifyAgainSignal, type VerifyInput, verifyWorkflowId } from '../workflows/messages/verification.js';
import { VERIFY_WORKFLOWS } from '../workflows/messages/workflowTypes.js';
import { type TemporalContext, toKeyword } from './context.js';

/** The workflows that verify providers, connections and flows. */
export class VerificationClient {
  readonly #context: TemporalContext;
  constructor(context: TemporalContext) {
    this.#context = context;
  }

  /**
   * Verifies a resource. Where a verification is running, another one follows it and sees all changes made before
   * this call.
   */
  async verify({ kind, id, name }: { kind: VerifiedKind; id: string; name: string }): Promise<void> {
    await this.#context.client.workflow.signalWithStart(VERIFY_WORKFLOWS[kind], {
      workflowId: verifyWorkflowId(kind, id),
      taskQueue: this.#context.queues.main,
      args: [{ id, name }] as [VerifyInput],
      signal: verifyAgainSignal,
      workflowExecutionTimeout: '1 hour',
      ...(kind !== 'flow' &&
        kind !== 'computeConnection' && {
          typedSearchAttributes: new TypedSearchAttributes([
            { key: kind === 'provider' ? attributes.provider : attributes.storageConnection, value: toKeyword(name) },
          ]),
        }),
      staticSummary: toSummary(`Verify ${name}`),
    });
  }
}
