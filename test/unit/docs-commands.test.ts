import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { parse } from 'yaml';

// Commands that the documentation runs in containers. test/images and test/chart check the containers themselves.
const root = fileURLToPath(new URL('../../', import.meta.url));
const pages = ['README.md', ...readdirSync(path.join(root, 'docs'), { recursive: true, encoding: 'utf8' }).sort()]
  .filter((file) => file.endsWith('.md'))
  .map((file) => (file === 'README.md' ? file : path.join('docs', file)));
const { services } = parse(readFileSync(path.join(root, 'docker-compose.yml'), 'utf8'), { merge: true }) as {
  services: Record<string, unknown>;
};

interface Command {
  where: string;
  text: string;
}
/** All commands that begin so, from blocks and from prose, as one line each. */
const commands = (start: RegExp): Command[] =>
  pages.flatMap((page) => {
    const text = readFileSync(path.join(root, page), 'utf8').replace(/\\\n\s*/g, '');
    return [...text.matchAll(new RegExp(`${start.source}[^\`\n]*`, 'g'))].map(([command]) => ({
      where: page,
      text: command,
    }));
  });
const inContainers = [...commands(/docker compose(?: -\S+)* (?:exec|run) /), ...commands(/kubectl [^`\n]*\bexec /)];
const textOf = ({ where, text }: Command): string => `${where}: ${text}`;

it('gives no terminal to commands whose output goes to a file or another program', () => {
  // A terminal changes the ends of lines, and mixes messages into the output.
  const redirected = inContainers.filter(({ text }) => /(^|\s)([<>]|\d>|\|)\s*\S/.test(text));
  expect(redirected.length).toBeGreaterThan(1);
  const withTerminal = redirected.filter(({ text }) => text.startsWith('docker') && !/ (exec|run) .*-T /.test(text));
  expect(withTerminal.map(textOf)).toEqual([]);
  expect(redirected.filter(({ text }) => / (-t|-it|--tty) /.test(text)).map(textOf)).toEqual([]);
});

it('names services of docker-compose.yml', () => {
  const unknown = commands(/docker compose(?: -\S+)* (?:exec|run) /).filter(({ text }) => {
    const [, service] = / (?:exec|run) (?:-e \S+ |-\S+ )*(\S+)/.exec(text) ?? [];
    return service === undefined || !Object.hasOwn(services, service);
  });
  expect(unknown.map(textOf)).toEqual([]);
});
