import { DefaultFailureConverter } from '@temporalio/common';
import { sandboxSettings } from './sandbox.js';

/** Writes the failures of workflows: with a codec, their messages and stack traces are payloads, which it encrypts. */
export const failureConverter = new DefaultFailureConverter({
  encodeCommonAttributes: sandboxSettings().encodesFailures,
});
