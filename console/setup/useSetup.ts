import { useRouter, useSearch } from '@tanstack/react-router';
import { useEffect, useState } from 'react';
import { DEFAULTS, readSetup, type Setup, writeSetup } from './setupSearch.js';

/** How long the page waits after the last key before it changes the address, in milliseconds. */
const SETTLE_MS = 300;

/** What the person wants to connect, kept in the address, and functions that change it and begin again. */
export function useSetup() {
  const router = useRouter();
  const search: Record<string, unknown> = useSearch({ strict: false });
  const [setup, setSetup] = useState<Setup>(() => readSetup(search));
  const written = JSON.stringify(writeSetup(setup));
  const shown = JSON.stringify(writeSetup(readSetup(search)));
  useEffect(() => {
    if (written === shown) return;
    const timer = setTimeout(() => {
      // The person may be on the way to another page.
      if (router.latestLocation.pathname !== '/setup') return;
      void router.navigate({ to: '/setup', search: JSON.parse(written) as Record<string, string>, replace: true });
    }, SETTLE_MS);
    return () => clearTimeout(timer);
  }, [router, written, shown]);
  return {
    setup,
    set: (change: Partial<Setup>) => setSetup((before) => ({ ...before, ...change })),
    reset: () => setSetup(DEFAULTS),
  };
}

const EXTERNAL_ID_KEY = 'polony.setup.externalId';

/**
 * The external ID of the documents, so that they stay the same after a reload of this tab. It is no secret: the API and
 * AWS show it to all who may see the role. But others must not learn it from an address.
 */
export function useExternalId(): [string, (externalId: string) => void] {
  const [externalId, setExternalId] = useState(() => sessionStorage.getItem(EXTERNAL_ID_KEY) ?? '');
  return [
    externalId,
    (next) => {
      setExternalId(next);
      if (next === '') sessionStorage.removeItem(EXTERNAL_ID_KEY);
      else sessionStorage.setItem(EXTERNAL_ID_KEY, next);
    },
  ];
}
