import type { ApiDependencies } from '../api/dependencies.js';

/** Succeeds when it is called. Its members do too, so it stands for the orchestrator, a subject and a method. */
const success: unknown = new Proxy(async () => true, { get: () => success });

/** An orchestrator whose every call succeeds, for tests and measurements without Temporal. */
export const stubOrchestrator = success as ApiDependencies['orchestrator'];
