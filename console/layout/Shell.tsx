import AppLayout from '@cloudscape-design/components/app-layout';
import BreadcrumbGroup from '@cloudscape-design/components/breadcrumb-group';
import SideNavigation from '@cloudscape-design/components/side-navigation';
import TopNavigation from '@cloudscape-design/components/top-navigation';
import { Outlet, useLocation, useNavigate } from '@tanstack/react-router';
import { type ReactNode, useEffect, useState } from 'react';
import { toHref, toPath } from '../app/base.js';
import { signOut, useSession } from '../auth/session.js';
import { BreadcrumbProvider, useBreadcrumbs } from './breadcrumbs.js';
import { PAGES } from './navigation.js';
import { NotificationProvider, Notifications, useNotify } from './notifications.js';
import { Palette } from './Palette.js';
import styles from './Shell.module.css';
import { setTheme, type Theme, useTheme } from './theme.js';

const THEMES: readonly { id: Theme; text: string }[] = [
  { id: 'system', text: 'Theme of the system' },
  { id: 'light', text: 'Light' },
  { id: 'dark', text: 'Dark' },
];

const isTheme = (id: string): id is Theme => THEMES.some((theme) => theme.id === id);

function Header(): ReactNode {
  const { name, kind } = useSession();
  const { theme } = useTheme();
  const navigate = useNavigate();
  const notify = useNotify();
  const onUserMenu = (id: string): void => {
    if (isTheme(id)) setTheme(id);
    else if (id === 'sign-out')
      signOut().then(
        () => navigate({ to: '/sign-in' }),
        (error: unknown) => notify.failure(error, 'Signing out failed'),
      );
  };
  return (
    <TopNavigation
      identity={{ href: toHref('/'), title: 'polony', onFollow: (event) => follow(event, navigate) }}
      utilities={[
        {
          type: 'button',
          text: 'Go to (Ctrl K)',
          iconName: 'search',
          disableUtilityCollapse: false,
          onClick: openPalette,
        },
        {
          type: 'menu-dropdown',
          text: name,
          description: kind === 'person' ? 'Signed in' : 'Signed in with an API key',
          ariaLabel: `Account of ${name}`,
          iconName: 'user-profile',
          onItemClick: ({ detail }) => onUserMenu(detail.id),
          items: [
            {
              id: 'theme',
              text: 'Appearance',
              items: THEMES.map(({ id, text }) => ({
                itemType: 'checkbox' as const,
                id,
                text,
                checked: id === theme,
              })),
            },
            {
              id: 'api',
              text: 'API documentation',
              href: toHref('/docs'),
              external: true,
              externalIconAriaLabel: '(new tab)',
            },
            { id: 'sign-out', text: 'Sign out' },
          ],
        },
      ]}
      i18nStrings={{
        searchIconAriaLabel: 'Search',
        searchDismissIconAriaLabel: 'Close search',
        overflowMenuTriggerText: 'More',
        overflowMenuTitleText: 'All',
        overflowMenuBackIconAriaLabel: 'Back',
        overflowMenuDismissIconAriaLabel: 'Close the menu',
      }}
    />
  );
}

/** The palette listens for its keys; the button presses them. */
function openPalette(): void {
  document.dispatchEvent(new KeyboardEvent('keydown', { key: 'k', ctrlKey: true }));
}

interface FollowEvent {
  preventDefault: () => void;
  detail: { href?: string; external?: boolean };
}

/** Follows a link of Cloudscape without loading the page again. */
function follow(event: FollowEvent, navigate: ReturnType<typeof useNavigate>): void {
  const { href, external } = event.detail;
  const path = href === undefined ? undefined : toPath(href);
  if (external === true || path === undefined) return;
  event.preventDefault();
  void navigate({ to: path });
}

function Navigation(): ReactNode {
  const { can } = useSession();
  const { pathname } = useLocation();
  const navigate = useNavigate();
  const visible = PAGES.filter(({ needs }) => needs.some((each) => can(each)));
  const active =
    visible.filter(({ href }) => href !== '/' && pathname.startsWith(href)).at(0)?.href ??
    (pathname === '/' ? '/' : '');
  const sections = [...new Set(visible.map(({ section }) => section))];
  return (
    <SideNavigation
      activeHref={toHref(active)}
      onFollow={(event) => follow(event, navigate)}
      items={sections.map((section) => ({
        type: 'section-group' as const,
        title: section,
        items: visible
          .filter((page) => page.section === section)
          .map(({ text, href }) => ({ type: 'link' as const, text, href: toHref(href) })),
      }))}
    />
  );
}

function Breadcrumbs(): ReactNode {
  const items = useBreadcrumbs();
  const navigate = useNavigate();
  if (items.length < 2) return null;
  return (
    <BreadcrumbGroup
      ariaLabel="Breadcrumbs"
      items={items.map(({ text, href }) => ({ text, href: toHref(href) }))}
      onFollow={(event) => follow(event, navigate)}
    />
  );
}

/** On narrow windows, AppLayout gives a `nav` an attribute that ARIA does not allow there. */
function removeWrongOrientation(): void {
  for (const each of document.querySelectorAll('nav[aria-orientation]')) each.removeAttribute('aria-orientation');
}

/** Keeps the address: its last part says which tab of a page is open. */
function skipToContent(event: { preventDefault: () => void }): void {
  event.preventDefault();
  document.getElementById('main')?.focus();
}

function Layout(): ReactNode {
  const [isNavigationOpen, setNavigationOpen] = useState(() => matchMedia('(min-width: 900px)').matches);
  const { pathname } = useLocation();
  useEffect(removeWrongOrientation);
  useEffect(() => {
    const narrow = matchMedia('(max-width: 688px)');
    narrow.addEventListener('change', removeWrongOrientation);
    return () => narrow.removeEventListener('change', removeWrongOrientation);
  }, []);
  useEffect(() => {
    if (matchMedia('(max-width: 688px)').matches) setNavigationOpen(false);
  }, [pathname]);
  return (
    <>
      <a href="#main" className={styles.skip} onClick={skipToContent}>
        Skip to the content
      </a>
      <div id="header" className={styles.header}>
        <Header />
      </div>
      <AppLayout
        headerSelector="#header"
        navigation={<Navigation />}
        navigationOpen={isNavigationOpen}
        onNavigationChange={({ detail }) => setNavigationOpen(detail.open)}
        toolsHide
        breadcrumbs={<Breadcrumbs />}
        notifications={<Notifications />}
        stickyNotifications
        content={
          <div id="main" tabIndex={-1} className={styles.main}>
            <Outlet />
          </div>
        }
        ariaLabels={{
          navigation: 'Pages',
          navigationClose: 'Close the list of pages',
          navigationToggle: 'Open the list of pages',
          notifications: 'Messages',
        }}
      />
      <Palette />
    </>
  );
}

/** The frame of every page that needs a session. */
export function Shell(): ReactNode {
  return (
    <NotificationProvider>
      <BreadcrumbProvider>
        <Layout />
      </BreadcrumbProvider>
    </NotificationProvider>
  );
}
