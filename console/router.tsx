import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from '@tanstack/react-router';
import { ApiFailure } from './app/client.js';
import { BASE_PATH } from './app/base.js';
import { AUDIT_TEXTS } from './audit/search.js';
import { loadSession } from './auth/session.js';
import { NotFound, PageFailure } from './layout/Problems.js';
import { type ListSearch, readListSearch, readTexts } from './shared/listSearch.js';

const root = createRootRoute({ notFoundComponent: NotFound });

/** Pages that need a session. The address that somebody opened is kept until after the sign-in. */
const shell = createRoute({
  getParentRoute: () => root,
  id: 'shell',
  component: lazyRouteComponent(() => import('./layout/Shell.js'), 'Shell'),
  beforeLoad: async ({ location }) => {
    try {
      await loadSession();
    } catch (error) {
      if (error instanceof ApiFailure && error.status === 401)
        // eslint-disable-next-line @typescript-eslint/only-throw-error -- The router catches it.
        throw redirect({ to: '/sign-in', search: location.href === '/' ? {} : { returnTo: location.href } });
      throw error;
    }
  },
  notFoundComponent: NotFound,
});

const page = <Path extends string, Search extends ListSearch = ListSearch>(
  path: Path,
  load: () => Promise<Record<string, unknown>>,
  name: string,
  readSearch: (search: Record<string, unknown>) => Search = readListSearch as (
    search: Record<string, unknown>,
  ) => Search,
) =>
  createRoute({
    getParentRoute: () => shell,
    path,
    validateSearch: readSearch,
    component: lazyRouteComponent(load as () => Promise<Record<string, never>>, name),
  });

const signIn = createRoute({
  getParentRoute: () => root,
  path: '/sign-in',
  validateSearch: (search): { returnTo?: string; error?: string } => ({
    ...(typeof search.returnTo === 'string' && { returnTo: search.returnTo }),
    ...(typeof search.error === 'string' && { error: search.error }),
  }),
  component: lazyRouteComponent(() => import('./auth/SignInPage.js'), 'SignInPage'),
});

const routeTree = root.addChildren([
  signIn,
  shell.addChildren([
    page('/', () => import('./overview/OverviewPage.js'), 'OverviewPage'),
    page('/runs', () => import('./runs/RunsPage.js'), 'RunsPage'),
    page('/runs/$id', () => import('./runs/RunPage.js'), 'RunPage'),
    page('/data', () => import('./files/DataPage.js'), 'DataPage'),
    page(
      '/data/$storageId',
      () => import('./files/StorageDataPage.js'),
      'StorageDataPage',
      readTexts('prefix', 'file'),
    ),
    page('/access', () => import('./access/AccessPage.js'), 'AccessPage'),
    page('/access/$storageId', () => import('./access/StorageAccessPage.js'), 'StorageAccessPage'),
    page('/keys', () => import('./keys/KeysPage.js'), 'KeysPage'),
    page('/audit', () => import('./audit/AuditPage.js'), 'AuditPage', readTexts(...AUDIT_TEXTS)),
    page('/webhooks', () => import('./webhooks/WebhooksPage.js'), 'WebhooksPage'),
    page('/webhooks/$id', () => import('./webhooks/WebhookPage.js'), 'WebhookPage', readTexts('state')),
  ]),
]);

export const router = createRouter({
  routeTree,
  ...(BASE_PATH !== '' && { basepath: BASE_PATH }),
  defaultPreload: 'intent',
  defaultPreloadStaleTime: 0,
  defaultErrorComponent: PageFailure,
  scrollRestoration: true,
});

declare module '@tanstack/react-router' {
  interface Register {
    router: typeof router;
  }
}
