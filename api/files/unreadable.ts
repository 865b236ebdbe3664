import { classifyAwsError } from '../../aws/errors.js';
import { SessionError } from '../../aws/sessions.js';
import { explainDenial, parseDenial, PROVIDER_IDENTITY } from '../../domain/iam/denials.js';
import { objectArn } from '../../domain/iam/permissions.js';
import type { Place } from './places.js';

/** Why a file cannot be read, for an answer that goes on without it. */
export interface Unreadable {
  state: 'missing' | 'archived' | 'denied' | 'unavailable';
  /** What happened, why, and what to do. */
  message: string;
}

/** What an archived file needs. */
export const RESTORE = 'Restore it in S3, then try again';

/** Why an archived file was not read. */
export const ARCHIVED = `It is archived in S3, where nobody can read it. ${RESTORE}`;

/** Whether S3 refuses to read an object before somebody restores it from its archive. */
export function isArchived(error: unknown): boolean {
  return classifyAwsError(error).code === 'InvalidObjectState';
}

/** Explains an error of reading an object. */
export function explainUnreadable(error: unknown, { bucket, storage }: Place, key: string): Unreadable {
  if (isArchived(error)) return { state: 'archived', message: ARCHIVED };
  const isSession = error instanceof SessionError;
  const classified = classifyAwsError(isSession ? error.cause : error);
  const call = { action: 's3:GetObject', resource: objectArn(bucket, key, storage.region) };
  if (isSession && classified.kind !== 'throttled' && classified.kind !== 'network')
    return {
      state: 'denied',
      message: `AWS refused ${error.action} of ${error.principal}: ${classified.message}. Verify the provider`,
    };
  if (classified.kind === 'denied') {
    const { remedy } = explainDenial(parseDenial(classified.message, classified.code), call, {
      identity: PROVIDER_IDENTITY,
    });
    return { state: 'denied', message: `AWS refused ${call.action} on ${call.resource}. ${remedy}` };
  }
  if (classified.kind === 'not-found')
    return { state: 'missing', message: `AWS does not find ${call.resource} (${classified.code})` };
  return { state: 'unavailable', message: `AWS did not answer ${call.action} (${classified.code}). Try again later` };
}
