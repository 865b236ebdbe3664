import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { build as bundle } from 'vite';
import { bundleOf } from '../bundle.config.js';
import { bundleWorkflows } from '../worker/workflowBundle.js';
import { removeOldBuilds } from './oldBuilds.js';
import { sourceBuild, touchBuild } from './sources.mjs';
import { cacheFolder } from './stackFiles.js';

/**
 * Compiles the sources without checking types, and bundles the workflows and the processes, as `npm run build` does. A
 * process or worker that compiles for itself costs seconds, and tests start dozens. It reuses an earlier build of the
 * same sources.
 * @returns the folder, with the same layout as `dist/`.
 */
export async function buildOnce(): Promise<string> {
  const { root, files, folder: build } = sourceBuild(cacheFolder());
  if (existsSync(build)) {
    touchBuild(build);
    return build;
  }
  const builds = path.dirname(build);
  mkdirSync(builds, { recursive: true });
  // Another run must never see an incomplete build, so this one is renamed when it is complete.
  const draft = mkdtempSync(`${build}.`);
  try {
    await compile(root, files, draft);
    // Somebody may have changed a file meanwhile. Then this is a build of neither state.
    if (sourceBuild(cacheFolder()).folder !== build) return await buildOnce();
    // Other users of the cache folder may use the build too.
    chmodSync(draft, 0o755);
    renameSync(draft, build);
  } catch (error) {
    // Another run may have built the same sources at the same time.
    if (!existsSync(build)) throw error;
  } finally {
    rmSync(draft, { recursive: true, force: true });
  }
  removeOldBuilds(builds, build);
  return build;
}

/** @param files relative to `root` */
async function compile(root: string, files: readonly string[], draft: string): Promise<void> {
  for (const file of files) {
    const target = path.join(draft, file);
    mkdirSync(path.dirname(target), { recursive: true });
    if (!file.endsWith('.ts')) cpSync(path.join(root, file), target);
    else
      writeFileSync(
        target.replace(/\.ts$/, '.js'),
        ts.transpileModule(readFileSync(path.join(root, file), 'utf8'), {
          compilerOptions: {
            target: ts.ScriptTarget.ES2022,
            module: ts.ModuleKind.ESNext,
            verbatimModuleSyntax: true,
          },
          fileName: file,
        }).outputText,
      );
  }
  writeFileSync(path.join(draft, 'package.json'), '{"type":"module"}');
  // The cache folder may be anywhere.
  symlinkSync(path.join(root, 'node_modules'), path.join(draft, 'node_modules'), 'junction');
  writeFileSync(path.join(draft, 'worker/workflow-bundle.js'), await bundleWorkflows(draft));
  await bundle(bundleOf(draft));
}
