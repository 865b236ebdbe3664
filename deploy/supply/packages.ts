import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The folder of the repository. */
export const ROOT = fileURLToPath(new URL('../../', import.meta.url));

/** A package of the lockfile. */
export interface LockedPackage {
  /** Its folder, such as `node_modules/pg`. */
  folder: string;
  name: string;
  version: string;
  license?: string;
  /** Whether only development uses it. */
  dev?: boolean;
  /** Whether an installation may leave it out, for example on another platform. */
  optional?: boolean;
  hasInstallScript?: boolean;
}

/** Every package of package-lock.json. @param root the folder with the lockfile. */
export function lockedPackages(root: string = ROOT): LockedPackage[] {
  const { packages } = JSON.parse(readFileSync(path.join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, Omit<LockedPackage, 'folder'>>;
  };
  return Object.entries(packages)
    .filter(([folder]) => folder !== '')
    .map(([folder, locked]) => ({ ...locked, folder, name: locked.name ?? folder.split('node_modules/').pop()! }));
}

/** The package.json of an installed package, or undefined where it is not installed. */
export function installedManifest(
  { folder }: Pick<LockedPackage, 'folder'>,
  root: string = ROOT,
): Record<string, unknown> | undefined {
  const file = path.join(root, folder, 'package.json');
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Record<string, unknown>) : undefined;
}

/** Whether a file is the program that Node.js runs, and not imported by another. */
export function isProgram(url: string): boolean {
  return process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(url);
}
