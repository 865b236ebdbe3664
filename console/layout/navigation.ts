import type { ScopeAction } from '../../domain/auth/scopes.js';
/** A page of the console, and what its caller must be allowed to do. */
export interface Page {
  text: string;
  href: string;
  /** One of these scopes shows the page. */
  needs: readonly ScopeAction[];
  section: 'Data' | 'Connections' | 'Administration';
}

export const PAGES: readonly Page[] = [
  { section: 'Data', text: 'Overview', href: '/', needs: ['runs:read', 'executions:read'] },
  { section: 'Data', text: 'Runs', href: '/runs', needs: ['runs:read'] },
  { section: 'Data', text: 'Executions', href: '/executions', needs: ['executions:read'] },
  { section: 'Data', text: 'Instruments', href: '/instruments', needs: ['instruments:read'] },
  { section: 'Data', text: 'Data Explorer', href: '/data', needs: ['storage:download'] },
  { section: 'Data', text: 'Manage Data Access', href: '/access', needs: ['storage:share'] },
  { section: 'Connections', text: 'Set up', href: '/setup', needs: ['providers:write'] },
  { section: 'Connections', text: 'Providers', href: '/providers', needs: ['providers:read'] },
  { section: 'Connections', text: 'Storage', href: '/storage', needs: ['storage:read'] },
  { section: 'Connections', text: 'Compute', href: '/compute', needs: ['compute:read'] },
  { section: 'Connections', text: 'Flows', href: '/flows', needs: ['flows:read'] },
  { section: 'Administration', text: 'API keys', href: '/keys', needs: ['keys:read'] },
  { section: 'Administration', text: 'Audit log', href: '/audit', needs: ['audit:read'] },
  { section: 'Administration', text: 'Webhooks', href: '/webhooks', needs: ['webhooks:read'] },
];
