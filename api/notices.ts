import { CHANGES_CHANNEL, EXECUTIONS_CHANNEL, listen } from '../store/events.js';

/** What a user of the notices wants to hear. */
export interface NoticeHandlers {
  /** An execution has changed. */
  execution?: (id: string) => void;
  /** A run, an execution or a verification has changed: `runs:<id>`. */
  change?: (notice: string) => void;
  /** Listening has begun. Notices before that were missed. */
  connected: () => void;
}

/** The notices of the database. All streams of a process share one connection, which is open while somebody uses it. */
export class Notices {
  readonly #users = new Set<NoticeHandlers>();
  #stopListening: (() => Promise<void>) | undefined;
  #isConnected = false;

  /** @param url of the database to listen on */
  constructor(private readonly url: string) {}

  /** Calls the handlers until the returned function is called. */
  add(handlers: NoticeHandlers): () => void {
    this.#users.add(handlers);
    if (this.#stopListening === undefined) this.#listen();
    else if (this.#isConnected) handlers.connected();
    return () => {
      this.#users.delete(handlers);
      if (this.#users.size > 0) return;
      void this.#stopListening?.();
      this.#stopListening = undefined;
      this.#isConnected = false;
    };
  }

  #listen(): void {
    const tell = (kind: 'execution' | 'change') => (payload: string) => {
      for (const user of this.#users) user[kind]?.(payload);
    };
    const stop = listen(
      this.url,
      { [EXECUTIONS_CHANNEL]: tell('execution'), [CHANGES_CHANNEL]: tell('change') },
      () => {
        // A connection that was given up may be ready late.
        if (this.#stopListening !== stop) return;
        this.#isConnected = true;
        for (const user of this.#users) user.connected();
      },
    );
    this.#stopListening = stop;
  }
}
