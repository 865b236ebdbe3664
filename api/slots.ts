import { ApiError } from './errors.js';

/** Limits how much of one kind of work a process does at once. */
export class Slots {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  /**
   * @param atOnce how many may work at once
   * @param mostWaiting how many more may wait
   * @param work in words, for the error: "reading too many files"
   */
  constructor(
    atOnce: number,
    private readonly mostWaiting: number,
    private readonly work: string,
  ) {
    this.#free = atOnce;
  }

  /** Works as soon as there is a free slot. @throws ApiError 503 BUSY; what `work` throws */
  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free--;
    else {
      if (this.#waiting.length >= this.mostWaiting)
        throw new ApiError(503, 'BUSY', `polony is ${this.work} at the moment. Try again later`);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next === undefined) this.#free++;
      else next();
    }
  }
}
