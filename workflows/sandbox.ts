import type { VersioningBehavior } from '@temporalio/common';

/**
 * What a worker tells the sandbox of its workflows, which cannot read the environment (worker/workflowCode.ts). None of
 * it may change which commands a workflow makes.
 */
export interface SandboxSettings {
  /** Whether messages and stack traces of failures become payloads, for the codec to encrypt. */
  encodesFailures: boolean;
  /** Types of workflows that stay on the version of the worker they began with. */
  pinnedWorkflows: readonly string[];
}

/** The name of the global variable that contains the settings. */
export const SANDBOX_SETTINGS = '__polonySandboxSettings';

/** The settings of this sandbox. */
export function sandboxSettings(): SandboxSettings {
  const settings = (globalThis as { [SANDBOX_SETTINGS]?: SandboxSettings })[SANDBOX_SETTINGS];
  return settings ?? { encodesFailures: false, pinnedWorkflows: [] };
}

/** The option of a workflow definition that decides which version of the worker runs it. */
export function versioningOf(workflowType: string): { versioningBehavior?: VersioningBehavior } {
  return sandboxSettings().pinnedWorkflows.includes(workflowType) ? { versioningBehavior: 'PINNED' } : {};
}
