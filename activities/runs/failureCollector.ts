import { ApplicationFailure } from '@temporalio/common';
import { errorMessage } from '../../domain/errors.js';

/** How many failures the message names. */
const NAMED = 10;

/** Runs pieces of work that do not depend on each other, so that one that fails does not prevent the others. */
export class FailureCollector {
  readonly #failures: string[] = [];

  /** Runs one piece of work. Keeps its error for {@link throwIfAny}. @param name says what failed, for the message. */
  async attempt(name: string, work: () => Promise<unknown>): Promise<void> {
    try {
      await work();
    } catch (error) {
      // The error of Temporal's client only says that the call failed. Its cause is what the server said.
      const cause = error instanceof Error && error.cause !== undefined ? `: ${errorMessage(error.cause)}` : '';
      this.#failures.push(`${name}: ${errorMessage(error)}${cause}`);
    }
  }

  /** @throws where something failed, so that Temporal tries the activity again. */
  throwIfAny(): void {
    if (this.#failures.length === 0) return;
    throw ApplicationFailure.create({
      type: 'HandOverFailed',
      message: `${this.#failures.length} tasks failed: ${this.#failures.slice(0, NAMED).join('; ')}`,
    });
  }
}
