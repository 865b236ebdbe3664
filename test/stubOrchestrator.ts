import type { ApiDependencies } from '../api/dependencies.js';

/** A Temporal that does all that the API asks of it, for tests and measurements that are about something else. */
export const stubOrchestrator = new Proxy({}, { get: () => async () => true }) as ApiDependencies['orchestrator'];
