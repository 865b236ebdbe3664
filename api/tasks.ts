import { InputError } from '../domain/errors.js';
import { TaskTooLongError, threads, ThreadsBusyError } from '../threads/pool.js';
import type { TaskName, Tasks } from '../threads/tasks.js';
import { ApiError } from './errors.js';

/**
 * Carries out the work of a request whose duration depends on the body, in a thread, so that other requests go on.
 * @param field of the body that decides how long the work takes.
 * @throws what the task throws; InputError TOO_COMPLEX when it takes too long; ApiError 503 BUSY
 */
export async function runTask<Name extends TaskName>(
  field: string,
  name: Name,
  ...args: Parameters<Tasks[Name]>
): Promise<ReturnType<Tasks[Name]>> {
  try {
    return await threads.run(name, args);
  } catch (error) {
    if (error instanceof TaskTooLongError)
      throw new InputError([
        { field, rule: 'TOO_COMPLEX', message: 'takes too long to check, so polony stopped. Send a smaller one' },
      ]);
    if (error instanceof ThreadsBusyError)
      throw new ApiError(503, 'BUSY', 'polony is checking too many documents at the moment. Try again later');
    throw error;
  }
}
