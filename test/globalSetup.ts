import type { TestProject } from 'vitest/node';
import { buildOnce } from '../local/sourceBuild.js';

declare module 'vitest' {
  export interface ProvidedContext {
    /** Folder of the build from which tests start processes. */
    build: string;
  }
}

/** Runs once before all tests. */
export default async function setup(project: TestProject): Promise<void> {
  project.provide('build', await buildOnce());
}
