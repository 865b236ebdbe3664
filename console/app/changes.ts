import type { ScopeAction } from '../../domain/auth/scopes.js';
import { EventSourceParserStream } from 'eventsource-parser/stream';
import { useEffect, useState } from 'react';
import { useSession } from '../auth/session.js';
import { BASE_PATH } from './base.js';
import { reportSignedOut } from './client.js';
import { queryClient } from './queryClient.js';

/** How long to wait before the stream connects again, in milliseconds; doubles up to the second value. */
const [FIRST_WAIT_MS, LONGEST_WAIT_MS] = [1_000, 30_000];

type Topic = 'runs' | 'executions' | 'verifications';

/** One of these scopes allows to follow a topic. The API refuses a stream with a topic of which nothing may be seen. */
const SCOPES: Readonly<Record<Topic, readonly ScopeAction[]>> = {
  runs: ['runs:read'],
  executions: ['executions:read'],
  verifications: ['providers:read', 'storage:read', 'compute:read', 'flows:read'],
};

/** What a page follows. */
export interface Topics {
  topics: readonly Topic[];
  runId?: string;
  executionId?: string;
}

/** Which queries show something of a topic: the first part of their keys. */
const QUERIES: Readonly<Record<string, readonly string[]>> = {
  runs: ['runs', 'instruments'],
  executions: ['executions'],
  verifications: ['verification', 'providers', 'storage', 'compute', 'flows'],
};

/** Reads the queries again that show a topic. Several changes within a moment cause one request for each query. */
class Refresh {
  readonly #topics = new Set<string>();
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly waitMs: number) {}

  add(topics: Iterable<string>): void {
    for (const topic of topics) this.#topics.add(topic);
    this.#timer ??= setTimeout(() => {
      this.#timer = undefined;
      const names = [...this.#topics].flatMap((topic) => QUERIES[topic] ?? []);
      this.#topics.clear();
      void queryClient.invalidateQueries({ predicate: ({ queryKey }) => names.includes(String(queryKey[0])) });
    }, this.waitMs);
  }

  stop(): void {
    clearTimeout(this.#timer);
  }
}

/** The session has ended, so that connecting again cannot help. */
class SignedOut extends Error {}

/** Follows one stream until it ends. @returns the id of the last event @throws SignedOut */
async function follow(
  url: string,
  lastEventId: string | undefined,
  signal: AbortSignal,
  on: { open: () => void; change: (topic: string) => void; missed: () => void },
): Promise<string | undefined> {
  const response = await fetch(url, {
    signal,
    credentials: 'same-origin',
    headers: { accept: 'text/event-stream', ...(lastEventId !== undefined && { 'last-event-id': lastEventId }) },
  });
  if (response.status === 401) throw new SignedOut('The API does not know the session');
  if (!response.ok || response.body === null) throw new Error(`The stream of changes answered ${response.status}`);
  on.open();
  const events = response.body.pipeThrough(new TextDecoderStream()).pipeThrough(new EventSourceParserStream());
  const reader = events.getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return lastEventId;
    lastEventId = value.id ?? lastEventId;
    if (value.event === 'change') on.change((JSON.parse(value.data) as { topic: string }).topic);
    // `ready` and `reset` say that changes before them may be missing.
    else on.missed();
  }
}

/**
 * Follows what changes while the page is visible, and reads what it shows again; of the topics, only those that the
 * caller may see. One connection for each page, because browsers open only six to one server.
 * @returns whether the page is up to date: false while the stream is away
 */
export function useChanges({ topics, runId, executionId }: Topics): boolean {
  const [isLive, setLive] = useState(true);
  const { can } = useSession();
  const followed = topics.filter((topic) => SCOPES[topic].some((scope) => can(scope))).join(',');
  const query = new URLSearchParams({
    topics: followed,
    ...(runId !== undefined && { runId }),
    ...(executionId !== undefined && { executionId }),
  }).toString();
  useEffect(() => {
    if (followed === '') return undefined;
    let connection: AbortController | undefined;
    const refresh = new Refresh(300);
    const connect = async (own: AbortController): Promise<void> => {
      let [waitMs, lastEventId]: [number, string | undefined] = [FIRST_WAIT_MS, undefined];
      while (!own.signal.aborted) {
        try {
          lastEventId = await follow(`${BASE_PATH}/v1/changes?${query}`, lastEventId, own.signal, {
            open: () => {
              setLive(true);
              waitMs = FIRST_WAIT_MS;
            },
            change: (topic) => refresh.add([topic]),
            missed: () => refresh.add(followed.split(',')),
          });
        } catch (error) {
          if (own.signal.aborted) return;
          if (error instanceof SignedOut) return reportSignedOut();
          setLive(false);
        }
        await new Promise((resolve) => setTimeout(resolve, waitMs * (0.5 + Math.random() / 2)));
        waitMs = Math.min(waitMs * 2, LONGEST_WAIT_MS);
      }
    };
    const update = (): void => {
      if (document.hidden) {
        connection?.abort();
        connection = undefined;
      } else if (connection === undefined) {
        connection = new AbortController();
        void connect(connection);
      }
    };
    update();
    document.addEventListener('visibilitychange', update);
    return () => {
      document.removeEventListener('visibilitychange', update);
      connection?.abort();
      refresh.stop();
    };
  }, [query, followed]);
  return isLive;
}
