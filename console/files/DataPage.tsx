import type { ReactNode } from 'react';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { StorageChoice } from '../shared/StorageChoice.js';

/** Chooses whose files to see. */
export function DataPage(): ReactNode {
  usePageTitle({ text: 'Data Explorer', href: '/data' });
  return (
    <StorageChoice
      title="Data Explorer"
      description="Choose a bucket to see its folders and files."
      scope="storage:download"
      path="/data"
    />
  );
}
