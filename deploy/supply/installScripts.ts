import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { installedManifest, isProgram, type LockedPackage, lockedPackages, ROOT } from './packages.js';

/** The scripts that npm runs when it installs a package from a registry. */
const INSTALL_SCRIPTS = ['preinstall', 'install', 'postinstall'];

/** The packages whose install scripts may run, as package.json names them. */
export function allowedPackages(root: string = ROOT): Set<string> {
  const { allowScripts } = JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as {
    allowScripts: Record<string, boolean>;
  };
  return new Set(Object.keys(allowScripts).filter((name) => allowScripts[name]));
}

/**
 * Whether a package runs a script when it is installed: by the lockfile, by its own package.json, or because npm builds
 * packages that have a `binding.gyp`. The lockfile alone is what somebody wrote into it.
 */
function runsScript(locked: LockedPackage, root: string): boolean {
  const scripts = (installedManifest(locked, root)?.scripts ?? {}) as Record<string, string>;
  return (
    locked.hasInstallScript === true ||
    INSTALL_SCRIPTS.some((name) => scripts[name] !== undefined) ||
    existsSync(path.join(root, locked.folder, 'binding.gyp'))
  );
}

/** What is wrong with the install scripts, as lines. */
export function findScriptProblems(root: string = ROOT): string[] {
  const allowed = allowedPackages(root);
  const withScript = lockedPackages(root).filter((locked) => runsScript(locked, root));
  const unnamed = withScript.filter(({ name }) => !allowed.has(name));
  const unneeded = [...allowed].filter((name) => !withScript.some((locked) => locked.name === name));
  return [
    ...unnamed.map(({ name, version }) => `${name}@${version} has an install script that package.json does not name`),
    ...unneeded.map((name) => `package.json names ${name}, which has no install script`),
  ];
}

// Runs the scripts that `npm ci --ignore-scripts` left out, of the packages that package.json names, and of no others.
if (isProgram(import.meta.url)) {
  const problems = findScriptProblems();
  if (problems.length > 0) {
    process.stderr.write(`${problems.join('\n')}\nRead the script, and name the package in allowScripts.\n`);
    process.exitCode = 1;
  } else {
    const allowed = allowedPackages();
    const installed = lockedPackages().filter(
      (each) => allowed.has(each.name) && installedManifest(each) !== undefined,
    );
    const names = [...new Set(installed.map(({ name }) => name))];
    execFileSync('npm', ['rebuild', '--ignore-scripts=false', ...names], { cwd: ROOT, stdio: 'inherit' });
    process.stdout.write(`Ran the install scripts of ${names.join(', ')}, and no others.\n`);
  }
}
