import { buildConsole } from './console.js';
import { buildOnce } from './sourceBuild.js';

// Builds what fromSources.mjs starts.
const say = (line: string): void => void process.stderr.write(`${line}\n`);
say('Compiling polony (once for each change of the sources, some seconds)');
// With a console of its own, the stack needs no other.
await Promise.all([process.env.POLONY_CONSOLE_FOLDER ? undefined : buildConsole(say), buildOnce()]);
