import { existsSync, readdirSync, readFileSync, statSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const SKIPPED = new Set(['node_modules', 'dist', 'coverage', '.git', 'fixtures', 'report']);

/** All Markdown files of the repository, relative to its root. Folders of tools and local stacks start with a dot. */
function listMarkdownFiles(folder = ''): string[] {
  return readdirSync(path.join(root, folder), { withFileTypes: true }).flatMap((entry) => {
    const file = path.posix.join(folder, entry.name);
    if (entry.isDirectory())
      return SKIPPED.has(entry.name) || entry.name.startsWith('.') ? [] : listMarkdownFiles(file);
    return entry.name.endsWith('.md') ? [file] : [];
  });
}

const files = listMarkdownFiles();
const read = (file: string): string => readFileSync(path.join(root, file), 'utf8');
const withoutCodeBlocks = (text: string): string => text.replace(/^ *```.*?^ *```/gms, '');

/** The anchors of a page. GitHub writes them in lower case, without punctuation, and numbers repeated ones. */
function listAnchors(text: string): Set<string> {
  const seen = new Map<string, number>();
  const anchors = new Set<string>();
  for (const [, heading] of withoutCodeBlocks(text).matchAll(/^#{1,6} +(.+?) *#*$/gm)) {
    const anchor = heading!
      .replace(/\[([^\]]*)\]\([^)]*\)/g, '$1')
      .toLowerCase()
      .replace(/[^\p{L}\p{N}\p{M} _-]/gu, '')
      .replaceAll(' ', '-');
    const before = seen.get(anchor) ?? 0;
    seen.set(anchor, before + 1);
    anchors.add(before === 0 ? anchor : `${anchor}-${before}`);
  }
  return anchors;
}

/** Targets of the links of a page, without those to other sites. */
function listLinks(text: string): string[] {
  const prose = withoutCodeBlocks(text).replace(/`[^`\n]*`/g, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target]) => target!).filter((to) => !/^[a-z]+:/i.test(to));
}

function whyBroken(file: string, target: string): string | undefined {
  const [where = '', anchor] = target.split('#');
  const linked = where === '' ? file : path.posix.join(path.posix.dirname(file), decodeURI(where));
  if (linked.startsWith('..')) return `${file}: ${target} leaves the repository`;
  if (!existsSync(path.join(root, linked))) return `${file}: ${target} does not exist`;
  if (anchor === undefined || !linked.endsWith('.md')) return undefined;
  return listAnchors(read(linked)).has(anchor) ? undefined : `${file}: ${linked} has no heading #${anchor}`;
}

describe('the documentation', () => {
  it('has no broken link or anchor', () => {
    const broken = files.flatMap((file) => listLinks(read(file)).map((target) => whyBroken(file, target)));
    expect(broken.filter((problem) => problem !== undefined)).toEqual([]);
  });

  it('links every page from its index', () => {
    const linked = new Set(
      ['docs/README.md', 'docs/decisions/README.md'].flatMap((index) =>
        listLinks(read(index)).map((target) => path.posix.join(path.posix.dirname(index), target.split('#')[0]!)),
      ),
    );
    const pages = files.filter((file) => file.startsWith('docs/') && file !== 'docs/README.md');
    expect(pages.filter((page) => !linked.has(page))).toEqual([]);
  });

  it('shows every picture of docs/images, and says in words what is on it', () => {
    const pictures = files.flatMap((file) =>
      [...withoutCodeBlocks(read(file)).matchAll(/!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)/g)].map(([, alt, target]) => ({
        alt: alt!,
        file: path.posix.join(path.posix.dirname(file), target!),
      })),
    );
    expect(pictures.filter(({ alt }) => alt.length < 20)).toEqual([]);
    const shown = new Set(pictures.map(({ file }) => file));
    const existing = readdirSync(path.join(root, 'docs/images')).map((name) => `docs/images/${name}`);
    expect(existing.filter((file) => !shown.has(file))).toEqual([]);
    expect([...shown].filter((file) => !existing.includes(file))).toEqual([]);
  });

  it('has pictures of at most 2.5 MB together', () => {
    const folder = path.join(root, 'docs/images');
    const sizes = readdirSync(folder).map((name) => statSync(path.join(folder, name)).size);
    expect(sizes.reduce((sum, size) => sum + size, 0)).toBeLessThanOrEqual(2_500_000);
  });

  it('names only npm scripts that exist', () => {
    const { scripts } = JSON.parse(read('package.json')) as { scripts: Record<string, string> };
    const unknown = files.flatMap((file) =>
      [...read(file).matchAll(/npm run (?:--silent )?([a-z][a-z:-]*)/g)]
        .map(([, script]) => script!)
        .filter((script) => !Object.hasOwn(scripts, script))
        .map((script) => `${file}: npm run ${script}`),
    );
    expect(unknown).toEqual([]);
  });

  it('has a README of at most 120 lines with the main commands', () => {
    const readme = read('README.md');
    expect(readme.trimEnd().split('\n').length).toBeLessThanOrEqual(120);
    for (const command of ['npm run demo', 'npm test', 'npm run local', 'npm run lint', 'npm run bench'])
      expect(readme).toContain(command);
  });

  it('keeps prose within 120 columns', () => {
    const isProse = (line: string): boolean => !/^\s*(\||<|\[)/.test(line) && !/\]\([^)]{60,}\)/.test(line);
    const long = files
      .filter((file) => file !== 'docs/reference/settings.md')
      .flatMap((file) =>
        withoutCodeBlocks(read(file))
          .split('\n')
          .filter((line) => line.length > 120 && isProse(line))
          .map((line) => `${file}: ${line.slice(0, 60)}`),
      );
    expect(long).toEqual([]);
  });
});

describe('the code', () => {
  it('cites only pages that exist', () => {
    const sources = ['api', 'activities', 'aws', 'cli', 'domain', 'local', 'store', 'temporal', 'worker', 'workflows'];
    const cited = sources.flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
        .filter((file) => file.endsWith('.ts'))
        .flatMap((file) => {
          const text = readFileSync(path.join(root, folder, file), 'utf8');
          return [...text.matchAll(/\b(docs\/[\w/-]+\.md)\b/g)].map(([, page]) => `${folder}/${file}: ${page}`);
        }),
    );
    expect(cited.filter((each) => !existsSync(path.join(root, each.split(': ')[1]!)))).toEqual([]);
  });
});
