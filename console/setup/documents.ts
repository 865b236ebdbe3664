import { keepPreviousData, useQuery } from '@tanstack/react-query';
import { useEffect, useState } from 'react';
import { api, ask } from '../app/client.js';
import { queryClient } from '../app/queryClient.js';
import type { Setup } from './setupSearch.js';

/** A text after nobody changed it for a moment. */
function useSettled(text: string, milliseconds = 400): string {
  const [settled, setSettled] = useState(text);
  useEffect(() => {
    const timer = setTimeout(() => setSettled(text), milliseconds);
    return () => clearTimeout(timer);
  }, [text, milliseconds]);
  return settled;
}

const given = <Name extends string>(name: Name, value: string): Partial<Record<Name, string>> =>
  value.trim() === '' ? {} : ({ [name]: value.trim() } as Record<Name, string>);

/** What narrows documents and checks of policies. */
export const scopeOf = (setup: Setup) => ({
  ...given('prefix', setup.prefix),
  ...given('accountId', setup.account),
  ...given('region', setup.region),
  ...(setup.capabilities.includes('bases2fastq') && {
    ...given('executionRoleArn', setup.executionRole),
    ...given('workflowId', setup.workflow),
    ...given('workflowOwnerId', setup.owner),
  }),
});

/** The IAM documents for a setup, as soon as it names a bucket. */
export function useDocuments(setup: Setup, externalId: string) {
  const query = {
    credentialType: setup.credentialType,
    bucket: setup.bucket.trim(),
    capabilities: [...setup.capabilities],
    variant: setup.variant,
    ...(setup.credentialType === 'role' && given('externalId', externalId)),
    ...scopeOf(setup),
  };
  const settled = useSettled(JSON.stringify(query));
  const parsed = JSON.parse(settled) as typeof query;
  const hasBucket = parsed.bucket !== '';
  const documents = useQuery({
    queryKey: ['iam-documents', settled],
    queryFn: () => ask(api.GET('/v1/iam-documents', { params: { query: parsed } })),
    enabled: hasBucket,
    staleTime: Infinity,
    placeholderData: keepPreviousData,
  });
  return { ...documents, hasBucket, isSettled: settled === JSON.stringify(query) };
}

/** The next documents have a new external ID. */
export function forgetDocuments(): void {
  queryClient.removeQueries({ queryKey: ['iam-documents'] });
}

export type Documents = NonNullable<ReturnType<typeof useDocuments>['data']>;

/** A file for the person to download. The browser makes it; nothing is sent. */
export function download(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: 'text/plain' }));
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}
