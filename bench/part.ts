import { PARTS } from './parts.js';
import type { Row } from './row.js';

/** What a part tells the bench. */
export type PartMessage = { say: string } | { note: string } | { row: Row } | { done: true };

// Runs the part that the argument names, and tells the parent what it measures.
const tell = (message: PartMessage): void => void process.send!(message);
process.on('disconnect', () => process.exit(1));
await PARTS[process.argv[2]!]!.run({
  say: (say) => tell({ say }),
  note: (note) => tell({ note }),
  row: (row) => tell({ row }),
});
process.send!({ done: true } satisfies PartMessage, () => process.exit(0));
