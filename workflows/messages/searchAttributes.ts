import { defineSearchAttributeKey } from '@temporalio/common';

/**
 * The search attributes by which you find executions and uploads in the Temporal UI. The namespace must have all of
 * them.
 */
export const attributes = {
  status: defineSearchAttributeKey('PolonyStatus', 'KEYWORD'),
  blocked: defineSearchAttributeKey('PolonyBlocked', 'BOOL'),
  /** A list: several permissions can be missing at once, and PostgreSQL has columns for ten keywords only. */
  blockedBy: defineSearchAttributeKey('PolonyBlockedBy', 'KEYWORD_LIST'),
  waitingSince: defineSearchAttributeKey('PolonyWaitingSince', 'DATETIME'),
  flow: defineSearchAttributeKey('PolonyFlow', 'KEYWORD'),
  run: defineSearchAttributeKey('PolonyRun', 'KEYWORD'),
  instrument: defineSearchAttributeKey('PolonyInstrument', 'KEYWORD'),
  provider: defineSearchAttributeKey('PolonyProvider', 'KEYWORD'),
  account: defineSearchAttributeKey('PolonyAccount', 'KEYWORD'),
  region: defineSearchAttributeKey('PolonyRegion', 'KEYWORD'),
  storageConnection: defineSearchAttributeKey('PolonyStorageConnection', 'KEYWORD'),
  healthOmicsRunId: defineSearchAttributeKey('PolonyHealthOmicsRunId', 'KEYWORD'),
} as const;

const TYPE_NAMES = { KEYWORD: 'Keyword', BOOL: 'Bool', KEYWORD_LIST: 'KeywordList', DATETIME: 'Datetime' } as const;

/**
 * The same search attributes by name, with the types under which you register them in a namespace. Temporal on
 * PostgreSQL or MySQL has columns for 10 Keyword, 3 Bool, 3 Datetime and 3 KeywordList attributes in each namespace.
 */
export const SEARCH_ATTRIBUTES: Record<string, (typeof TYPE_NAMES)[keyof typeof TYPE_NAMES]> = Object.fromEntries(
  Object.values(attributes).map((key) => [key.name, TYPE_NAMES[key.type]]),
);
