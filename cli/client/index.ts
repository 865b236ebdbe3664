import tab from '@bomb.sh/tab/commander';
import type { Command } from 'commander';
import { addResourceCommands } from './commands.js';
import { addSessionCommands } from './session.js';
import { addTransferCommands } from './transfer.js';

/** Adds what makes `polony` a client of the API. */
export async function addClient(program: Command): Promise<void> {
  addSessionCommands(program);
  addTransferCommands(program);
  addResourceCommands(program);
  tab(program);
}
