import { useRef, useState } from 'react';

/** Something that the reader starts, and whether it runs or failed. */
export interface Action<A extends unknown[], T> {
  /** @returns what it gave; undefined where it failed, which `error` then says */
  run: (...args: A) => Promise<T | undefined>;
  isPending: boolean;
  error: unknown;
  clearError: () => void;
}

/**
 * Runs what the reader asks for, once at a time. Unlike a mutation of the query client, nothing keeps what it gives, so
 * that secrets stay only where the caller puts them.
 */
export function useAction<A extends unknown[], T>(work: (...args: A) => Promise<T>): Action<A, T> {
  const [isPending, setPending] = useState(false);
  const [error, setError] = useState<unknown>(undefined);
  const isBusy = useRef(false);
  const run = async (...args: A): Promise<T | undefined> => {
    if (isBusy.current) return undefined;
    isBusy.current = true;
    setPending(true);
    setError(undefined);
    try {
      return await work(...args);
    } catch (caught) {
      setError(caught);
      return undefined;
    } finally {
      isBusy.current = false;
      setPending(false);
    }
  };
  return { run, isPending, error, clearError: () => setError(undefined) };
}
