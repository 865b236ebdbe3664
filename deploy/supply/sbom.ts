import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { isProgram, lockedPackages, ROOT } from './packages.js';

/** The parts of a CycloneDX document that this file looks at. */
interface Sbom {
  bomFormat: string;
  metadata: { component: { name: string; version: string } };
  components: Component[];
  /** What each component depends on, by reference. */
  dependencies: { ref: string; dependsOn?: string[] }[];
  [member: string]: unknown;
}
interface Component {
  'bom-ref': string;
  name: string;
  version: string;
  purl?: string;
}

/**
 * The software bill of materials in the CycloneDX format: every production package of the lockfile, with version, hash
 * and licence. `npm sbom --omit dev` leaves out half of them, so npm lists all, and the lockfile says which are for
 * production.
 */
export function createSbom(): Sbom {
  const command = ['sbom', '--sbom-format', 'cyclonedx', '--package-lock-only'];
  const text = execFileSync('npm', command, { cwd: ROOT, encoding: 'utf8', maxBuffer: 1 << 26 });
  const sbom = JSON.parse(text) as Sbom;
  // npm takes the name of the folder.
  sbom.metadata.component.name = 'polony';
  const production = new Set(
    lockedPackages()
      .filter(({ dev }) => dev !== true)
      .map(({ name, version }) => `${name}@${version}`),
  );
  const components = sbom.components.filter(({ name, version }) => production.has(`${name}@${version}`));
  const left = new Set(components.map((component) => component['bom-ref']));
  const root = `polony@${sbom.metadata.component.version}`;
  const dependencies = sbom.dependencies
    .filter(({ ref }) => ref === root || left.has(ref))
    .map(({ ref, dependsOn = [] }) => ({ ref, dependsOn: dependsOn.filter((each) => left.has(each)) }));
  return { ...sbom, components, dependencies };
}

if (isProgram(import.meta.url)) {
  const text = `${JSON.stringify(createSbom(), null, 2)}\n`;
  const [file] = process.argv.slice(2);
  if (file === undefined) process.stdout.write(text);
  else {
    mkdirSync(path.dirname(file), { recursive: true });
    writeFileSync(file, text);
  }
}
