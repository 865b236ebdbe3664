import { readdirSync, readFileSync } from 'node:fs';
import { builtinModules } from 'node:module';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../../', import.meta.url));
const read = <T>(file: string): T => JSON.parse(readFileSync(path.join(root, file), 'utf8')) as T;
const { include, exclude } = read<{ include: string[]; exclude: string[] }>('tsconfig.build.json');
const { dependencies, optionalDependencies } = read<Record<string, Record<string, string>>>('package.json');

/** The packages that a source file imports, statically or on demand. Types vanish when it is compiled. */
function importedPackages(file: string): string[] {
  const options = { module: ts.ModuleKind.ESNext, target: ts.ScriptTarget.ES2022, verbatimModuleSyntax: true };
  const compiled = ts.transpileModule(readFileSync(path.join(root, file), 'utf8'), { compilerOptions: options });
  return ts
    .preProcessFile(compiled.outputText)
    .importedFiles.map(({ fileName }) => fileName)
    .filter((name) => !name.startsWith('.') && !name.startsWith('node:') && !builtinModules.includes(name))
    .map((name) =>
      name
        .split('/')
        .slice(0, name.startsWith('@') ? 2 : 1)
        .join('/'),
    );
}

describe('the package', () => {
  it('depends on everything that its code imports, so that it works where it is installed', { tags: 'long' }, () => {
    const files = include.flatMap((folder) =>
      readdirSync(path.join(root, folder), { recursive: true, encoding: 'utf8' })
        .map((file) => path.posix.join(folder, file))
        .filter((file) => file.endsWith('.ts') && !exclude.includes(file)),
    );
    const missing = files.flatMap((file) =>
      importedPackages(file)
        .filter((name) => dependencies![name] === undefined && optionalDependencies![name] === undefined)
        .map((name) => `${file}: ${name}`),
    );
    expect(missing).toEqual([]);
    expect(files.length).toBeGreaterThan(100);
  });
});
