import { sourceBuild } from '../local/sources.mjs';
import { cacheFolder } from '../local/stackFiles.js';

/** The folder of the build that is measured, which `run.ts` has made from the sources. */
export const BUILD = sourceBuild(cacheFolder()).folder;
