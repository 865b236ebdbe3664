import Button, { type ButtonProps } from '@cloudscape-design/components/button';
import { useNavigate } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { toHref } from '../app/base.js';
import { splitAddress } from './LinkTo.js';

/** A button that goes to a page of the console. */
export function ButtonTo({ href, children, ...props }: ButtonProps & { href: string }): ReactNode {
  const navigate = useNavigate();
  return (
    <Button
      {...props}
      href={toHref(href)}
      onFollow={(event) => {
        event.preventDefault();
        void navigate(splitAddress(href));
      }}
    >
      {children}
    </Button>
  );
}
