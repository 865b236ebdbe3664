import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { addAuditVerify } from '../audit.js';
import { addChangesCommand } from './changes.js';
import { addResourceCommands } from './resourceCommands.js';
import { addSessionCommands } from './session.js';
import { addStatusCommand } from './status.js';
import { addTransferCommands } from './files/commands.js';

/** Adds the commands that make `polony` a client of the API, and shell completion. */
export async function addClient(program: Command): Promise<void> {
  addSessionCommands(program);
  addStatusCommand(program);
  addChangesCommand(program);
  addTransferCommands(program);
  addResourceCommands(program);
  addAuditVerify(program);
  tab(program);
}
