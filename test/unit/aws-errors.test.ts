import { describe, expect, it } from 'vitest';
import { classifyAwsError } from '../../aws/errors.js';

describe('classifyAwsError', () => {
  it.each([
    [{ name: 'ExpiredTokenException' }, 'expired'],
    [{ name: 'AccessDeniedException', $metadata: { httpStatusCode: 403 } }, 'denied'],
    [{ name: 'ServiceQuotaExceededException', $metadata: { httpStatusCode: 402 } }, 'quota'],
    [{ name: 'Unknown', $metadata: { httpStatusCode: 429 } }, 'throttled'],
    [{ code: 'ECONNREFUSED' }, 'unreachable'],
    [{ code: 'ECONNRESET' }, 'network'],
    [{ name: 'Odd', $metadata: { httpStatusCode: 503 } }, 'internal'],
    [new Error('?'), 'unknown'],
  ])('classifies %o as %s', (error, kind) => expect(classifyAwsError(error).kind).toBe(kind));
});
