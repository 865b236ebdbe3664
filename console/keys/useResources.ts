import { useQuery } from '@tanstack/react-query';
import { api, ask } from '../app/client.js';

interface Named {
  id: string;
  name: string;
}

const query = { pageSize: 200 };

/** What reads the resources of a kind that a scope can name. Of long lists, the newest. */
const READERS: Readonly<Record<string, () => Promise<Named[]>>> = {
  runs: async () => (await ask(api.GET('/v1/runs', { params: { query } }))).runs,
  executions: async () => (await ask(api.GET('/v1/executions', { params: { query } }))).executions,
  instruments: async () =>
    (await ask(api.GET('/v1/instruments', { params: { query } }))).instruments.map(({ serialNumber, model }) => ({
      id: serialNumber,
      name: model,
    })),
  storage: async () => (await ask(api.GET('/v1/storage-connections', { params: { query } }))).storageConnections,
  providers: async () => (await ask(api.GET('/v1/providers', { params: { query } }))).providers,
  compute: async () => (await ask(api.GET('/v1/compute-connections', { params: { query } }))).computeConnections,
  flows: async () => (await ask(api.GET('/v1/flows', { params: { query } }))).flows,
  webhooks: async () =>
    (await ask(api.GET('/v1/webhooks', { params: { query } }))).webhooks.map(({ id, url }) => ({ id, name: url })),
};

/** The resources of a kind, by their names. Without the scope to read them, there are none to suggest. */
export function useResources(
  resource: string,
  isEnabled: boolean,
): { resources: readonly Named[]; isLoading: boolean } {
  const reader = READERS[resource];
  const found = useQuery({
    queryKey: [resource, 'names'],
    queryFn: () => reader!(),
    enabled: isEnabled && reader !== undefined,
    staleTime: 60_000,
  });
  return { resources: found.data ?? [], isLoading: found.isLoading };
}
