import Alert from '@cloudscape-design/components/alert';
import Box from '@cloudscape-design/components/box';
import SpaceBetween from '@cloudscape-design/components/space-between';
import type { ReactNode } from 'react';
import { formatNumber } from '../shared/format.js';

interface Finding {
  rule: string;
  message: string;
  line?: number;
  column?: number;
}

/** What the check of a run manifest found. */
export interface ManifestFindings {
  errors: readonly Finding[];
  warnings: readonly Finding[];
  samples: number;
  /** How many more findings there are. */
  more: number;
  /** Whether an execution with this manifest would not start. */
  stops?: boolean;
}

/** Reads the report that an execution keeps, whose form the API does not fix. */
export function readManifestFindings(report: Readonly<Record<string, unknown>> | null): ManifestFindings | undefined {
  if (report === null || !Array.isArray(report.errors) || !Array.isArray(report.warnings)) return undefined;
  return { samples: 0, more: 0, ...report } as unknown as ManifestFindings;
}

function Findings({ items }: { items: readonly Finding[] }): ReactNode {
  return (
    <ul>
      {items.map(({ rule, message, line, column }, at) => (
        <li key={`${rule}-${at}`}>
          {line !== undefined && (
            <b>
              Line {line}
              {column !== undefined && `, column ${column}`}:{' '}
            </b>
          )}
          {message} <Box variant="code">{rule}</Box>
        </li>
      ))}
    </ul>
  );
}

/** The findings in a run manifest, by line. */
export function ManifestReport({ report }: { report: ManifestFindings }): ReactNode {
  const { errors, warnings, samples, more, stops } = report;
  return (
    <SpaceBetween size="s">
      {errors.length > 0 && (
        <Alert type="error" header={stops === false ? 'Errors, which the flow only warns of' : 'Errors'}>
          <Findings items={errors} />
        </Alert>
      )}
      {warnings.length > 0 && (
        <Alert type="warning" header="Warnings">
          <Findings items={warnings} />
        </Alert>
      )}
      {errors.length === 0 && warnings.length === 0 && (
        <Alert type="success">The run manifest has no problem that polony knows.</Alert>
      )}
      <Box color="text-body-secondary">
        {formatNumber(samples)} samples{more > 0 && `; ${formatNumber(more)} more findings are not shown`}
      </Box>
    </SpaceBetween>
  );
}
