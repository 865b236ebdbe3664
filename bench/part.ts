import { killDescendants } from './descendants.js';
import { PARTS } from './parts.js';
import type { Row } from './row.js';

/** What a part tells the bench. */
export type PartMessage = { say: string } | { note: string } | { row: Row } | { done: true };

// Runs the part that the first argument names, of the build in the second (build.ts), until the time in the third (in
// milliseconds since 1970) at most, and tells the parent what it measures.
const tell = (message: PartMessage): void => void process.send!(message);
// The parent is gone, or has no more time for this part. Nothing that it has started may go on; `run.ts` removes its files.
const stop = (): void => {
  killDescendants(process.pid);
  process.exit(1);
};
for (const event of ['disconnect', 'SIGINT', 'SIGTERM']) process.on(event, stop);
await PARTS[process.argv[2]!]!.run({
  say: (say) => tell({ say }),
  note: (note) => tell({ note }),
  row: (row) => tell({ row }),
  secondsLeft: () => (Number(process.argv[4]) - Date.now()) / 1000,
});
process.send!({ done: true } satisfies PartMessage, () => process.exit(0));
