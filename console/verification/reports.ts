import { useQuery } from '@tanstack/react-query';
import { useState } from 'react';
import { api, ApiFailure, ask, type Schema } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import type { Kind } from '../connections/kinds.js';
import { readOne, refreshConnections } from '../connections/queries.js';

export type Report = Schema<'Verification'>;
export type PermissionRow = Report['permissions'][number];

const path = (id: string) => ({ params: { path: { id } } });

const READERS: Readonly<Record<Kind, (id: string) => Promise<{ verification: Report }>>> = {
  provider: (id) => ask(api.GET('/v1/providers/{id}/verification', path(id))),
  storageConnection: (id) => ask(api.GET('/v1/storage-connections/{id}/verification', path(id))),
  computeConnection: (id) => ask(api.GET('/v1/compute-connections/{id}/verification', path(id))),
  flow: (id) => ask(api.GET('/v1/flows/{id}/verification', path(id))),
};

const STARTERS: Readonly<Record<Kind, (id: string) => Promise<{ workflowIds: readonly string[] }>>> = {
  provider: (id) => ask(api.POST('/v1/providers/{id}/verify', path(id))),
  storageConnection: (id) => ask(api.POST('/v1/storage-connections/{id}/verify', path(id))),
  computeConnection: (id) => ask(api.POST('/v1/compute-connections/{id}/verify', path(id))),
  flow: (id) => ask(api.POST('/v1/flows/{id}/verify', path(id))),
};

const keyOf = (kind: Kind, id: string) => ['verification', kind, id];

/** @returns the last report; null until the first verification has ended */
async function readReport(kind: Kind, id: string): Promise<Report | null> {
  // Until then the API answers 404, which browsers report as an error of the page.
  const isKnown = queryClient.getQueryData(keyOf(kind, id)) != null;
  if (!isKnown && (await readOne(kind, id)).timeVerified === null) return null;
  try {
    return (await READERS[kind](id)).verification;
  } catch (error) {
    if (error instanceof ApiFailure && error.reason === 'NOT_VERIFIED_YET') return null;
    throw error;
  }
}

/** How often a page asks while it waits for a report, in milliseconds; changes arrive sooner through the stream. */
const WAIT_MS = 2_000;

/** When each part of a report was verified. */
const timesOf = (report: Report | null | undefined): ReadonlyMap<string, string> =>
  new Map([
    ...(report == null ? [] : ([[report.resourceId, report.timeCompleted]] as const)),
    ...(report?.parts ?? []).map(({ id, timeCompleted }) => [id, timeCompleted] as const),
  ]);

interface Awaited {
  ids: readonly string[];
  before: ReadonlyMap<string, string>;
}

/** Progress of a verification that this page started. */
export interface Progress {
  done: number;
  of: number;
}

/** The last report of a provider, connection or flow, and a function that verifies now. An empty id reads nothing. */
export function useReport(kind: Kind, id: string) {
  const [awaited, setAwaited] = useState<Awaited | undefined>();
  const [starting, setStarting] = useState(false);
  const [failure, setFailure] = useState<unknown>(null);
  const query = useQuery({
    queryKey: keyOf(kind, id),
    queryFn: () => readReport(kind, id),
    enabled: id !== '',
    refetchInterval: ({ state }) =>
      state.data === null || (awaited !== undefined && progressOf(awaited, state.data) !== undefined) ? WAIT_MS : false,
  });
  const report = query.data;
  const progress = awaited === undefined ? undefined : progressOf(awaited, report);
  const verify = async (): Promise<void> => {
    setFailure(null);
    setStarting(true);
    const before = timesOf(report);
    try {
      const { workflowIds } = await STARTERS[kind](id);
      setAwaited({ ids: workflowIds.map((each) => each.split('/').at(-1)!), before });
      await refreshConnections();
    } catch (error) {
      setFailure(error);
    } finally {
      setStarting(false);
    }
  };
  return {
    query,
    report,
    verify: () => void verify(),
    failure,
    isVerifying: starting || progress !== undefined,
    progress,
  };
}

export type ReportState = ReturnType<typeof useReport>;

/** @returns undefined when all reports that the page waits for are new */
function progressOf({ ids, before }: Awaited, report: Report | null | undefined): Progress | undefined {
  const now = timesOf(report);
  const done = ids.filter((id) => now.get(id) !== undefined && now.get(id) !== before.get(id)).length;
  return done >= ids.length ? undefined : { done, of: ids.length };
}

const CAPABILITY_TEXTS: Readonly<Record<string, string>> = {
  runUpload: 'Run upload',
  dataExploration: 'Data exploration',
  bases2fastq: 'Bases2Fastq',
  sharing: 'Sharing',
  cliCredentials: 'Credentials for the AWS CLI',
};

/** A capability as people read it. */
export const capabilityText = (capability: string): string => CAPABILITY_TEXTS[capability] ?? capability;
