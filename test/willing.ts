import type { ApiDependencies } from '../api/app.js';

/** A Temporal that does all that the API asks of it, for tests and measurements that are about something else. */
export const willing = new Proxy({}, { get: () => async () => true }) as ApiDependencies['orchestrator'];
