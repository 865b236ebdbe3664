import Link, { type LinkProps } from '@cloudscape-design/components/link';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { toHref } from '../app/base.js';

/** An address within the console, such as `/runs?filter=q30%3E90`, as the router takes it. */
export function splitAddress(href: string): { to: string; search?: Record<string, string> } {
  const [to = '', query] = href.split('?');
  return { to, ...(query !== undefined && { search: Object.fromEntries(new URLSearchParams(query)) }) };
}

/** A link to a page of the console. */
export function LinkTo({ href, children, ...props }: LinkProps & { href: string }): ReactNode {
  const navigate = useNavigate();
  return (
    <Link
      {...props}
      href={toHref(href)}
      onFollow={(event) => {
        if (event.detail.external === true) return;
        event.preventDefault();
        void navigate(splitAddress(href));
      }}
    >
      {children}
    </Link>
  );
}
