import ContentLayout from '@cloudscape-design/components/content-layout';
import Header from '@cloudscape-design/components/header';
import { useParams } from '@tanstack/react-router';
import type { ReactNode } from 'react';
import { useChanges } from '../app/changes.js';
import { isKind, type Kind, KINDS } from '../connections/kinds.js';
import { useOne } from '../connections/queries.js';
import { usePageTitle } from '../layout/breadcrumbs.js';
import { NotFound } from '../layout/Problems.js';
import { LinkTo } from '../shared/LinkTo.js';
import { VerificationPanel } from './VerificationPanel.js';

/** The report of one provider, connection or flow. */
export function VerificationPage(): ReactNode {
  const { kind = '', id = '' }: { kind?: string; id?: string } = useParams({ strict: false });
  return isKind(kind) ? <VerificationOf kind={kind} id={id} /> : <NotFound />;
}

function VerificationOf({ kind, id }: { kind: Kind; id: string }): ReactNode {
  const { title, href, noun } = KINDS[kind];
  const one = useOne(kind, id);
  const name = one.data?.name ?? noun;
  useChanges({ topics: ['verifications'] });
  usePageTitle(
    { text: title, href },
    { text: name, href: `${href}/${id}` },
    { text: 'Verification', href: `/verification/${kind}/${id}` },
  );
  return (
    <ContentLayout
      header={
        <Header variant="h1" description={<LinkTo href={`${href}/${id}`}>Settings of the {noun}</LinkTo>}>
          Verification of {name}
        </Header>
      }
    >
      <VerificationPanel kind={kind} id={id} />
    </ContentLayout>
  );
}
