import {
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import path from 'node:path';
import ts from 'typescript';
import { build as bundle } from 'vite';
import { bundleOf } from '../bundle.config.js';
import { bundleWorkflows } from '../worker/workflowBundle.js';
import { sourceBuild, touchBuild } from './sources.mjs';
import { cacheFolder } from './stackFiles.js';

/** How long builds stay that nobody uses. What uses one for longer touches its folder. */
const UNUSED_MS = 86_400_000;

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
  // Another run must never see an incomplete build, so this one is renamed when it is complete.
  const draft = `${build}.${process.pid}`;
  // A process with the same id may have been interrupted.
  rmSync(draft, { recursive: true, force: true });
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
  if (sourceBuild(cacheFolder()).folder !== build) {
    // Somebody has changed a file meanwhile, so this is a build of neither state.
    rmSync(draft, { recursive: true, force: true });
    return buildOnce();
  }
  try {
    renameSync(draft, build);
  } catch (error) {
    // Another run has built the same sources at the same time.
    rmSync(draft, { recursive: true, force: true });
    if (!existsSync(build)) throw error;
  }
  removeOldBuilds(path.dirname(build), build);
  return build;
}

/** Removes builds that nobody has used for a day. Other processes may build and remove at the same time. */
function removeOldBuilds(builds: string, current: string): void {
  for (const folder of readdirSync(builds).map((name) => path.join(builds, name)))
    if (folder !== current && Date.now() - (statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0) > UNUSED_MS)
      rmSync(folder, { recursive: true, force: true });
}
