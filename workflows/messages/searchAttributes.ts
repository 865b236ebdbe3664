import { defineSearchAttributeKey } from '@temporalio/common';

/**
 * The search attributes by which you find executions and uploads in the Temporal UI. The namespace must have all of
 * them.
 */
export const attributes = {
  status: defineSearchAttributeKey('PolonyStatus', 'KEYWORD'),
  blocked: defineSearchAttributeKey('PolonyBlocked', 'BOOL'),
  flow: defineSearchAttributeKey('PolonyFlow', 'KEYWORD'),
  run: defineSearchAttributeKey('PolonyRun', 'KEYWORD'),
  instrument: defineSearchAttributeKey('PolonyInstrument', 'KEYWORD'),
  provider: defineSearchAttributeKey('PolonyProvider', 'KEYWORD'),
  account: defineSearchAttributeKey('PolonyAccount', 'KEYWORD'),
  region: defineSearchAttributeKey('PolonyRegion', 'KEYWORD'),
  storageConnection: defineSearchAttributeKey('PolonyStorageConnection', 'KEYWORD'),
  healthOmicsRunId: defineSearchAttributeKey('PolonyHealthOmicsRunId', 'KEYWORD'),
} as const;

/** The same search attributes by name, with the types under which you register them in a namespace. */
export const SEARCH_ATTRIBUTES: Record<string, 'Keyword' | 'Bool'> = Object.fromEntries(
  Object.values(attributes).map((key) => [key.name, key.type === 'BOOL' ? ('Bool' as const) : ('Keyword' as const)]),
);
