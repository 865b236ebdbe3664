import { installedManifest, isProgram, type LockedPackage, lockedPackages } from './packages.js';

/** Licences that ask for no more than their text and a notice. */
const ALLOWED: ReadonlySet<string> = new Set([
  '0BSD',
  'Apache-2.0',
  'BlueOak-1.0.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  'CC0-1.0',
  'ISC',
  'MIT',
  'Python-2.0',
  'Unlicense',
  'Zlib',
]);

/** Packages that are accepted all the same, with what they declare and why. */
const EXCEPTIONS: Readonly<Record<string, { declares: string | undefined; reason: string }>> = {
  'caniuse-lite': {
    declares: 'CC-BY-4.0',
    reason: 'data about browsers, which webpack reads when it bundles workflows; unchanged, with its licence',
  },
  unionfs: { declares: undefined, reason: 'its file LICENSE is the Unlicense, and package.json does not say so' },
};

/**
 * Whether an SPDX expression allows use under the allowed licences: every part of AND, or one part of OR.
 * Unknown words are not allowed.
 */
export function isAllowedLicence(expression: string): boolean {
  const tokens = expression.match(/[()]|[^\s()]+/g) ?? [];
  let at = 0;
  const readOne = (): boolean => {
    const token = tokens[at++];
    if (token !== '(') return token !== undefined && ALLOWED.has(token);
    const isAllowed = readAny();
    return tokens[at++] === ')' && isAllowed;
  };
  const readAll = (): boolean => {
    let isAllowed = readOne();
    while (tokens[at] === 'AND') {
      at++;
      // Read the part in any case: it must not stay behind.
      const next = readOne();
      isAllowed = isAllowed && next;
    }
    return isAllowed;
  };
  const readAny = (): boolean => {
    let isAllowed = readAll();
    while (tokens[at] === 'OR') {
      at++;
      const next = readAll();
      isAllowed = isAllowed || next;
    }
    return isAllowed;
  };
  const isAllowed = readAny();
  return isAllowed && at === tokens.length;
}

/** What a package declares: in its own package.json if it is installed, else in the lockfile. */
function declaredLicence(locked: LockedPackage): string | undefined {
  // Old packages have an object.
  const { license: licence = locked.license } = (installedManifest(locked) ?? {}) as {
    license?: string | { type?: string };
  };
  return typeof licence === 'string' ? licence : licence?.type;
}

/** The packages whose licence is unknown or not allowed, as lines. */
export function findLicenceProblems(
  packages: readonly LockedPackage[],
  licenceOf: (locked: LockedPackage) => string | undefined = declaredLicence,
): string[] {
  return packages.flatMap((locked) => {
    const licence = licenceOf(locked);
    const exception = Object.hasOwn(EXCEPTIONS, locked.name) ? EXCEPTIONS[locked.name] : undefined;
    // Another licence than the one that was looked at is a new question.
    if (exception !== undefined && exception.declares === licence) return [];
    if (licence !== undefined && isAllowedLicence(licence)) return [];
    return [`${locked.name}@${locked.version} declares ${licence ?? 'no licence'}`];
  });
}

/** Exceptions that no package needs any more. */
export function findUnusedExceptions(packages: readonly LockedPackage[]): string[] {
  return Object.keys(EXCEPTIONS).filter((name) => !packages.some((locked) => locked.name === name));
}

if (isProgram(import.meta.url)) {
  const production = lockedPackages().filter(({ dev }) => dev !== true);
  const problems = [
    ...findLicenceProblems(production),
    ...findUnusedExceptions(production).map((name) => `${name} is an exception, but no dependency any more: remove it`),
  ];
  for (const problem of problems) process.stderr.write(`${problem}\n`);
  if (problems.length > 0) {
    process.stderr.write('Remove these packages, or add the licence or an exception to deploy/supply/licences.ts.\n');
    process.exitCode = 1;
  } else {
    const exceptions = Object.entries(EXCEPTIONS).map(([name, { reason }]) => `${name} (${reason})`);
    process.stdout.write(`${production.length} production packages have an allowed licence.\n`);
    process.stdout.write(`Exceptions: ${exceptions.join('; ')}\n`);
  }
}
