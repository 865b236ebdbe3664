import { createRootRoute, createRoute, createRouter, lazyRouteComponent, redirect } from '@tanstack/react-router';
import { ApiFailure } from './app/client.js';
import { BASE_PATH } from './app/base.js';
import { AUDIT_TEXTS } from './audit/search.js';
import { loadSession } from './auth/session.js';
import { NotFound, PageFailure } from './layout/Problems.js';
import { readSetupSearch } from './setup/setupSearch.js';
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

const setup = createRoute({
  getParentRoute: () => shell,
  path: '/setup',
  validateSearch: readSetupSearch,
  component: lazyRouteComponent(() => import('./setup/SetupPage.js'), 'SetupPage'),
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

const providers = () => import('./connections/ProvidersPage.js');
const storage = () => import('./connections/StoragePage.js');
const compute = () => import('./connections/ComputePage.js');
const flows = () => import('./connections/FlowsPage.js');

const routeTree = root.addChildren([
  signIn,
  shell.addChildren([
    page('/', () => import('./overview/OverviewPage.js'), 'OverviewPage'),
    page('/runs', () => import('./runs/RunsPage.js'), 'RunsPage'),
    page('/runs/$id', () => import('./runs/RunPage.js'), 'RunPage', readTexts('prefix', 'file')),
    page('/executions', () => import('./executions/ExecutionsPage.js'), 'ExecutionsPage'),
    page(
      '/executions/$id',
      () => import('./executions/ExecutionPage.js'),
      'ExecutionPage',
      readTexts('prefix', 'file'),
    ),
    page('/instruments', () => import('./instruments/InstrumentsPage.js'), 'InstrumentsPage'),
    page('/instruments/$serial', () => import('./instruments/InstrumentPage.js'), 'InstrumentPage', readTexts('since')),
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
    setup,
    page('/providers', providers, 'ProvidersPage'),
    page('/providers/new', providers, 'NewProviderPage'),
    page('/providers/$id', providers, 'ProviderPage'),
    page('/providers/$id/edit', providers, 'EditProviderPage'),
    page('/storage', storage, 'StorageListPage'),
    page('/storage/new', storage, 'NewStoragePage'),
    page('/storage/$id', storage, 'StoragePage'),
    page('/storage/$id/edit', storage, 'EditStoragePage'),
    page('/compute', compute, 'ComputeListPage'),
    page('/compute/new', compute, 'NewComputePage'),
    page('/compute/$id', compute, 'ComputePage'),
    page('/compute/$id/edit', compute, 'EditComputePage'),
    page('/flows', flows, 'FlowsPage'),
    page('/flows/new', flows, 'NewFlowPage'),
    page('/flows/$id', flows, 'FlowPage'),
    page('/flows/$id/edit', flows, 'EditFlowPage'),
    page('/verification/$kind/$id', () => import('./verification/VerificationPage.js'), 'VerificationPage'),
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
