import type { ParameterValue } from './execution.js';

/** What created an execution. It is in the memo of its workflow, so that a database that lost it gets it back. */
export interface ExecutionOrigin {
  name: string;
  flowId: string;
  computeConnectionId: string;
  storageConnectionId: string;
  run: {
    id: string;
    parentPath: string;
    runFolder: string;
    runName: string;
    instrumentName: string;
    discovered: boolean;
  };
  trigger: 'auto' | 'api';
  startedBy: string;
  ownParameters: Record<string, ParameterValue>;
  /** The run manifest that was given: its URI, or `text` for a text that polony wrote below the output URI. */
  manifest: { uri: string } | 'text' | null;
  outputUri: string;
  relaunchOf: string | null;
}
