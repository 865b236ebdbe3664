import type { VerifiedKind } from '../../domain/verification/report.js';
import { findComputeConnection } from '../../store/connections/compute.js';
import { findFlow } from '../../store/connections/flows.js';
import { findProvider } from '../../store/connections/providers.js';
import { findStorageConnection } from '../../store/connections/storage.js';

/** Each kind of resource that polony verifies, with its names in the API. */
export const KINDS = [
  {
    kind: 'provider',
    path: 'providers',
    /** For people. */
    noun: 'provider',
    /** The resource of its scopes. */
    scope: 'providers',
    service: 'ProviderService',
    typeName: 'Provider',
    find: findProvider,
  },
  {
    kind: 'storageConnection',
    path: 'storage-connections',
    noun: 'storage connection',
    scope: 'storage',
    service: 'StorageConnectionService',
    typeName: 'StorageConnection',
    find: findStorageConnection,
  },
  {
    kind: 'computeConnection',
    path: 'compute-connections',
    noun: 'compute connection',
    scope: 'compute',
    service: 'ComputeConnectionService',
    typeName: 'ComputeConnection',
    find: findComputeConnection,
  },
  {
    kind: 'flow',
    path: 'flows',
    noun: 'flow',
    scope: 'flows',
    service: 'FlowService',
    typeName: 'Flow',
    find: findFlow,
  },
] as const;

export type KindEntry = (typeof KINDS)[number];

/** The entry of a kind. */
export function kindEntry(kind: VerifiedKind): KindEntry {
  return KINDS.find((each) => each.kind === kind)!;
}
