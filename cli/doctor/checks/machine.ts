import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { SETTING_GROUPS } from '../../settings/schema.js';
import type { DoctorBasics } from '../context.js';
import { type Check, failure, type Finding, ok, warning } from '../finding.js';

type Found = Omit<Finding, 'check'>;

/** Each watched run, stream and AWS call needs a file descriptor. */
const FEW_FILES = 4096;
const LITTLE_SPACE = 256 * 1024 * 1024;
/** As in package.json; test/unit/doctor.test.ts compares them. */
export const NODE_RANGE = { from: [20, 19], below: 25 } as const;

/** The checks of this machine and this process. They need no setting. */
export function machineChecks(basics: DoctorBasics): Check[] {
  return [
    { name: 'polony', run: async () => [checkNode(process.versions.node, basics.version)] },
    { name: 'setting names', run: async () => checkNames(basics.env) },
    { name: 'limits', run: checkLimits },
  ];
}

/** Whether this Node.js can run polony. */
export function checkNode(node: string, version: string): Found {
  const [major = 0, minor = 0] = node.split('.').map(Number);
  const [fromMajor, fromMinor] = NODE_RANGE.from;
  const isNew = major > fromMajor || (major === fromMajor && minor >= fromMinor);
  if (isNew && major < NODE_RANGE.below) return ok(`polony ${version} on Node.js ${node}`);
  return failure(
    `polony ${version} does not support Node.js ${node}`,
    `Install Node.js ${fromMajor}.${fromMinor} or later, below ${NODE_RANGE.below}`,
  );
}

const KNOWN_NAMES = new Set(SETTING_GROUPS.flatMap(({ settings }) => Object.keys(settings)));
/**
 * Settings of the command line and of the local stack, which the reference of settings does not have. POLONY_GUARD marks
 * the processes of a local stack (local/guardian.ts).
 */
const OTHER_NAMES = /^POLONY_(API_URL|PROFILE|CONFIG|HOME|CACHE|GUARD$|NO_|LOCAL_|TEST_|SCHEMATHESIS_|RUNTIME_)/;

/** A setting whose name has a typing error has no effect, and no process complains about it. */
export function checkNames(env: Readonly<Record<string, string | undefined>>): Found[] {
  const unknown = Object.keys(env)
    .filter((name) => /^(POLONY|TEMPORAL)_/.test(name) && !OTHER_NAMES.test(name))
    .filter((name) => !KNOWN_NAMES.has(name) && !KNOWN_NAMES.has(name.replace(/_FILE$/, '')))
    .filter((name) => name.startsWith('POLONY_'))
    .sort();
  if (unknown.length === 0) return [ok('Every POLONY_ variable is a setting of this version')];
  return [
    warning(
      `This version has no setting ${unknown.join(', ')}, so it has no effect`,
      'Correct the name; docs/reference/settings.md has all of them',
    ),
  ];
}

async function checkLimits(): Promise<Found[]> {
  const findings: Found[] = [];
  const files = openFiles();
  if (files !== undefined && files < FEW_FILES)
    findings.push(
      warning(
        `This process may open ${files} files and connections, which a worker that watches many runs exceeds`,
        `Raise the limit to ${FEW_FILES} or more: ulimit -n, LimitNOFILE of systemd, or ulimits of the container`,
      ),
    );
  const space = await statfs(tmpdir()).then(
    ({ bavail, bsize }) => bavail * bsize,
    () => undefined,
  );
  if (space !== undefined && space < LITTLE_SPACE)
    findings.push(
      warning(`${tmpdir()} has ${Math.round(space / 1024 / 1024)} MB left`, 'Free space there, or set TMPDIR'),
    );
  return findings.length > 0 ? findings : [ok(`${files ?? 'Unknown'} open files allowed; temporary files have space`)];
}

/** The soft limit of open files; undefined where it is unknown, or there is none. */
function openFiles(): number | undefined {
  try {
    const limit = /^Max open files\s+(\S+)/m.exec(readFileSync('/proc/self/limits', 'utf8'))?.[1];
    return limit === undefined || limit === 'unlimited' ? undefined : Number(limit);
  } catch {
    return undefined;
  }
}
