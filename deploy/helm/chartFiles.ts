import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const deploy = fileURLToPath(new URL('../', import.meta.url));

/**
 * Files that the chart installs, and what they are copies of. A chart cannot read files outside its folder, and not every
 * tool that installs charts follows links.
 */
const COPIES = {
  'helm/polony/files/polony.rules.yml': 'prometheus/polony.rules.yml',
  'helm/polony/files/polony.json': 'grafana/polony.json',
};

/** The copies in the chart that differ from their sources, relative to the repository. */
export function findStaleChartFiles(): string[] {
  return Object.entries(COPIES)
    .filter(([copy, source]) => read(copy) !== read(source))
    .map(([copy]) => `deploy/${copy}`);
}

function read(file: string): string | undefined {
  try {
    return readFileSync(path.join(deploy, file), 'utf8');
  } catch {
    return undefined;
  }
}

/** `npm run chart:files`: copies the files. */
function copyChartFiles(): void {
  for (const [copy, source] of Object.entries(COPIES)) {
    mkdirSync(path.dirname(path.join(deploy, copy)), { recursive: true });
    writeFileSync(path.join(deploy, copy), readFileSync(path.join(deploy, source)));
  }
}

if (process.argv[1] !== undefined && path.resolve(process.argv[1]) === fileURLToPath(import.meta.url)) copyChartFiles();
