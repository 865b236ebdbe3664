import { cutToBytes } from '../names.js';
import type { Blocked } from './execution.js';
import type { FailureExplanation } from './failures.js';

/** Who can fix a problem, as for failures. `polony`: the people who operate this installation. */
export type Owner = FailureExplanation['owner'];

/** How texts name an owner. */
export const OWNERS: Readonly<Record<Owner, string>> = {
  customer: 'the customer, who administers the AWS account and the run',
  vendor: 'Element Biosciences, who shares the workflow',
  aws: 'AWS',
  polony: 'the operators of polony',
};

/** Who can fix what blocks, where the kind of the problem alone decides it; for all other kinds the customer. */
const OWNER_BY_KIND: Readonly<Record<string, Owner>> = {
  SECRET_UNREADABLE: 'polony',
  UNAVAILABLE: 'polony',
  VERSION_TOO_OLD: 'vendor',
};

/** Kinds of problems that are about one resource. Others concern everything that needs the permission. */
const ABOUT_RESOURCE = [
  'MANIFEST_INVALID',
  'MARKER_DAMAGED',
  'NOT_FOUND',
  'VERSION_TOO_OLD',
  'ROLE_NOT_ASSUMABLE',
  'EXTERNAL_ID_IGNORED',
];

/** The longest value of a search attribute that polony writes, in bytes, as for keywords. */
const VALUE_BYTES = 255;

/** Who must act. */
export function ownerOf({ kind, owner }: Pick<Blocked, 'kind' | 'owner'>): Owner {
  return owner ?? OWNER_BY_KIND[kind] ?? 'customer';
}

/** What a workflow knows of the place where it works. */
export interface BlockedPlace {
  /** The AWS account of the provider. */
  account?: string;
  /** The name of the flow; absent for workflows without one. */
  flow?: string;
}

/**
 * Names the cause of a block: equal for all workflows that one repair lets continue, different for all others as far as
 * anyone can tell. It has the kind of the problem, the AWS action, who must act, and where.
 * @example `ACCESS_DENIED iam:PassRole: customer, arn:aws:iam::111122223333:role/omics`
 * @example `ACCESS_DENIED s3:GetObject: customer, bucket lab-runs`
 */
export function causeOf(blocked: Blocked, place: BlockedPlace): string {
  const { kind, action } = blocked;
  const what = action === undefined ? kind : `${kind} ${action}`;
  const where = whereOf(blocked, place);
  return cutToBytes(`${what}: ${ownerOf(blocked)}${where === undefined ? '' : `, ${where}`}`, VALUE_BYTES);
}

/**
 * The values of the search attribute `PolonyBlockedBy`: the cause of each block, and below it what several causes have in
 * common: the AWS action (or the kind, where there is none) and who must act.
 */
export function blockedByValues(blocks: readonly Blocked[], place: BlockedPlace): string[] {
  const values = blocks.flatMap((blocked) => [
    causeOf(blocked, place),
    cutToBytes(blocked.action ?? blocked.kind, VALUE_BYTES),
    ownerOf(blocked),
  ]);
  return [...new Set(values)];
}

function whereOf({ kind, action = '', resource = '', account }: Blocked, place: BlockedPlace): string | undefined {
  if (kind === 'INVALID_FLOW') return place.flow === undefined ? undefined : `flow ${place.flow}`;
  if (resource !== '' && ABOUT_RESOURCE.includes(kind)) return resource;
  // One statement on a bucket or in an account permits all objects or runs. Roles and keys are named one by one.
  if (/^(iam|kms|sts):/.test(action) && resource.startsWith('arn:')) return resource;
  const bucket = /^(?:arn:[^:]+:s3:::|s3:\/\/)([^/*]+)/.exec(resource)?.[1];
  if (bucket !== undefined) return `bucket ${bucket}`;
  const known = account ?? place.account ?? /^arn:[^:]*:[^:]*:[^:]*:(\d{12}):/.exec(resource)?.[1];
  return known === undefined || known === '' ? undefined : `account ${known}`;
}
