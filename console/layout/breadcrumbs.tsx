import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from 'react';

/** A link in the path to this page. */
export interface Crumb {
  text: string;
  href: string;
}

const CrumbsContext = createContext<readonly Crumb[]>([]);
const SetCrumbsContext = createContext<(crumbs: readonly Crumb[]) => void>(() => undefined);

/** Keeps the path to the page that is shown. */
export function BreadcrumbProvider({ children }: { children: ReactNode }): ReactNode {
  const [crumbs, setCrumbs] = useState<readonly Crumb[]>([]);
  return (
    <SetCrumbsContext value={setCrumbs}>
      <CrumbsContext value={crumbs}>{children}</CrumbsContext>
    </SetCrumbsContext>
  );
}

/** The path to the page. */
export const useBreadcrumbs = (): readonly Crumb[] => useContext(CrumbsContext);

/** Says where this page is, in the path and in the title of the window. The last item is the page itself. */
export function usePageTitle(...crumbs: readonly Crumb[]): void {
  const setCrumbs = useContext(SetCrumbsContext);
  const key = JSON.stringify(crumbs);
  const stable = useMemo(() => JSON.parse(key) as Crumb[], [key]);
  useEffect(() => {
    setCrumbs(stable);
    document.title = [...stable.map(({ text }) => text).reverse(), 'polony'].join(' · ');
  }, [setCrumbs, stable]);
}
