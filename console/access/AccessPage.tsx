import type { ReactNode } from 'react';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { StorageChoice } from '../shared/StorageChoice.js';

/** Chooses the bucket whose access is managed. */
export function AccessPage(): ReactNode {
  usePageTitle({ text: 'Manage Data Access', href: '/access' });
  return (
    <StorageChoice
      title="Manage Data Access"
      description="Choose a bucket to see who may read it, and to share it with roles, users and accounts of AWS."
      scope="storage:share"
      path="/access"
    />
  );
}
