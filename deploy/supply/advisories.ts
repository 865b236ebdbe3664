import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { isProgram, ROOT } from './packages.js';

const run = promisify(execFile);

/** Advisories that do not concern polony: the reason, and the day from which they count again (YYYY-MM-DD). */
const ACCEPTED: Readonly<Record<string, { reason: string; until: string }>> = {};

/** An advisory about a production dependency. */
export interface Advisory {
  package: string;
  /** Address of its page, which ends with its ID. */
  url: string;
  title: string;
  severity: string;
}

/** What `npm audit` found. Without an answer from the registry, nothing was checked. */
export type AuditResult = { isChecked: true; advisories: Advisory[] } | { isChecked: false; why: string };

interface Report {
  message?: string;
  error?: { summary?: string; code?: string };
  auditReportVersion?: number;
  vulnerabilities?: Record<
    string,
    { via: (string | { name: string; url: string; title: string; severity: string })[] }
  >;
}

/** Reads the JSON of `npm audit`. npm ends with an error in both cases, so the exit code does not tell them apart. */
export function readAuditReport(text: string): AuditResult {
  let report: Report;
  try {
    report = JSON.parse(text) as Report;
  } catch {
    return { isChecked: false, why: 'npm audit printed no report' };
  }
  if (report.auditReportVersion === undefined || report.vulnerabilities === undefined)
    return { isChecked: false, why: report.message ?? report.error?.summary ?? 'npm audit printed no report' };
  const found = Object.values(report.vulnerabilities).flatMap(({ via }) =>
    via.flatMap((each) => (typeof each === 'string' ? [] : [each])),
  );
  const byUrl = new Map(found.map(({ name, url, title, severity }) => [url, { package: name, url, title, severity }]));
  return { isChecked: true, advisories: [...byUrl.values()] };
}

/** Asks the registry of npm's settings about the production dependencies of the lockfile. */
async function audit(): Promise<AuditResult> {
  const command = ['audit', '--omit=dev', '--json', '--audit=true'];
  const output = await run('npm', command, { cwd: process.env.INIT_CWD ?? ROOT, maxBuffer: 1 << 26 }).then(
    ({ stdout }) => stdout,
    (error: unknown) => (error as { stdout?: string }).stdout ?? '',
  );
  return readAuditReport(output);
}

/** Splits advisories into those that count and those that were accepted and still are. */
export function splitAccepted(
  advisories: readonly Advisory[],
  accepted: Readonly<Record<string, { reason: string; until: string }>>,
  today: string,
): { open: Advisory[]; accepted: Advisory[] } {
  const isAccepted = ({ url }: Advisory): boolean => {
    const until = accepted[url.split('/').pop()!]?.until;
    return until !== undefined && today < until;
  };
  return {
    open: advisories.filter((each) => !isAccepted(each)),
    accepted: advisories.filter((each) => isAccepted(each)),
  };
}

if (isProgram(import.meta.url)) {
  const result = await audit();
  const mustCheck = process.argv.includes('--require');
  if (!result.isChecked) {
    // Addresses of registries may hold credentials.
    const why = result.why.replace(/https?:\/\/\S+/g, 'the registry');
    process.stderr.write(
      `ADVISORIES NOT CHECKED: ${why}. Repeat \`npm run advisories\` where npm reaches a registry that answers audits.\n`,
    );
    if (mustCheck) process.exitCode = 1;
  } else {
    const { open, accepted } = splitAccepted(result.advisories, ACCEPTED, new Date().toISOString().slice(0, 10));
    for (const { package: name, severity, title, url } of open)
      process.stderr.write(`${severity}: ${name}: ${title} (${url})\n`);
    for (const { package: name, title, url } of accepted)
      process.stdout.write(`accepted: ${name}: ${title} (${ACCEPTED[url.split('/').pop()!]!.reason})\n`);
    if (open.length > 0) {
      process.stderr.write(
        'Update these packages, or accept an advisory with a reason and a day in deploy/supply/advisories.ts.\n',
      );
      process.exitCode = 1;
    } else process.stdout.write('Advisories checked: none is open for a production dependency.\n');
  }
}
