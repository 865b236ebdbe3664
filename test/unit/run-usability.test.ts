import { expect, it } from 'vitest';
import { whyRunIsUnusable } from '../../domain/runs/usability.js';

const complete = {
  id: '0199',
  uploadState: 'complete',
  outcome: 'completed',
  usableIfStopped: false,
  checked: 'content',
} as const;
const flow = { acceptFailedOutcome: false, acceptStoppedOutcome: false, acceptUnverified: false };

it('accepts a complete run, and a run that still uploads', () => {
  expect(whyRunIsUnusable(complete, flow)).toBeUndefined();
  expect(whyRunIsUnusable({ ...complete, uploadState: 'uploading', outcome: null }, flow)).toBeUndefined();
});

it('rejects a run whose upload was refused or whose folder vanished, for every flow, and says why', () => {
  const refused = { ...complete, uploadState: 'refused', uploadDescription: '3 files are missing' } as const;
  expect(whyRunIsUnusable(refused)).toBe('3 files are missing');
  expect(whyRunIsUnusable({ ...complete, uploadState: 'refused' })).toContain('rejected');
  expect(whyRunIsUnusable({ ...complete, uploadState: 'vanished' }, flow)).toContain('no longer in the bucket');
});

it('rejects a failed or unverified run only for flows that do not accept it', () => {
  const failed = { ...complete, outcome: 'failed' } as const;
  const unverified = { ...complete, outcome: null, checked: 'presence' } as const;
  expect(whyRunIsUnusable(failed, flow)).toContain('acceptFailedOutcome');
  expect(whyRunIsUnusable(failed, { ...flow, acceptFailedOutcome: true })).toBeUndefined();
  expect(whyRunIsUnusable(unverified, flow)).toContain('acceptUnverified');
  expect(whyRunIsUnusable(unverified, { ...flow, acceptUnverified: true })).toBeUndefined();
  expect(whyRunIsUnusable(failed)).toBeUndefined();
});

it('says of a failed run how to have it checked again, and not of an unverified one', () => {
  const failed = { ...complete, outcome: 'failed' } as const;
  expect(whyRunIsUnusable(failed, flow)).toContain('POST /v1/runs/0199/retry');
  const unverified = { ...complete, outcome: null, checked: 'presence' } as const;
  expect(whyRunIsUnusable(unverified, flow)).not.toContain('uploaded the run again');
});

it('accepts a stopped run only for flows that accept it, and only where it has something to analyse', () => {
  const stopped = { ...complete, uploadState: 'refused', uploadDescription: 'stopped', outcome: 'stopped' } as const;
  const lenient = { ...flow, acceptStoppedOutcome: true };
  expect(whyRunIsUnusable({ ...stopped, usableIfStopped: true }, lenient)).toBeUndefined();
  expect(whyRunIsUnusable({ ...stopped, usableIfStopped: true })).toBeUndefined();
  expect(whyRunIsUnusable({ ...stopped, usableIfStopped: true }, flow)).toBe('stopped');
  expect(whyRunIsUnusable(stopped, lenient)).toBe('stopped');
  expect(whyRunIsUnusable({ ...complete, uploadState: 'refused' }, lenient)).toContain('rejected');
});
