import { QueryClient } from '@tanstack/react-query';
import { ApiFailure } from './client.js';

/** Retries what can pass: no answer, too many requests, and errors of the server. */
const isPassing = (error: Error): boolean =>
  error instanceof ApiFailure && (error.status === 0 || error.status === 429 || error.status >= 500);

export const queryClient = new QueryClient({
  defaultOptions: {
    queries: {
      retry: (failures, error) => isPassing(error) && failures < 3,
      staleTime: 5_000,
      refetchOnWindowFocus: true,
    },
    mutations: { retry: false },
  },
});
