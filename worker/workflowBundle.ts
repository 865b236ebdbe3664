import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundleWorkflowCode, DefaultLogger } from '@temporalio/worker';
import { SANDBOX_SETTINGS, type SandboxSettings } from '../workflows/sandbox.js';

/** The bundle that `npm run build` writes. */
const BUILT = fileURLToPath(new URL('./workflow-bundle.js', import.meta.url));

/** Where the layers are: the repository, or the folder that it was compiled to. */
const ROOT = fileURLToPath(new URL('../', import.meta.url));

/**
 * Bundles the workflows from their source, or from what it was compiled to.
 * @param root the folder with `workflows/`. Default: the one that this file is in.
 * @returns the code
 */
export async function bundleWorkflows(root = ROOT): Promise<string> {
  const { code } = await bundleWorkflowCode({
    workflowsPath: findModule(root, 'workflows/index'),
    failureConverterPath: findModule(root, 'workflows/failureConverter'),
    workflowInterceptorModules: [findModule(root, 'workflows/interceptors')],
    // Otherwise it prints all that webpack says.
    logger: new DefaultLogger('WARN'),
  });
  return inOneByte(withoutSources(code));
}

// A worker keeps several copies of the code in memory.

/** Removes the sources from the source map at the end of the code. Stack traces need only the positions. */
function withoutSources(code: string): string {
  const [, start, map] = /^(.*\n\/\/# sourceMappingURL=[^,]*,)(.*)$/s.exec(code)!;
  const { sourcesContent: _, ...positions } = JSON.parse(Buffer.from(map!, 'base64').toString()) as object & {
    sourcesContent: unknown;
  };
  return start! + Buffer.from(JSON.stringify(positions)).toString('base64');
}

/** Escapes the few characters that make V8 store each character of the code in two bytes. */
function inOneByte(code: string): string {
  return code.replace(/[^\0-\xff]/g, (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`);
}

/** The workflow code with the settings of this worker. Of a build, it reads the bundle instead of running webpack. */
export async function loadWorkflows(settings: SandboxSettings): Promise<{ code: string }> {
  const code = existsSync(BUILT) ? await readFile(BUILT, 'utf8') : await bundleWorkflows();
  return { code: withSandboxSettings(code, settings) };
}

/** Puts the settings before the code, on its first line, so that the line numbers of the source map stay right. */
function withSandboxSettings(code: string, settings: SandboxSettings): string {
  return `globalThis.${SANDBOX_SETTINGS}=${JSON.stringify(settings)};${code}`;
}

function findModule(root: string, name: string): string {
  const source = path.join(root, `${name}.ts`);
  return existsSync(source) ? source : path.join(root, `${name}.js`);
}
