import { DefaultFailureConverter } from '@temporalio/common';

/**
 * Moves messages and stack traces of failures into a payload, so that the codec encrypts them. Clients and activities
 * use it; workflows/failureConverter.ts does the same in workflows.
 */
export const failureConverter = new DefaultFailureConverter({ encodeCommonAttributes: true });
