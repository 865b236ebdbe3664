import type { Context } from '@temporalio/activity';
import { defaultPayloadConverter } from '@temporalio/common';
import type { ActivityInterceptors, WorkerOptions } from '@temporalio/worker';
import { activeTrace } from '../observability/log.js';
import { type LogIds, withLogIds } from '../observability/logContext.js';
import { tracing } from '../observability/tracing.js';
import { REQUEST_ID_HEADER } from '../workflows/messages/headers.js';

/**
 * What an activity logs with each line. Activities note further ids when they know them (`noteLogIds`). The SDK logs how
 * an activity ended after it has left its context, so the ids are kept here.
 */
function logActivities({ info }: Context): ActivityInterceptors {
  const ids: LogIds = idsOfWorkflow(info.workflowExecution?.workflowId ?? '');
  let trace = {};
  return {
    inbound: {
      execute: (input, next) => {
        const requestId = input.headers[REQUEST_ID_HEADER];
        if (requestId != null) ids.requestId = defaultPayloadConverter.fromPayload<string>(requestId);
        trace = activeTrace();
        return withLogIds(ids, () => next(input));
      },
    },
    outbound: {
      getLogAttributes: (attributes, next) => next({ ...attributes, ...trace, ...ids }),
    },
  };
}

/** The id that the name of a workflow has (docs/reference/temporal.md). */
function idsOfWorkflow(workflowId: string): LogIds {
  const [, kind, id] = /^(execution|webhook)\/([0-9a-f-]{36})/.exec(workflowId) ?? [];
  if (kind === undefined) return {};
  return kind === 'execution' ? { executionId: id } : { deliveryId: id };
}

/** The options of a worker that make its logs and traces complete. */
export function observed(): Pick<WorkerOptions, 'interceptors' | 'sinks'> {
  const trace = tracing();
  return {
    interceptors: { activity: [...(trace === undefined ? [] : [trace.activityInterceptors]), logActivities] },
    // A workflow that started while tracing was on goes on to report its spans: nobody gets them then.
    sinks: trace?.sinks ?? { exporter: { export: { fn: () => undefined } } },
  };
}
