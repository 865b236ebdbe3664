import type { Next, WorkflowClientInterceptor } from '@temporalio/client';
import { defaultPayloadConverter } from '@temporalio/common';
import { currentLogIds } from '../observability/logContext.js';
import { REQUEST_ID_HEADER } from '../workflows/messages/headers.js';

/** The headers with the id of the current request, so that the workflow and its activities log it too. */
function withRequestId<Input extends { headers: object }>(input: Input): Input {
  const { requestId } = currentLogIds();
  if (requestId === undefined) return input;
  const header = { [REQUEST_ID_HEADER]: defaultPayloadConverter.toPayload(requestId) };
  return { ...input, headers: { ...input.headers, ...header } };
}

/** Sends the id of the request that starts or signals a workflow along with it. */
export const requestIdInterceptor: WorkflowClientInterceptor = {
  start: (input, next: Next<WorkflowClientInterceptor, 'start'>) => next(withRequestId(input)),
  startWithDetails: (input, next) => next(withRequestId(input)),
  signal: (input, next) => next(withRequestId(input)),
  signalWithStart: (input, next) => next(withRequestId(input)),
};
