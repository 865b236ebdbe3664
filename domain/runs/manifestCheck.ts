import { FileFormatError } from '../errors.js';
import { parseRunManifest, type RunManifest, UncheckableManifest } from './manifest.js';
import type { ManifestFinding, RatedFinding } from './manifestFindings.js';
import type { ManifestedRun } from './manifestContext.js';
import { findManifestProblems } from './manifestRules.js';
import { decodeManifest } from './manifestText.js';

export type { ManifestedRun, ManifestFinding };

/** The result of checking a run manifest. */
export interface ManifestReport {
  errors: ManifestFinding[];
  warnings: ManifestFinding[];
  /** Number of distinct sample names. */
  samples: number;
  /** Number of findings that are not listed, because there are too many. */
  more: number;
}

const MOST_FINDINGS = 100;

/**
 * Checks a run manifest before polony starts a run that would cost money and fail. An error makes Bases2Fastq abort, or
 * mixes samples of two projects in one folder (`--no-projects`). A warning may be intended. Never throws.
 * @param content its text, or its bytes; for bytes polony also checks the encoding.
 */
export function checkRunManifest(content: string | Uint8Array, run: ManifestedRun): ManifestReport {
  const report: ManifestReport = { errors: [], warnings: [], samples: 0, more: 0 };
  let manifest: RunManifest;
  try {
    manifest = parseRunManifest(typeof content === 'string' ? content : decodeManifest(content));
  } catch (error) {
    if (error instanceof UncheckableManifest)
      addFinding(report, { severity: 'warning', rule: 'not-checked', line: error.line, message: error.message });
    else if (error instanceof FileFormatError) addFinding(report, formatFinding(error));
    else throw error;
    return report;
  }
  report.samples = new Set(manifest.samples.map((sample) => sample.name)).size;
  for (const finding of findManifestProblems(manifest, run)) addFinding(report, finding);
  return report;
}

function formatFinding({ line, column, message }: FileFormatError): RatedFinding {
  const withoutPlace = message.replace(/^RunManifest\.csv[^:]*: /, '');
  return { severity: 'error', rule: 'format', line, column, message: withoutPlace };
}

/** Adds a finding while there is room. The first error always has room, because it decides whether a run can start. */
function addFinding(report: ManifestReport, { severity, rule, line, column, message }: RatedFinding): void {
  const { errors, warnings } = report;
  const isFirstError = severity === 'error' && errors.length === 0;
  if (errors.length + warnings.length >= MOST_FINDINGS && !isFirstError) {
    report.more++;
    return;
  }
  const finding = { rule, ...(line !== undefined && { line }), ...(column !== undefined && { column }), message };
  (severity === 'error' ? errors : warnings).push(finding);
}

/** Describes findings in one text, each with its place. */
export function describeFindings(findings: readonly ManifestFinding[], most = 5): string {
  const shown = findings.slice(0, most).map((finding) => `${describePlace(finding)}${finding.message}`);
  return `${shown.join('; ')}${findings.length > most ? `; and ${findings.length - most} more` : ''}`;
}

function describePlace({ line, column }: ManifestFinding): string {
  if (line === undefined) return '';
  return `line ${line}${column === undefined ? '' : ` column ${column}`}: `;
}
