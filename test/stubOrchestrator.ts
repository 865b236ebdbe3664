import type { ApiDependencies } from '../api/dependencies.js';

/** An orchestrator whose every call succeeds, for tests and measurements without Temporal. */
export const stubOrchestrator = new Proxy({}, { get: () => async () => true }) as ApiDependencies['orchestrator'];
