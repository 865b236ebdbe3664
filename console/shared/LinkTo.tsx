import Link, { type LinkProps } from '@cloudscape-design/components/link';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { toHref } from '../app/base.js';

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
        const [to, query] = href.split('?');
        void navigate({
          to: to!,
          ...(query !== undefined && { search: Object.fromEntries(new URLSearchParams(query)) }),
        });
      }}
    >
      {children}
    </Link>
  );
}
